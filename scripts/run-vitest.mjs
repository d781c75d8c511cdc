// Runs tests, and the files in which some failed once more, alone. A test that passes then is no failure: it is told as
// flaky. One that fails twice is, and so is a file that cannot be loaded, or is not run to its end.
//
// Usage: run-vitest.mjs DIRECTORY [option of vitest…] [-- filter…]
// Leaves in DIRECTORY: `counts` (passed and failed), and `flaky` (a line each).
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";

const [directory = "", ...rest] = process.argv.slice(2);
const end = rest.includes("--") ? rest.indexOf("--") : rest.length;
const [options, filters] = [rest.slice(0, end), rest.slice(end + 1)];
mkdirSync(directory, { recursive: true });

function vitest(name, ...more) {
  const report = join(directory, `${name}.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const { status } = spawnSync("node_modules/.bin/vitest", ["run", ...reporters, ...options, ...more], {
    stdio: "inherit",
  });
  try {
    return { isGood: status === 0, files: JSON.parse(readFileSync(report, "utf8")).testResults };
  } catch {
    return { isGood: false, files: [] };
  }
}

/** How a file fared outside of its tests; after a failure, vitest may not begin with the others (`bail`). */
function stateOf({ status, assertionResults: tests }) {
  if (status === "failed") return tests.some((test) => test.status === "failed") ? "passed" : "failed";
  return tests.length === 0 || tests.some((test) => test.status === "pending") ? "not run" : "passed";
}

/** Adds how files and tests of a run ended: name → states, one a run. */
function note(states, { files }) {
  const seen = new Map();
  const add = (name, state) => {
    const times = (seen.get(name) ?? 0) + 1; // names may occur twice
    seen.set(name, times);
    const key = times === 1 ? name : `${name} (${times})`;
    states.set(key, [...(states.get(key) ?? []), state]);
  };
  for (const file of files) {
    const path = relative(process.cwd(), file.name);
    add(path, stateOf(file));
    for (const test of file.assertionResults) add(`${path} > ${test.fullName}`, test.status);
  }
}

const states = new Map();
let last = vitest("first", ...filters);
note(states, last);
if (!last.isGood) {
  const again = last.files.filter((file) => file.status === "failed" || stateOf(file) !== "passed");
  const files = again.map((file) => file.name);
  console.log(`\n== once more, alone: ${files.length === 0 ? "all of it" : `${files.length} file(s)`}`);
  last = vitest("again", "--no-file-parallelism", ...(files.length === 0 ? filters : files));
  note(states, last);
}

const isTest = (name) => name.includes(" > ");
const named = (holds) => [...states].flatMap(([name, all]) => (holds(all) ? [name] : []));
const passed = named((all) => all.includes("passed")).filter(isTest);
const failed = named(
  (all) => !all.includes("passed") && all.some((state) => /^(failed|not run)$/.test(state)),
);
const flaky = named((all) => all.includes("passed") && all.includes("failed"));
const skipped = named((all) => all.every((state) => state === "skipped" || state === "todo"));
// Errors outside of every test, or nothing that ran.
if (failed.length === 0 && (!last.isGood || passed.length === 0))
  failed.push("vitest itself, for a reason above");

const lines = flaky.map((name) => {
  const [first] = states.get(name);
  const how =
    first === "failed" ? "failed beside the others, passed alone" : "passed beside the others, failed alone";
  return `flaky: ${how}: ${name}`;
});
for (const name of failed) console.log(`failed: ${name}`);
for (const line of lines) console.log(line);
console.log(
  `${basename(directory)}: ${passed.length} passed, ${failed.length} failed, ${skipped.length} skipped`,
);
writeFileSync(join(directory, "counts"), `${passed.length} ${failed.length}\n`);
writeFileSync(join(directory, "flaky"), lines.map((line) => `${line}\n`).join(""));
