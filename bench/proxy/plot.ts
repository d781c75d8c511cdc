import { figure } from "./tables.js";
import type { Results } from "./results.js";

const COLOURS: Readonly<Record<string, string>> = {
  native: "#0b6e4f",
  js: "#7fb69b",
  haproxy: "#c8553d",
  nginx: "#5b7db1",
  sniproxy: "#9a9a9a",
};
const SHOWN = Object.keys(COLOURS);
const LABEL_WIDTH = 250;
const BAR_WIDTH = 420;
const BAR_HEIGHT = 11;
const ROW_GAP = 14;
const TOP = 46;
/** Longer bars end in a number. */
const MOST = 3;

/** Bars of each row's ratios to HAProxy at its best, with a tick at the goal: an SVG document. */
export function plot({ rows }: Results): string {
  const parts: string[] = [];
  let y = TOP;
  for (const row of rows.filter(({ goalFor }) => goalFor === "ratio")) {
    const bars = SHOWN.flatMap((name) => {
      const value = name === "haproxy" ? 1 : row.cells[name]?.ratio?.median;
      return value === undefined ? [] : [{ name, value }];
    });
    const height = bars.length * BAR_HEIGHT;
    parts.push(text(LABEL_WIDTH - 8, y + height / 2 + 4, row.name, "end"));
    for (const [index, { name, value }] of bars.entries()) {
      const width = (Math.min(value, MOST) / MOST) * BAR_WIDTH;
      const at = y + index * BAR_HEIGHT;
      parts.push(rectangle(LABEL_WIDTH, at, width, BAR_HEIGHT - 2, COLOURS[name] ?? "#000"));
      parts.push(text(LABEL_WIDTH + width + 4, at + BAR_HEIGHT - 3, figure(value), "start", 9));
    }
    const goal = LABEL_WIDTH + (row.goal / MOST) * BAR_WIDTH;
    parts.push(upright(goal, y - 3, y + height + 1));
    y += height + ROW_GAP;
  }
  const legend = SHOWN.map((name, index) => {
    const x = LABEL_WIDTH + index * 84;
    return (
      rectangle(x, 26, 9, 9, COLOURS[name] ?? "#000") +
      text(x + 13, 34, name === "haproxy" ? "HAProxy, best" : name, "start", 10)
    );
  });
  const width = LABEL_WIDTH + BAR_WIDTH + 50;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${y}" fill="#fff"/>`,
    text(
      8,
      16,
      "Proxy CPU per unit of work ÷ HAProxy at its best (less is better); the line is the goal",
      "start",
      12,
    ),
    ...legend,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

const text = (x: number, y: number, words: string, anchor: "start" | "end", size = 11): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-size="${size}">${escape(words)}</text>`;

const rectangle = (x: number, y: number, width: number, height: number, fill: string): string =>
  `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${width.toFixed(1)}" height="${height}" fill="${fill}"/>`;

const upright = (x: number, from: number, to: number): string =>
  `<path d="M${x.toFixed(1)} ${from}V${to}" stroke="#000" stroke-width="1.5"/>`;

const escape = (words: string): string => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
