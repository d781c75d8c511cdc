import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const SCRIPT = fileURLToPath(
  new URL("../../../../images/guest/files/usr/lib/dstack/watch-tunnel", import.meta.url),
);
const NOW = 1_763_800_000;

/**
 * Runs the script in a world of its own, in which time passes only while it sleeps.
 * @param handshakes each look's ages in seconds, one a node; the script ends after the last look
 * @param random what each random number is made of
 * @param words each look's answer to what the nodes are; a registration succeeds where there are some
 * @param onEnd is told the directory in which programs have left what they did
 * @returns how long it slept, and where it registered again
 */
async function watch(
  handshakes: readonly (readonly number[])[],
  random = 0,
  onEnd: (dir: string) => Promise<void> = async () => {},
  words: readonly string[] = [],
): Promise<(number | "renew")[]> {
  const dir = await mkdtemp(join(tmpdir(), "watch-"));
  const program = (name: string, text: string): Promise<void> =>
    writeFile(join(dir, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  await writeFile(join(dir, "ages"), handshakes.map((ages) => ages.join(" ")).join("\n") + "\n");
  // Each look is a sleep, and then a line of ages.
  await program(
    "busybox",
    `case $1 in
      date) echo ${NOW} ;;
      od) echo ${random} ;;
      ping) echo "$*" >> ${dir}/pings ;;
      timeout) shift 2; exec "$@" ;;
      nc) echo "$4 $5" >> ${dir}/asked; sed -n "$(cat ${dir}/looks)p" ${dir}/words | cut -d' ' -f1 | tr -d '\n' ;;
      head) exec head -c "$3" ;;
      sleep) n=$(($(cat ${dir}/looks 2>/dev/null) + 1)); [ $n -gt ${handshakes.length} ] && exit 1
        echo $n > ${dir}/looks; echo $2 >> ${dir}/did ;;
    esac`,
  );
  await program(
    "wg",
    `[ "$3" = dump ] && { printf 'own\tkey\t0\toff\na\t(none)\t192.0.2.1:51820\t10.9.0.1/32\t0\t0\t0\t25\n'; exit; }
    [ "$3" = allowed-ips ] && { printf 'a\\t10.9.0.1/32\\nb\\tfd09::1/128\\n'; exit; }
    for age in $(sed -n "$(cat ${dir}/looks)p" ${dir}/ages); do echo "key $((${NOW} - age))"; done`,
  );
  await writeFile(join(dir, "words"), words.join("\n") + "\n");
  await program(
    "tdxctl",
    `[ "$1" = renew-tunnel ] && echo renew >> ${dir}/did; [ -s ${dir}/words ] && exit 0; exit 1`,
  );
  try {
    spawnSync("/bin/sh", [SCRIPT], { env: { PATH: `${dir}:/usr/bin:/bin` }, timeout: 400_000 });
    await onEnd(dir);
    const did = (await readFile(join(dir, "did"), "utf8")).trim().split("\n");
    return did.map((what) => (what === "renew" ? what : Number(what)));
  } finally {
    // What was said to nodes may still be written down.
    await rm(dir, { recursive: true, maxRetries: 10 });
  }
}

const times = <T>(n: number, value: T): T[] => Array.from({ length: n }, () => value);

it("asks nobody while all nodes are heard", async () => {
  expect(await watch(times(10, [3, 124, 199]))).toEqual(times(10, 30));
});

it("registers again when a node is not heard, less and less often, and at once the next time", async () => {
  const looks = [[3, 250], ...times(6, [3, 999]), [3, 3], [3, 250]];
  const expected = [
    30,
    "renew",
    60,
    "renew",
    120,
    "renew",
    240,
    "renew",
    480,
    "renew",
    900,
    "renew",
    900,
    "renew",
  ];
  expect(await watch(looks)).toEqual([...expected, 900, 30, "renew"]);
});

it("asks at least once a minute when no node is heard, or there is none", async () => {
  expect(await watch([[NOW], [500, 500], [], []])).toEqual([
    30,
    "renew",
    60,
    "renew",
    60,
    "renew",
    60,
    "renew",
  ]);
});

it.each([1, 7, 15, 40_000, 65_535])(
  "waits three quarters of the time to all of it: who was refused together does not come again together (%i)",
  async (random) => {
    const [look, again, some] = [30 - (random % 8), 60 - (random % 16), 120 - (random % 31)];
    const did = await watch([[NOW], [NOW], [3, 999], [3, 3]], random);
    expect(did).toEqual([look, "renew", again, "renew", again, "renew", some]);
    expect(look).toBeGreaterThanOrEqual(22);
    expect(again).toBeGreaterThanOrEqual(45);
    expect(some).toBeGreaterThanOrEqual(90);
  },
);

it("asks once an hour for new nodes, guests at different times", async () => {
  const did = await watch(times(6, [1]), 3_500);
  expect(did).toEqual([26, 26, 26, 26, "renew", 26, 26]);
});

it("registers again, not at the same time as other guests, when a node says that there are others", async () => {
  const words = ["one", "one", "", "two", "two", "two", "two"];
  await expect(watch(times(7, [1]), 130, undefined, words)).resolves.toEqual([
    ...[28, 28, 28, 28, 10, "renew", 28, 28],
  ]);
});

it("asks for the nodes at their address in the tunnel, on WireGuard's port", async () => {
  await watch(times(1, [1]), 0, async (dir) => {
    expect(await readFile(join(dir, "asked"), "utf8")).toBe("10.9.0.1 51820\n");
  });
});

it("says something to every node at each look, which wants an answer", async () => {
  await watch(times(3, [1]), 0, (dir) =>
    expect
      .poll(async () => (await readFile(join(dir, "pings"), "utf8")).trim().split("\n").toSorted(compareText))
      .toEqual([...times(3, "ping -c 1 -W 1 10.9.0.1"), ...times(3, "ping -c 1 -W 1 fd09::1")]),
  );
});

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
