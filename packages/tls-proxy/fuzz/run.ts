// Fuzzes the parsers of the native engine with libFuzzer, each with so many inputs (10 million unless given), and keeps in
// `corpus` the smallest set of inputs that reaches as much:
//   node --import tsx packages/tls-proxy/fuzz/run.ts [inputs] [target]...
// Needs clang with its runtime (Debian: clang, libclang-rt-14-dev). Ends with 1 at the first finding.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parserSources } from "../test/native-engine.js";
import { fuzzSeeds } from "./seeds.js";

/**
 * Past the bounds of each parser: full records, several of them, and what is too long; past a header's 4 KiB; two tables
 * with as many instances of an app as are kept.
 */
const MAX_INPUT_BYTES: Readonly<Record<string, number>> = {
  hello_target: 70_000,
  proxy_header_target: 5_000,
  routes_target: 10_000,
};
const CHECKS = ["-g", "-O2", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"];

const [inputs = "10000000", ...targets] = process.argv.slice(2);

function run(program: string, args: readonly string[], output: "inherit" | "ignore"): void {
  const { status, error } = spawnSync(program, args, { stdio: ["ignore", output, output] });
  if (status === 0) return;
  process.stderr.write(`${program} failed: ${error?.message ?? `exit code ${status}`}\n`);
  process.exit(1);
}

function fuzz(target: string, seeds: readonly Buffer[], directory: string): void {
  const program = join(directory, target);
  const [corpus, found, smallest] = ["corpus", "found", "smallest"].map((name) =>
    name === "corpus"
      ? fileURLToPath(new URL(`./corpus/${target}`, import.meta.url))
      : join(directory, `${target}-${name}`),
  ) as [string, string, string];
  for (const path of [corpus, found, smallest]) mkdirSync(path, { recursive: true });
  for (const [index, bytes] of seeds.entries()) writeFileSync(join(found, `seed-${index}`), bytes);
  run("clang", ["-std=c11", "-D_GNU_SOURCE", ...CHECKS, "-o", program, ...parserSources(target)], "inherit");
  const bounds = [`-max_len=${MAX_INPUT_BYTES[target] ?? 0}`, "-timeout=10", "-rss_limit_mb=2048"];
  // Long seeds reach no other code than short ones, and long inputs come late, unless it is told otherwise.
  const longToo = ["-keep_seed=1", "-len_control=0"];
  run(program, [...bounds, ...longToo, `-runs=${inputs}`, "-print_final_stats=1", found, corpus], "inherit");
  run(program, [...bounds, "-merge=1", smallest, corpus, found], "ignore");
  rmSync(corpus, { recursive: true });
  mkdirSync(corpus, { recursive: true });
  run("cp", [...readdirSync(smallest).map((name) => join(smallest, name)), corpus], "inherit");
  process.stdout.write(`${target}: ${inputs} inputs, ${readdirSync(corpus).length} kept\n`);
}

const directory = mkdtempSync(join(tmpdir(), "dstack-fuzz-proxy-"));
try {
  for (const [target, seeds] of Object.entries(fuzzSeeds)) {
    if (targets.length === 0 || targets.includes(target)) fuzz(target, seeds, directory);
  }
} finally {
  rmSync(directory, { recursive: true });
}
