/** Writes a plot as the kind of picture its name asks for. */
import { writeFile } from "node:fs/promises";
import { extname } from "node:path";
import { ThermoclineError } from "../../proto/errors.js";

/** Pixels of a PNG for each of the plot's own: sharp on any screen, and in print. */
const ZOOM = 2;

/** @throws ThermoclineError INVALID_ARGUMENT for another ending than .svg and .png */
export function checkPlotPath(path: string): void {
  if (isPng(path) || extname(path).toLowerCase() === ".svg") return;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `--plot is "${path}"; give a file that ends in .svg or .png, which says what is drawn`,
  );
}

/** @throws ThermoclineError FAILED_PRECONDITION */
export async function writePlot(path: string, svg: string): Promise<void> {
  const picture = isPng(path) ? await pngOf(path, svg) : svg;
  await writeFile(path, picture).catch((error: unknown) => {
    throw new ThermoclineError("FAILED_PRECONDITION", `${path}: cannot be written: ${String(error)}`, {
      cause: error,
    });
  });
}

function isPng(path: string): boolean {
  return extname(path).toLowerCase() === ".png";
}

async function pngOf(path: string, svg: string): Promise<Buffer> {
  // 8 MB of native code, which nothing else needs.
  const { Resvg } = await import("@resvg/resvg-js");
  const letter = `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9">x</text></svg>`;
  if (new Resvg(letter).getBBox() === undefined) {
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `${path}: there is no font on this machine to write a picture's labels with; install one, such as Debian's ` +
        "fonts-dejavu-core, or give --plot a file that ends in .svg",
    );
  }
  const fitTo = { mode: "zoom", value: ZOOM } as const;
  return new Resvg(svg, { fitTo, font: { defaultFontFamily: "DejaVu Sans" } }).render().asPng();
}
