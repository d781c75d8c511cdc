import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";

const INSIDE = "DSTACK_BENCH_NETWORK";

/**
 * Runs this program again in a network namespace of its own and ends with its exit code; returns when it is inside.
 */
export function enterOwnNetwork(): void {
  if (process.env[INSIDE] !== undefined) return;
  const [file, args] = inOwnNetwork([process.execPath, ...process.execArgv, ...process.argv.slice(1)]);
  const { status, error } = spawnSync(file, args, {
    stdio: "inherit",
    env: { ...process.env, [INSIDE]: "1" },
  });
  if (error !== undefined) throw new Error("unshare (util-linux) is needed", { cause: error });
  process.exit(status ?? 1);
}

/**
 * What runs a command in a network namespace of its own: loopback only, `reno` (BBR paces loopback), many ports, used ones free
 * again at once. Nothing of the machine's own settings is touched. Without root it needs user namespaces.
 * @param more what else it has of its own, as options of `unshare`
 */
export function inOwnNetwork(
  command: readonly string[],
  more: readonly string[] = [],
): [file: string, args: string[]] {
  const prepare = [
    "ip link set lo up",
    `sysctl -qw net.ipv4.tcp_congestion_control=reno net.ipv4.tcp_tw_reuse=1 net.ipv4.ip_local_port_range="10000 65535"`,
    "ulimit -n $(ulimit -Hn)",
    'exec "$@"',
  ].join(" && ");
  const asRoot = process.getuid?.() === 0 ? [] : ["--map-root-user"];
  return ["unshare", ["--net", ...asRoot, ...more, "--", "sh", "-c", prepare, "sh", ...command]];
}

/** The proxy gets this core for itself, as far as the machine lets it; load generator and app share the other. */
export const PROXY_CPU = 1;
export const ENDS_CPU = 0;

/** A process and all its descendants. */
export function processTree(root: number): number[] {
  const found = [root];
  for (const pid of found) {
    for (const task of listIfAny(`/proc/${pid}/task`)) {
      const children = readIfAny(`/proc/${pid}/task/${task}/children`).trim();
      if (children !== "") found.push(...children.split(" ").map(Number));
    }
  }
  return found;
}

/** Seconds of processor time that the threads of these processes have had, exact to nanoseconds. */
export function cpuSeconds(pids: readonly number[]): number {
  let nanoseconds = 0;
  for (const pid of pids) {
    for (const task of listIfAny(`/proc/${pid}/task`)) {
      nanoseconds += Number(readIfAny(`/proc/${pid}/task/${task}/schedstat`).split(" ")[0] ?? 0);
    }
  }
  return nanoseconds / 1e9;
}

/** Bytes of memory of these processes, what they share divided among those who share it. */
export function residentBytes(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const [, kilobytes] = /^Pss: +(\d+) kB$/m.exec(readIfAny(`/proc/${pid}/smaps_rollup`)) ?? [];
    return sum + Number(kilobytes ?? 0) * 1024;
  }, 0);
}

/** How much others made the machine do: the load average of the last minute. */
export function loadAverage(): number {
  return Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]);
}

function listIfAny(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // ended meanwhile
  }
}

function readIfAny(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
