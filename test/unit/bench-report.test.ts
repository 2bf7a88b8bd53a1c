import { expect, test } from "vitest";
import { type Report, reportText } from "../../bench/report.js";

const REPORT: Report = {
  machine: {
    cpu: "Some CPU",
    cores: 2,
    instructionSet: "avx2",
    memoryBytes: 8 * 1024 ** 3,
    oneCoreBytesPerS: 12.34e9,
    allCoresBytesPerS: 20e9,
    kernel: "Linux 6.1",
    node: "v20.19.0",
    commit: "abc1234+",
    loadBefore: 0.25,
  },
  remarks: ["llama.cpp: prebuilt, 2 threads"],
  sections: [
    {
      command: "npm run bench -- decode --runs 3 --tokens 9",
      figures: [
        { name: "decoding", value: 1234.56, unit: "tokens/s", quartiles: [1200.4, 1300.6], count: 3 },
        { name: "weights", value: 0.012345, unit: "GB/s", quartiles: null, count: 1 },
      ],
    },
    {
      command: "npm run bench -- tracing --runs 3 --tokens 9",
      figures: [{ name: "overhead", value: -0.5, unit: "%", quartiles: [-1.25, 0], count: 3 }],
    },
  ],
};

test("says on what the figures were taken, and beside each how to take it again", () => {
  expect(reportText(REPORT)).toBe(
    [
      "Some CPU, 2 cores, avx2 kernels, 8.00 GiB",
      "memory read at 12.3 GB/s by one core, 20.0 GB/s by all",
      "Linux 6.1, Node v20.19.0, commit abc1234+, load 0.25 before",
      "llama.cpp: prebuilt, 2 threads",
      "",
      "figure     value  unit      middle half    n  command",
      "decoding    1235  tokens/s  1200 to 1301   3  npm run bench -- decode --runs 3 --tokens 9",
      "weights    0.012  GB/s                     1  npm run bench -- decode --runs 3 --tokens 9",
      "overhead  -0.500  %         -1.25 to 0.00  3  npm run bench -- tracing --runs 3 --tokens 9",
    ].join("\n"),
  );
});
