import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import {
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ServerReflection as V1 } from "../../proto/gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as V1Alpha } from "../../proto/gen/grpc/reflection/v1alpha/reflection_pb.js";
import { startTestServer, type TestServer } from "../support/public-server.js";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

describe.each([
  ["v1", V1],
  ["v1alpha", V1Alpha],
] as const)("grpc.reflection.%s", (_version, service) => {
  type Question = { case: "listServices" | "fileByFilename" | "fileContainingSymbol"; value: string };

  async function ask(
    ...questions: (Question | { case: "allExtensionNumbersOfType"; value: string } | null)[]
  ) {
    const client = createClient(service as typeof V1, createGrpcTransport({ baseUrl: server.url }));
    async function* requests() {
      for (const question of questions) {
        yield { host: "me", ...(question === null ? {} : { messageRequest: question }) };
      }
    }
    const answers = [];
    for await (const { messageResponse, validHost, originalRequest } of client.serverReflectionInfo(
      requests(),
    )) {
      expect(validHost).toBe("me");
      expect(originalRequest?.host).toBe("me");
      answers.push(messageResponse);
    }
    return answers;
  }

  async function filesFor(question: Question): Promise<FileDescriptorProto[]> {
    const [answer] = await ask(question);
    if (answer?.case !== "fileDescriptorResponse") throw new Error(`the answer is ${answer?.case}`);
    return answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
  }

  test("lists the public services and no other", async () => {
    const [answer] = await ask({ case: "listServices", value: "" });
    expect(answer?.case === "listServicesResponse" && answer.value.service.map(({ name }) => name)).toEqual([
      "thermocline.v1.InferenceService",
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ]);
  });

  test.each([
    "thermocline.v1.InferenceService",
    "thermocline.v1.InferenceService.Generate",
    "thermocline.v1.GenerateRequest",
    "thermocline.v1.FinishReason",
    "thermocline.v1.SamplingOptions",
  ])("finds the file of %s", async (symbol) => {
    const [file] = await filesFor({ case: "fileContainingSymbol", value: symbol });
    expect(file?.name).toBe("thermocline/v1/inference.proto");
  });

  test("gives files from which the services can be built", async () => {
    const byName = await filesFor({ case: "fileByFilename", value: "thermocline/v1/inference.proto" });
    const bySymbol = await filesFor({ case: "fileContainingSymbol", value: "grpc.health.v1.Health.Watch" });
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [...byName, ...bySymbol] }));
    const generate = registry.getService("thermocline.v1.InferenceService")?.methods[0];
    expect(generate).toMatchObject({ methodKind: "server_streaming" });
    expect(generate?.output.fields.map(({ name }) => name)).toEqual(["token", "summary"]);
    expect(registry.getService("grpc.health.v1.Health")?.methods.map(({ name }) => name)).toContain("Watch");
  });

  test("answers every question of a stream, unknown ones with NOT_FOUND", async () => {
    const answers = await ask(
      { case: "fileByFilename", value: "no/such.proto" },
      { case: "fileContainingSymbol", value: "thermocline.v1.ExecutorService" },
      { case: "allExtensionNumbersOfType", value: "thermocline.v1.GenerateRequest" },
      null,
      { case: "listServices", value: "*" },
    );
    expect(
      answers.map((answer) => (answer.case === "errorResponse" ? answer.value : answer.case)),
    ).toMatchObject([
      { errorCode: 5, errorMessage: 'there is no file "no/such.proto"' },
      { errorCode: 5, errorMessage: 'there is no symbol "thermocline.v1.ExecutorService"' },
      { errorCode: 5, errorMessage: "there are no extensions here" },
      { errorCode: 3 },
      "listServicesResponse",
    ]);
  });
});
