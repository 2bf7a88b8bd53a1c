/** The picture of a profile. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { summarize } from "../../coordinator/profile/analysis.js";
import { plotSvg } from "../../coordinator/profile/plot.js";
import { checkPlotPath, writePlot } from "../../coordinator/profile/plot-file.js";
import { profileOf } from "../support/profiles.js";
import { TEST_MODEL } from "../support/public-server.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const MODEL = { shape: { ...TEST_MODEL.shape, layers: 3, ff: 100 } };
/** The last layer never fires. */
const COUNTS = Array.from({ length: 300 }, (_, index) => (index < 200 ? (index % 100) ** 4 : 0));

function plotOf(name: string): string {
  const profile = profileOf(MODEL, { a: COUNTS });
  return plotSvg(name, profile, summarize(profile));
}

/** @returns the elements' names, or what is wrong */
function elementsOf(xml: string): string[] {
  const open: string[] = [];
  const names: string[] = [];
  const text = xml.replaceAll(
    /<(\/?)([a-z]+)((?: [\w-]+="[^"<&]*")*)(\/?)>/gi,
    (_, end, name, _attributes, empty) => {
      if (end === "") names.push(name);
      if (end === "" && empty === "") open.push(name);
      else if (end === "/" && open.pop() !== name) throw new Error(`</${name}> ends nothing`);
      return "";
    },
  );
  if (open.length > 0) throw new Error(`<${open.join(", ")}> has no end`);
  if (/[<>]|&(?!amp;|lt;|gt;)/.test(text)) throw new Error(`a character that belongs escaped: ${text}`);
  return names;
}

test("is well-formed, with a line for each layer that fires and one for the model", () => {
  const svg = plotOf("a model <7B> & \u0001 more");
  const names = elementsOf(svg);
  expect(names[0]).toBe("svg");
  expect(names.filter((name) => name === "polyline")).toHaveLength(3);
  expect(svg).toContain("a model &lt;7B&gt; &amp; \ufffd more");
  expect(svg).toContain("3 layers of 100 neurons, 1,000 tokens");
  expect(svg).not.toContain("NaN");
});

test("marks the neurons that carry 80 %", () => {
  const profile = profileOf(MODEL, { a: COUNTS });
  const { hot } = summarize(profile);
  expect(plotOf("m")).toContain(`>${Number((100 * hot).toFixed(1))} % of the neurons carry 80 %</text>`);
});

test("lines stay in the frame and rise", () => {
  for (const [, points = ""] of plotOf("m").matchAll(/polyline points="([^"]+)"/g)) {
    const places = points.split(" ").map((point) => point.split(",").map(Number));
    const [first = [], last = []] = [places[0], places.at(-1)];
    expect([first, last]).toEqual([
      [76, 488],
      [692, 72],
    ]);
    expect(places.every(([, y = 0], index) => index === 0 || y <= (places[index - 1]?.[1] ?? 0))).toBe(true);
  }
});

test("is written as its name asks for", async () => {
  const svg = plotOf("m");
  const vector = join(folder, "plot.SVG");
  await writePlot(vector, svg);
  expect(readFileSync(vector, "utf8")).toBe(svg);
  const pixels = join(folder, "plot.png");
  await writePlot(pixels, svg);
  const png = readFileSync(pixels);
  expect(png.subarray(1, 4).toString()).toBe("PNG");
  // Twice the plot's own size, by the header chunk.
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([1440, 1120]);
});

test("what cannot be drawn or written is refused", async () => {
  expect(() => checkPlotPath("plot.pdf")).toThrow(
    '--plot is "plot.pdf"; give a file that ends in .svg or .png, which says what is drawn',
  );
  await expect(writePlot(join(folder, "none", "plot.svg"), plotOf("m"))).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringMatching(/plot\.svg: cannot be written: /),
  });
});
