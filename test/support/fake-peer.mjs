// A peer that does as the model's name says; speaks the protocol of bench/peer-protocol.ts. Ends with its owner.
// "card" is a model of 9 layers (the output included) on a card that holds at most 8, is fastest with 5, and keeps 30
// bytes for code.
process.once("disconnect", () => process.exit());
const own = { prefillTokensPerS: 210, decodeTokensPerS: null };
const rates = { tokens: [5, 6, 7], prefillMs: 20, decodeMs: 4, own };
const generated = { kind: "generated", ...rates, threads: 2, vramBytes: null };
const survey = { totalLayers: 9, estimatedLayers: 4, layerBytes: 90, freeBytes: 2000, memoryBytes: 4000 };
const replies = {
  good: generated,
  "wrong-kind": { kind: "loaded", description: "again", libraryMs: 1, gpu: null },
  nonsense: { kind: "generated", tokens: [], prefillMs: "soon" },
  failing: { kind: "failed", message: "no room for the cache" },
  "one-thread": { ...generated, threads: 1 },
};
let model = "";
let layers = null;
process.on("message", (request) => {
  if (request.kind === "survey") process.send({ kind: "surveyed", ...survey });
  else if (request.kind === "release") process.send({ kind: "released", keptBytes: 30 });
  else if (request.kind === "load") {
    model = request.modelPath;
    layers = request.gpuLayers;
    const gpu = layers === null ? null : { layers: Math.min(layers, 9), totalLayers: 9 };
    if (model === "missing") process.send({ kind: "failed", message: "no such file" });
    else if (layers === 9) process.send({ kind: "full", message: "CUDA: out of memory" });
    else process.send({ kind: "loaded", description: "a fake", libraryMs: 1, gpu });
  } else if (model === "card") {
    const vramBytes = 180 + 100 * layers;
    process.send({ ...generated, decodeMs: 4 + Math.abs(layers - 5), vramBytes });
  } else if (model === "dying") process.exit(3);
  else if (model !== "silent") process.send(replies[model]);
});
