// Owns a companion, and is there to be killed: companion-owner.mjs DIST ENTRY. Prints the companion's process id.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [, , dist, entry] = process.argv;
const { Companion } = await import(pathToFileURL(join(dist, "bench/companion.js")).href);
const companion = new Companion({ entry, label: "the companion", signal: new AbortController().signal });
await companion.next();
console.log(companion.pid);
setInterval(() => undefined, 60_000);
