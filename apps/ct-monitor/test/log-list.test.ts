import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "@dstack/daemon";
import { expect, it } from "vitest";
import { CtMonitorConfig } from "../src/index.js";
import { logTables } from "../src/log-list.js";

const key = (): string =>
  generateKeyPairSync("ec", { namedCurve: "P-256" })
    .publicKey.export({ format: "der", type: "spki" })
    .toString("base64");
const now = new Date("2026-11-22T00:00:00Z");
const interval = (end: string) => ({
  temporal_interval: { start_inclusive: "2026-01-01T00:00:00Z", end_exclusive: end },
});
const tiled = (name: string, state: string, end = "2027-01-01T00:00:00Z") => ({
  description: `${name} "2026h2"\nurl = "https://elsewhere.test"`,
  log_id: "…",
  key: key(),
  submission_url: `https://log.example.org/${name}/`,
  monitoring_url: `https://mon.example.org/${name}/`,
  mmd: 60,
  state: { [state]: { timestamp: "2026-01-01T00:00:00Z" } },
  ...interval(end),
});
const list = {
  version: "85.0",
  operators: [
    {
      name: "Example",
      email: [],
      tiled_logs: [
        tiled("a", "usable"),
        tiled("b", "retired"),
        tiled("c", "pending"),
        tiled("past", "usable", "2026-11-21T23:59:59Z"),
        tiled("d", "readonly"),
      ],
    },
    {
      name: "Old",
      email: [],
      logs: [
        {
          description: "old",
          key: key(),
          url: "https://ct.example.net/x/",
          mmd: 86_400,
          state: { qualified: {} },
        },
      ],
    },
  ],
};

it("a browser's log list becomes tables of the logs that valid certificates can be in", async () => {
  const dir = await mkdtemp(join(tmpdir(), "log-list-"));
  const path = join(dir, "ct-monitor.toml");
  const head = `tproxy_url = "https://t.test"\ndomain = "app.example.org"\ninsecure_keys_on_trust = true\n`;
  await writeFile(path, head + logTables(list, now));
  const { log } = await loadConfig(CtMonitorConfig, { path });
  await rm(dir, { recursive: true });
  expect(
    log.map(({ url, monitoring_url, mmd_secs, start }) => [url, monitoring_url, mmd_secs, start]),
  ).toEqual([
    ["https://log.example.org/a", "https://mon.example.org/a", 60, "now"],
    ["https://log.example.org/d", "https://mon.example.org/d", 60, "now"],
    ["https://ct.example.net/x", undefined, 86_400, "now"],
  ]);
  expect(log[0]?.public_key).toBe(list.operators[0]?.tiled_logs?.[0]?.key);
});

it.each([
  [{}, /operators/],
  [{ operators: [{ name: "x", logs: [{ description: "no key" }] }] }, /operators\.0\.logs\.0\.key/],
  [{ operators: [] }, /no log of this list/],
])("what is no list, or has none, is refused: %j", (value, why) => {
  expect(() => logTables(value, now)).toThrow(why);
});
