/**
 * Server reflection (https://grpc.io/docs/guides/reflection/), so that generic clients need no schema.
 *
 * grpc.reflection.v1 and v1alpha are the same messages under two names. Both are generated from the .proto files that
 * the package @grpc/reflection bundles (its implementation serves grpc-js alone); the descriptors given out are those
 * that generated code carries.
 */
import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import {
  type ServerReflectionRequest,
  ServerReflection as V1,
} from "../../proto/gen/grpc/reflection/v1/reflection_pb.js";
import {
  type ServerReflectionRequest as RequestV1Alpha,
  ServerReflection as V1Alpha,
} from "../../proto/gen/grpc/reflection/v1alpha/reflection_pb.js";

type Question = (ServerReflectionRequest | RequestV1Alpha)["messageRequest"];
type Answer =
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: "errorResponse"; value: { errorCode: number; errorMessage: string } };

/** Adds reflection of `services`, and of itself, to the router. */
export function addReflection(router: ConnectRouter, services: readonly DescService[]): void {
  const schema = new Schema([...services, V1, V1Alpha]);
  const answer = <R extends { host: string; messageRequest: Question }>(request: R) => ({
    validHost: request.host,
    originalRequest: request,
    messageResponse: schema.answer(request.messageRequest),
  });
  router.service(V1, {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) yield answer(request);
    },
  });
  router.service(V1Alpha, {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) yield answer(request);
    },
  });
}

class Schema {
  private readonly files = new Map<string, DescFile>();
  /** Files by the full names of what they define. */
  private readonly symbols = new Map<string, DescFile>();

  constructor(private readonly services: readonly DescService[]) {
    for (const { file } of services) this.add(file);
  }

  answer(question: Question): Answer {
    switch (question.case) {
      case "listServices": {
        const service = this.services.map(({ typeName }) => ({ name: typeName }));
        return { case: "listServicesResponse", value: { service } };
      }
      case "fileByFilename":
        return withDependencies(this.files.get(question.value), `there is no file "${question.value}"`);
      case "fileContainingSymbol":
        return withDependencies(this.symbols.get(question.value), `there is no symbol "${question.value}"`);
      case "fileContainingExtension":
      case "allExtensionNumbersOfType":
        return failure(Code.NotFound, "there are no extensions here");
      default:
        return failure(
          Code.InvalidArgument,
          "the request asks for nothing this server knows; set message_request",
        );
    }
  }

  private add(file: DescFile): void {
    if (this.files.has(file.proto.name)) return;
    this.files.set(file.proto.name, file);
    for (const type of nestedTypes(file)) {
      this.symbols.set(type.typeName, file);
      if (type.kind !== "service") continue;
      for (const method of type.methods) this.symbols.set(`${type.typeName}.${method.name}`, file);
    }
    for (const dependency of file.dependencies) this.add(dependency);
  }
}

/** The file, and after it those it imports, as clients expect them. */
function withDependencies(file: DescFile | undefined, otherwise: string): Answer {
  if (file === undefined) return failure(Code.NotFound, otherwise);
  const files = new Set<DescFile>();
  const collect = (one: DescFile) => {
    files.add(one);
    one.dependencies.forEach(collect);
  };
  collect(file);
  const fileDescriptorProto = [...files].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

function failure(errorCode: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}
