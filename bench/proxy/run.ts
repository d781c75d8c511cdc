/**
 * What tproxy's data plane costs, beside HAProxy, nginx and sniproxy: processor time of all the proxy's processes per unit
 * of work, in a network namespace of its own, in interleaved rounds.
 *
 *     pnpm bench:proxy [--quick] [--scale 0.5] [results.json]   measures, prints the tables, writes the results
 *     pnpm bench:proxy render results.json                      puts tables and plot of a run into docs/
 *
 * A round does `--scale` of 8,000 connections, 1 GiB and so on; less of it suits a machine that others keep busy.
 * Ends with exit code 1 when a goal is not met. Needs root or user namespaces, a C compiler and OpenSSL's headers.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildAddon, bundleHost } from "./contenders/ours.js";
import { writeDocument } from "./document.js";
import { Ends } from "./ends.js";
import { IDLE, measureCosts, measureIdle, measureTail } from "./goals.js";
import type { Size } from "./goals.js";
import { measurePeers, measureRoutes, measureThreads } from "./growth.js";
import { enterOwnNetwork } from "./machine.js";
import { isMet } from "./results.js";
import type { Results, RowResult } from "./results.js";
import { makeSite } from "./site.js";
import { costTable, goalTable, growthTable } from "./tables.js";

const APPS = 100;

interface Plan {
  readonly costs: Size;
  readonly others: Size;
  readonly threads: { rounds: number; bytes: number };
  readonly routes: { sizes: readonly number[]; rounds: number; connections: number };
  readonly peers: readonly number[];
}
const whole = (scale: number): Plan => ({
  costs: { rounds: 7, minutes: 6, scale },
  others: { rounds: 3, minutes: 2, scale: 0.5 },
  threads: { rounds: 5, bytes: 2 ** 30 },
  routes: { sizes: [10, 1_000, 100_000], rounds: 2, connections: 1_500 },
  peers: [10, 1_000, 5_000],
});
/** To see that it works; its numbers say little. */
const QUICK: Plan = {
  costs: { rounds: 1, minutes: 1, scale: 0.1 },
  others: { rounds: 1, minutes: 1, scale: 0.25 },
  threads: { rounds: 1, bytes: 2 ** 28 },
  routes: { sizes: [10, 1_000], rounds: 1, connections: 500 },
  peers: [10, 1_000],
};

function versions(): Results["versions"] {
  const of = (command: string, ...args: string[]): string => {
    const { stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
    return /\d+\.\d+[.\d]*/.exec(`${stdout ?? ""}${stderr ?? ""}`)?.[0] ?? "?";
  };
  return {
    "Node.js": process.versions.node,
    HAProxy: of("haproxy", "-v"),
    nginx: of("nginx", "-v"),
    sniproxy: of("sniproxy", "-V"),
  };
}

function requirePeers(): void {
  const missing = ["haproxy", "nginx", "sniproxy"].filter((name) => spawnSync("which", [name]).status !== 0);
  if (missing.length === 0) return;
  console.error(
    `missing: ${missing.join(", ")}; install them with: apt-get install --no-install-recommends haproxy nginx libnginx-mod-stream sniproxy`,
  );
  process.exit(2);
}

async function measure(plan: Plan, quick: boolean): Promise<Results> {
  const began = performance.now();
  const directory = mkdtempSync(join(tmpdir(), "bench-proxy-"));
  try {
    const site = makeSite(directory, APPS);
    buildAddon();
    bundleHost(site);
    using ends = await Ends.start(directory, site.certPath, site.keyPath);
    const { rows, loadAverages } = await measureCosts(ends, site, plan.costs);
    const idle: RowResult[] = [];
    for (const kind of IDLE) idle.push(await measureIdle(ends, site, plan.others, kind));
    const tail = await measureTail(ends, site, plan.others);
    const growth = [
      ...(await measureThreads(ends, site, plan.threads)),
      ...(await measureRoutes(ends, site, plan.routes)),
      await measurePeers(plan.peers),
    ];
    return {
      date: new Date().toISOString(),
      quick,
      rounds: loadAverages.length - 1,
      versions: versions(),
      machine: {
        kernel: release().replace(/^(\d+\.\d+).*/, "$1"),
        cpu: cpus()[0]?.model ?? "?",
        cores: cpus().length,
      },
      loadAverages,
      minutes: (performance.now() - began) / 60_000,
      rows: [...rows, ...idle, tail],
      growth,
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const { values, positionals } = parseArgs({
  options: { quick: { type: "boolean", default: false }, scale: { type: "string", default: "0.5" } },
  allowPositionals: true,
});
if (positionals[0] === "render") {
  const [, path = ""] = positionals;
  writeDocument(JSON.parse(readFileSync(path, "utf8")) as Results);
  execFileSync("pnpm", ["exec", "prettier", "--write", "docs/performance.md"], { stdio: "inherit" });
} else {
  requirePeers();
  enterOwnNetwork();
  const results = await measure(values.quick ? QUICK : whole(Number(values.scale)), values.quick);
  const [path = join(tmpdir(), "bench-proxy.json")] = positionals;
  writeFileSync(path, `${JSON.stringify(results, undefined, 1)}\n`);
  console.log(["", goalTable(results), costTable(results), ...results.growth.map(growthTable)].join("\n\n"));
  console.log(`\n${results.minutes.toFixed(1)} minutes; results are in ${path}`);
  if (results.rows.every(isMet)) process.exit(0);
  console.log("a goal was missed");
  process.exit(1);
}
