/** A process of its own that asks a device library for its card: a driver may end whoever asks. */
import { probeCard } from "./index.js";

const [library = ""] = process.argv.slice(2);
try {
  process.stdout.write(JSON.stringify({ card: probeCard(library) }));
} catch (error) {
  process.stdout.write(JSON.stringify({ problem: error instanceof Error ? error.message : String(error) }));
}
