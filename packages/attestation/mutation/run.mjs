// Changes the verifier's source in every small way and runs its tests against each: a change that no test notices must be
// explained in equivalent.mjs, or this fails.
//
//     pnpm mutate:attestation [file…]        such as: pnpm mutate:attestation quote der
//
// What was found in a source file is kept in .stryker/. While the file stays as it is, only what was not noticed is tried
// again: so an interrupted run goes on, and new tests are soon judged. Delete .stryker/ to judge everything anew.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { EQUIVALENT } from "./equivalent.mjs";

const SRC = "packages/attestation/src";
/** What decides nothing: tables of contents, and what is shown to people. */
const NOT_JUDGED = ["index", "errors", "explain", "format-tree", "check-tree", "watch"];

/**
 * @typedef {{ source: string, mutants: readonly Mutant[] }} Judged one source file, as Stryker's report has it
 * @typedef {{ status: string, replacement: string, mutatorName: string, location: Location }} Mutant
 * @typedef {{ start: { line: number, column: number }, end: { line: number, column: number } }} Location
 */

/**
 * A mutant under which the file of tests does not even load runs no test: Stryker calls that survived. So it is with what a
 * module does when it is loaded (`static`), since all tests are run against that.
 */
function isNoticed({ status, static: isStatic = false, coveredBy = [], testsCompleted }) {
  const hasTests = isStatic || coveredBy.length > 0;
  return ["Killed", "Timeout", "Ignored"].includes(status) || (hasTests && testsCompleted === 0);
}

/** The source that a mutant replaces: of several lines, the first. */
function codeAt(source, { start, end }) {
  const line = source.split("\n")[start.line - 1];
  return line.slice(start.column - 1, start.line === end.line ? end.column - 1 : undefined).trim();
}

function reasonFor(file, source, { location, replacement }) {
  const code = codeAt(source, location);
  return EQUIVALENT.find((e) => e.file === file && e.code === code && e.mutant === replacement);
}

/** Mutants that no test noticed and nobody explained. */
function openOf(file, { source, mutants }) {
  return mutants.filter((mutant) => !isNoticed(mutant) && reasonFor(file, source, mutant) === undefined);
}

/** @param ranges of lines, `5-7`; the whole file without @returns {Judged} */
function runStryker(file, ranges = []) {
  const path = `${SRC}/${file}.ts`;
  const mutate = ranges.length === 0 ? path : ranges.map((range) => `${path}:${range}`).join(",");
  const run = spawnSync(
    "stryker",
    ["run", "packages/attestation/mutation/stryker.config.json", "--mutate", mutate],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  if (run.status !== 0) throw new Error(`stryker ended with ${run.status ?? run.signal} at ${file}`);
  return Object.values(JSON.parse(readFileSync(".stryker/report.json", "utf8")).files)[0];
}

/** @returns {Judged} */
function judge(file) {
  const path = `.stryker/${file}.json`;
  const kept = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
  const isCurrent = kept?.source === readFileSync(`${SRC}/${file}.ts`, "utf8");
  const open = isCurrent ? openOf(file, kept) : [];
  if (isCurrent && open.length === 0) return kept;
  const judged = runStryker(file, [
    ...new Set(open.map(({ location: { start, end } }) => `${start.line}-${end.line}`)),
  ]);
  const keyOf = ({ mutatorName, location, replacement }) =>
    JSON.stringify([mutatorName, location, replacement]);
  const again = new Map(judged.mutants.map((mutant) => [keyOf(mutant), mutant]));
  const mutants = isCurrent
    ? kept.mutants.map((mutant) => again.get(keyOf(mutant)) ?? mutant)
    : judged.mutants;
  const result = { source: judged.source, mutants };
  writeFileSync(path, JSON.stringify(result));
  return result;
}

const judged = readdirSync(SRC)
  .filter((name) => name.endsWith(".ts"))
  .map((name) => basename(name, ".ts"))
  .filter((name) => !NOT_JUDGED.includes(name));
const chosen = process.argv.length > 2 ? process.argv.slice(2) : judged;
const unknown = chosen.find((name) => !judged.includes(name));
if (unknown !== undefined) {
  console.error(`there is no ${unknown}; there are ${judged.join(", ")}`);
  process.exit(2);
}

mkdirSync(".stryker", { recursive: true });
let failures = 0;
for (const file of chosen) {
  const result = judge(file);
  const made = result.mutants.filter(({ status }) => status !== "Ignored");
  const survivors = made.filter((mutant) => !isNoticed(mutant));
  const open = openOf(file, result);
  const used = new Set(survivors.map((mutant) => reasonFor(file, result.source, mutant)));
  const stale = EQUIVALENT.filter((e) => e.file === file && !used.has(e));
  console.log(`${file}: ${made.length} mutants, ${survivors.length} survive, ${open.length} unexplained`);
  for (const { status, location, replacement } of open) {
    const code = codeAt(result.source, location);
    console.error(`  ${status} ${file}.ts:${location.start.line}: ${code} -> ${replacement}`);
  }
  for (const { code, mutant } of stale) {
    console.error(`  explained, but no survivor: ${file}.ts: ${code} -> ${mutant}`);
  }
  failures += open.length + stale.length;
}
process.exitCode = failures === 0 ? 0 : 1;
