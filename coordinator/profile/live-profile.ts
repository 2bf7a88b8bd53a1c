/** Adds what a server's requests make neurons do to a profile file, every minute and at the server's end. */
import type { Logger } from "pino";
import type { Model } from "../model/model.js";
import { ActivationProfile, LIVE_SOURCE } from "./activation-profile.js";
import { checkCounting } from "./counting-shape.js";
import type { LiveRecorder } from "./live-recorder.js";
import { readProfile, writeProfile } from "./profile-file.js";
import { type ProfiledModel, profiledModel } from "./profiled-model.js";

const SAVE_EVERY_MS = 60_000;

/**
 * Sums are plain, so that texts and traffic weigh by their tokens, whenever they came. The file is read again each time:
 * another program may have added to it.
 */
export class LiveProfile {
  private readonly timer: NodeJS.Timeout;
  /** The last save, which the next one waits for. */
  private saving: Promise<void> = Promise.resolve();

  private constructor(
    private readonly path: string,
    private readonly model: Model,
    private readonly profiled: ProfiledModel,
    private readonly recorder: Pick<LiveRecorder, "take" | "giveBack">,
    private readonly log: Logger,
  ) {
    this.timer = setInterval(() => void this.save(), SAVE_EVERY_MS).unref();
  }

  /** @throws ThermoclineError for a model that has nothing to count, or a profile of another one */
  static async open(
    path: string,
    model: Model,
    recorder: Pick<LiveRecorder, "take" | "giveBack">,
    log: Logger,
  ): Promise<LiveProfile> {
    const profiled = await profiledModel(model);
    checkCounting(path, await readProfile(path, profiled), model);
    return new LiveProfile(path, model, profiled, recorder, log);
  }

  /** Failures are logged, and what could not be saved is kept for the next time. */
  save(): Promise<void> {
    this.saving = this.saving.then(() => this.saveNow());
    return this.saving;
  }

  /** Saves what is left. */
  close(): Promise<void> {
    clearInterval(this.timer);
    return this.save();
  }

  private async saveNow(): Promise<void> {
    const taken = this.recorder.take();
    if (taken.tokens === 0) return;
    try {
      const known = await readProfile(this.path, this.profiled);
      checkCounting(this.path, known, this.model);
      const profile = known ?? new ActivationProfile(this.model.shape);
      profile.add(profile.source(LIVE_SOURCE), taken);
      await writeProfile(this.path, profile, this.profiled);
      this.log.debug({ path: this.path, tokens: taken.tokens }, "added to the live profile");
    } catch (error) {
      this.recorder.giveBack(taken);
      this.log.error({ err: error }, "the live profile could not be saved; it is tried again in a minute");
    }
  }
}
