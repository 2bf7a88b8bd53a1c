/** The profile of a model over texts: reads what has not been read of them, on executors of its own. */
import { basename } from "node:path";
import { ThermoclineError } from "../../proto/errors.js";
import {
  BUILT_ENTRIES,
  type ExecutionOptions,
  type ExecutorEntries,
  openModel,
  withExecutors,
} from "../execution.js";
import type { GroupState } from "../executors/group-state.js";
import { createLog } from "../log.js";
import type { Model } from "../model/model.js";
import { placementProfile } from "../placement/profile.js";
import { readingLimits } from "../text/read-window.js";
import { textDigest } from "../text/text-file.js";
import { textWindows, withEncoder } from "../text/text-windows.js";
import { ActivationProfile, type ProfileSource } from "./activation-profile.js";
import { type CountProgress, countWindows, type UnreadText } from "./count-windows.js";
import { checkCounting } from "./counting-shape.js";
import { profilePath, readProfile, writeProfile } from "./profile-file.js";
import { type ProfiledModel, profiledModel } from "./profiled-model.js";

export interface ProfileOptions extends ExecutionOptions {
  /** None only shows what there is. */
  textPaths: readonly string[];
  /** Where the profile is kept; null takes the place beside the model. */
  profilePath: string | null;
  /** Tokens of a window; null takes 512, or the model's context if that is less. */
  contextLength: number | null;
  /** Reads no more tokens of each text than that, rounded up to whole windows; null reads all. */
  mostTokens: number | null;
  /** Forgets the profile there is. */
  fresh: boolean;
  logLevel: string;
}

/** What goes on. */
export type ProfileStage =
  | { kind: "tokenizing"; characters: number }
  | { kind: "loading"; bytesDone: number; bytesTotal: number }
  | ({ kind: "counting" } & CountProgress);

export interface ProfileReport {
  model: Pick<Model, "path" | "name" | "shape">;
  path: string;
  profile: ActivationProfile;
  /** What this run read, and what it had been asked to. */
  counted: Pick<CountProgress, "tokensRead" | "tokens" | "seconds">;
}

export interface ProfileWatch {
  onStage: (stage: ProfileStage) => void;
  /** Aborted while texts are read, it ends that; before, the promise rejects with its reason. */
  signal: AbortSignal;
  entries?: ExecutorEntries;
  /** The thread that tokenizes. */
  encoderEntry?: URL | undefined;
}

/** @throws ThermoclineError, or the signal's reason */
export async function runProfile(options: ProfileOptions, watch: ProfileWatch): Promise<ProfileReport> {
  const model = await openModel(options);
  const path = options.profilePath ?? profilePath(model.path);
  const profiled = await profiledModel(model);
  const known = options.fresh ? null : await readProfile(path, profiled);
  if (options.textPaths.length === 0) {
    if (known !== null) return { model, path, profile: known, counted: NOTHING };
    throw new ThermoclineError(
      "NOT_FOUND",
      `${path}: there is no profile yet; give texts to make one of with --text`,
    );
  }
  checkCounting(path, known, model);
  const profile = known ?? new ActivationProfile(model.shape);
  const texts = await unreadTexts(model, profile, options, watch);
  const counted = await count({ model, profiled, path, profile, texts }, options, watch);
  return { model, path, profile, counted };
}

const NOTHING: ProfileReport["counted"] = { tokensRead: 0, tokens: 0, seconds: 0 };

interface CountTask {
  model: Model;
  profiled: ProfiledModel;
  path: string;
  profile: ActivationProfile;
  texts: readonly UnreadText[];
}

async function count(
  { model, profiled, path, profile, texts }: CountTask,
  options: ProfileOptions,
  { onStage, signal, entries = BUILT_ENTRIES }: ProfileWatch,
): Promise<ProfileReport["counted"]> {
  if (texts.every(({ windows }) => windows.length === 0)) return NOTHING;
  const limits = readingLimits(model, options.contextLength);
  const log = createLog("profile", options.logLevel);
  const onState = (state: GroupState) => {
    if (state.kind === "loading") onStage(state);
    else if (state.kind === "recovering") log.error({ reason: state.reason }, "recovering");
  };
  const placement = profile.tokens > 0 ? placementProfile(path, profile) : null;
  const executors = { model, options, limits, profile: placement, entries, log, onState, signal };
  return withExecutors({ ...executors, observation: "counts" }, (group) =>
    countWindows(group, {
      profile,
      texts,
      save: () => writeProfile(path, profile, profiled),
      onProgress: (progress) => onStage({ kind: "counting", ...progress }),
      signal,
    }),
  ).catch((error: unknown) => {
    throw signal.aborted ? signal.reason : error;
  });
}

/** Every text once, and of each what the profile has not yet. */
async function unreadTexts(
  model: Model,
  profile: ActivationProfile,
  options: ProfileOptions,
  { onStage, signal, encoderEntry }: ProfileWatch,
): Promise<UnreadText[]> {
  const { contextLength } = readingLimits(model, options.contextLength);
  const most = options.mostTokens === null ? null : Math.ceil(options.mostTokens / contextLength);
  const unread = new Map<ProfileSource, UnreadText>();
  await withEncoder(model, encoderEntry, async (texts) => {
    for (const path of options.textPaths) {
      const digest = await textDigest(path, signal);
      const source = profile.source({ name: basename(path), digest, contextLength });
      if (source.contextLength !== contextLength)
        throw otherWindows(path, source.contextLength, contextLength);
      if (unread.has(source)) continue;
      const windows = await textWindows({
        ...texts,
        path,
        contextLength,
        most,
        rest: "kept",
        limitOption: (limit) => `--tokens ${limit * contextLength}`,
        onTokenizing: (characters) => onStage({ kind: "tokenizing", characters }),
        signal,
      });
      unread.set(source, { source, windows: windows.slice(source.windows) });
    }
  });
  return [...unread.values()];
}

function otherWindows(path: string, known: number, asked: number): ThermoclineError {
  return new ThermoclineError(
    "FAILED_PRECONDITION",
    `${path}: was read in windows of ${known} tokens, and would be in windows of ${asked} now; give --ctx ${known}, ` +
      "or begin the profile anew with --fresh",
  );
}
