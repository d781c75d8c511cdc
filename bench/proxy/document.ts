import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { plot } from "./plot.js";
import type { Results } from "./results.js";
import { costTable, goalTable, growthTable } from "./tables.js";

const DOCS = join(import.meta.dirname, "../../docs");
const BEGIN = "<!-- bench:proxy begin -->";
const END = "<!-- bench:proxy end -->";

/** Writes tables and plot of a run into docs/performance.md, between its two marks; words around them stay. */
export function writeDocument(results: Results): void {
  const path = join(DOCS, "performance.md");
  const page = readFileSync(path, "utf8");
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${path} has no "${BEGIN}" and "${END}" around the tables`);
  writeFileSync(path, `${page.slice(0, begin + BEGIN.length)}\n\n${section(results)}\n\n${page.slice(end)}`);
  writeFileSync(join(DOCS, "performance-proxy.svg"), plot(results));
}

function section(results: Results): string {
  const { machine, versions, loadAverages, rounds, minutes, date } = results;
  const loads = loadAverages.map((load) => load.toFixed(1)).join(", ");
  return [
    `${date.slice(0, 16).replace("T", " ")} UTC, ${machine.cores} cores (${machine.cpu}), Linux ${machine.kernel}; ` +
      `${Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(
          ", ",
        )}; ${rounds} rounds in ${minutes.toFixed(0)} minutes. Load average at the start of each round and at ` +
      `the end: ${loads}.`,
    goalTable(results),
    "![Ratios to HAProxy](performance-proxy.svg)",
    "Medians:",
    costTable(results),
    ...results.growth.map(growthTable),
  ].join("\n\n");
}
