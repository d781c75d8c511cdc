// Changes the verifier's source in every small way and runs its tests against each: a change that no test notices must be
// explained in equivalent.mjs, or this fails.
//
//     pnpm mutate:attestation [file…]        such as: pnpm mutate:attestation quote der
//
// Each source file is judged on its own, and what was found is kept in .stryker/: an interrupted run goes on where it
// stopped, and a later one judges again only what changed. Delete .stryker/ to judge everything anew.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { basename } from "node:path";
import { EQUIVALENT } from "./equivalent.mjs";

const SRC = "packages/attestation/src";
/** What decides nothing: tables of contents, and what is shown to people. */
const NOT_JUDGED = ["index", "errors", "explain", "format-tree", "check-tree", "watch"];
const NOTICED = new Set(["Killed", "Timeout"]);

/**
 * The mutants of one source file, as Stryker's report has them.
 * @returns {{ source: string, mutants: { status: string, replacement: string, location: object }[] }}
 */
function judge(file) {
  const kept = `.stryker/${file}.json`;
  const options = ["--mutate", `${SRC}/${file}.ts`, "--incremental", "--incrementalFile", kept];
  const run = spawnSync("stryker", ["run", "packages/attestation/mutation/stryker.config.json", ...options], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (run.status !== 0) throw new Error(`stryker ended with ${run.status ?? run.signal} at ${file}`);
  const [result] = Object.values(JSON.parse(readFileSync(kept, "utf8")).files);
  return result;
}

/** A mutant under which the file of tests does not even load runs no test: Stryker calls that survived. */
const isNoticed = ({ status, coveredBy = [], testsCompleted }) =>
  NOTICED.has(status) || (status === "Survived" && coveredBy.length > 0 && testsCompleted === 0);

/** The source that a mutant replaces: of several lines, the first. */
function codeAt(source, { start, end }) {
  const line = source.split("\n")[start.line - 1];
  return line.slice(start.column - 1, start.line === end.line ? end.column - 1 : undefined).trim();
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
let open = 0;
for (const file of chosen) {
  const { source, mutants: made } = judge(file);
  const mutants = made.filter(({ status }) => status !== "Ignored");
  const survivors = mutants.filter((mutant) => !isNoticed(mutant));
  const used = new Set();
  const unexplained = survivors.filter(({ location, replacement }) => {
    const code = codeAt(source, location);
    const reason = EQUIVALENT.find((e) => e.file === file && e.code === code && e.mutant === replacement);
    if (reason !== undefined) used.add(reason);
    return reason === undefined;
  });
  const stale = EQUIVALENT.filter((e) => e.file === file && !used.has(e));
  console.log(
    `${file}: ${mutants.length} mutants, ${survivors.length} survive, ${unexplained.length} unexplained`,
  );
  for (const { status, location, replacement } of unexplained) {
    console.error(
      `  ${status} ${file}.ts:${location.start.line}: ${codeAt(source, location)} -> ${replacement}`,
    );
  }
  for (const { code, mutant } of stale) {
    console.error(`  explained, but no survivor: ${file}.ts: ${code} -> ${mutant}`);
  }
  open += unexplained.length + stale.length;
}
process.exitCode = open === 0 ? 0 : 1;
