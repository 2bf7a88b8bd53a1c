/** The thread behind `solve`: one program, one answer. */
import { parentPort, workerData } from "node:worker_threads";
import { runHighs } from "./highs.js";

parentPort?.postMessage(await runHighs(workerData));
