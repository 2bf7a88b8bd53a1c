/** What `thermocline profile` shows while it runs, and at its end. */
import { formatBytes } from "../../proto/units.js";
import type { ActivationProfile } from "../profile/activation-profile.js";
import { HOT_SHARE, type ProfileSummary } from "../profile/analysis.js";
import type { ProfileReport, ProfileStage } from "../profile/run.js";
import { duration, percent, range } from "./figures.js";

export function stageText(stage: ProfileStage): string {
  switch (stage.kind) {
    case "tokenizing":
      return `tokenizing ${stage.characters} characters`;
    case "loading":
      return `loading the model: ${formatBytes(stage.bytesDone)} of ${formatBytes(stage.bytesTotal)}`;
    case "counting": {
      const { text, tokensRead, tokens, seconds } = stage;
      const share = `${((100 * tokensRead) / tokens).toFixed(0)} %`;
      const left = duration((seconds / tokensRead) * Math.max(0, tokens - tokensRead));
      return `${text}: ${tokensRead} of ${tokens} tokens (${share}), ${(tokensRead / seconds).toFixed(1)} tokens/s, ${left} left`;
    }
  }
}

const HOT = `${100 * HOT_SHARE} %`;

/** For people. */
export function reportText({ path, profile, counted }: ProfileReport, summary: ProfileSummary): string {
  const { firing, hot, layers, tokens, overlaps } = summary;
  const { tokensRead, seconds } = counted;
  const speed =
    tokensRead === 0 ? "" : ` (${tokensRead} read now, ${(tokensRead / seconds).toFixed(1)} tokens/s)`;
  const names = read(profile).map((source) => `${source.name} (${source.tokens})`);
  const lines = [
    `${tokens} tokens${speed}: ${names.join(", ")}`,
    `${percent(firing)} of the neurons fire for a token, so the sparsity is ${percent(1 - firing)} ` +
      `(fire in layers: ${range(layers.map((layer) => layer.firing))})`,
    `${percent(hot)} of the neurons carry ${HOT} of the activations (in layers: ${range(layers.map((layer) => layer.hot))})`,
    ...overlaps.map(
      ({ texts: [a, b], jaccard, carried: [ofB, ofA] }) =>
        `hot neurons of ${a} and ${b}: ${percent(jaccard)} in common; ${a}'s carry ${percent(ofB)} of ${b}'s ` +
        `activations, ${b}'s ${percent(ofA)} of ${a}'s`,
    ),
    `profile: ${path}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** For programs. */
export function reportJson(
  { model, path, profile, counted }: ProfileReport,
  { overlaps, ...summary }: ProfileSummary,
): string {
  const values = {
    model: model.path,
    profile: path,
    activation: profile.shape.activation,
    reluThreshold: profile.shape.reluThreshold,
    hotShare: HOT_SHARE,
    ...summary,
    sources: read(profile).map(({ counts, ...source }) => source),
    overlaps,
    tokensRead: counted.tokensRead,
    tokensAsked: counted.tokens,
    seconds: counted.seconds,
  };
  return `${JSON.stringify(values, null, 2)}\n`;
}

/** Sources that something has been read of. */
function read({ sources }: ActivationProfile): ActivationProfile["sources"] {
  return sources.filter(({ tokens }) => tokens > 0);
}
