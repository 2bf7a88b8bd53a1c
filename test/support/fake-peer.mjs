// A peer that does as the model's name says; speaks the protocol of bench/peer-protocol.ts. Ends with its owner.
process.once("disconnect", () => process.exit());
const own = { prefillTokensPerS: 210, decodeTokensPerS: null };
const generated = { kind: "generated", tokens: [5, 6, 7], prefillMs: 20, decodeMs: 4, own, threads: 2 };
const replies = {
  good: generated,
  "wrong-kind": { kind: "loaded", description: "again", libraryMs: 1 },
  nonsense: { kind: "generated", tokens: [], prefillMs: "soon" },
  failing: { kind: "failed", message: "no room for the cache" },
  "one-thread": { ...generated, threads: 1 },
};
let model = "";
process.on("message", (request) => {
  if (request.kind === "load") {
    model = request.modelPath;
    if (model === "missing") process.send({ kind: "failed", message: "no such file" });
    else process.send({ kind: "loaded", description: "a fake", libraryMs: 1 });
  } else if (model === "dying") process.exit(3);
  else if (model !== "silent") process.send(replies[model]);
});
