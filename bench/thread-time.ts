/** What some modules take of this process's JavaScript thread, by V8's sampling profiler. */
import { type Profiler, Session } from "node:inspector/promises";

/** Often enough for thousands of samples in a turn, seldom enough to cost a few percent. */
const SAMPLING_INTERVAL_US = 500;

/** Profiles the thread while `work` runs. */
export async function profiled(work: () => Promise<void>): Promise<Profiler.Profile> {
  const session = new Session();
  session.connect();
  try {
    await session.post("Profiler.enable");
    await session.post("Profiler.setSamplingInterval", { interval: SAMPLING_INTERVAL_US });
    await session.post("Profiler.start");
    await work();
    return (await session.post("Profiler.stop")).profile;
  } finally {
    session.disconnect();
  }
}

/**
 * Share of the profile's wall time, 0 to 1, in which a function of a matching file was at work or had called what
 * was: what such files keep the thread from doing otherwise.
 */
export function shareOf({ nodes, samples, timeDeltas }: Profiler.Profile, matches: (url: string) => boolean) {
  const parents = new Map(nodes.flatMap(({ id, children }) => (children ?? []).map((child) => [child, id])));
  const urls = new Map(nodes.map(({ id, callFrame }) => [id, callFrame.url]));
  const known = new Map<number, boolean>();
  const counts = (id: number): boolean => {
    let answer = known.get(id);
    if (answer === undefined) {
      const parent = parents.get(id);
      answer = matches(urls.get(id) ?? "") || (parent !== undefined && counts(parent));
      known.set(id, answer);
    }
    return answer;
  };
  let matching = 0;
  let all = 0;
  for (const [at, sample] of (samples ?? []).entries()) {
    const us = timeDeltas?.[at] ?? 0;
    all += us;
    if (counts(sample)) matching += us;
  }
  return matching / all;
}
