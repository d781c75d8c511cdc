import { execFile } from "node:child_process";
import { appendFile, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  parseEventLog,
  parseQuote,
  readAppIdentity,
  replayEventLog,
  runtimeEvent,
} from "@dstack/attestation";
import { utf8 } from "@dstack/core";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  MAX_RUNTIME_LOG_BYTES,
  type QuoteProvider,
  RuntimeEventLog,
  SimulatedPlatform,
  createSimulatedProvider,
  startSimulatorService,
} from "../src/index.js";
import { tempDir } from "./temp-dir.js";

const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(2));
const empty = new Uint8Array();

async function fresh(
  provider: QuoteProvider = createSimulatedProvider({ platform }),
): Promise<RuntimeEventLog> {
  return RuntimeEventLog.open({ provider, path: join(await tempDir(), "log", "runtime_events.log") });
}

describe("RuntimeEventLog", () => {
  it("E2: keeps a log that replays to the register", async () => {
    const provider = createSimulatedProvider({ platform });
    const log = await fresh(provider);
    await log.extend("system-preparing", empty);
    await log.extend("app-id", new Uint8Array(20).fill(1));
    const text = await log.eventLog();
    const events = parseEventLog(text);
    expect(replayEventLog(events)).toEqual(
      await Promise.all(([0, 1, 2, 3] as const).map((i) => provider.readRtmr(i))),
    );
    expect(events.filter((event) => event.imr === 3)).toEqual([
      runtimeEvent("system-preparing", empty),
      runtimeEvent("app-id", new Uint8Array(20).fill(1)),
    ]);
  });

  it("writes one JSON object a line into a file that only its owner can read, in such a directory", async () => {
    const log = await fresh();
    await log.extend("a", utf8("1"));
    await log.extend("b", utf8("2"));
    const lines = (await readFile(log.path, "utf8")).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      runtimeEvent("a", utf8("1")),
      runtimeEvent("b", utf8("2")),
    ]);
    expect((await stat(log.path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(log.path, ".."))).mode & 0o777).toBe(0o700);
  });

  it("stops at a device that says it extended and did not, and logs nothing", async () => {
    const provider = createSimulatedProvider({ platform });
    const log = await fresh(provider);
    await log.extend("system-preparing", empty);
    const before = await readFile(log.path, "utf8");
    provider.extendRtmr = async () => {};
    await expect(log.extend("app-id", empty)).rejects.toMatchObject({ code: "rtmr_mismatch" });
    expect(await readFile(log.path, "utf8")).toBe(before);
  });

  it("stops when somebody else extended the register, before it extends anything itself", async () => {
    const provider = createSimulatedProvider({ platform });
    const log = await fresh(provider);
    await provider.extendRtmr(3, new Uint8Array(48));
    const register = await provider.readRtmr(3);
    await expect(log.extend("app-id", empty)).rejects.toMatchObject({ code: "rtmr_mismatch" });
    expect(await provider.readRtmr(3)).toEqual(register);
    await expect(RuntimeEventLog.open({ provider, path: log.path })).rejects.toMatchObject({
      code: "rtmr_mismatch",
    });
  });

  it("appends nothing when the device fails", async () => {
    const provider = createSimulatedProvider({ platform });
    const log = await fresh(provider);
    provider.extendRtmr = () => Promise.reject(new Error("device is on fire"));
    await expect(log.extend("app-id", empty)).rejects.toThrow("on fire");
    expect(await log.entries()).toEqual([]);
  });

  it.each([
    ["cut", (text: string) => text.slice(0, -1)],
    ["of another register", (text: string) => text.replace('"imr":3', '"imr":2')],
    ["with a renamed event", (text: string) => text.replace('"event":"a"', '"event":"z"')],
    ["with text", (text: string) => `${text}hello\n`],
  ])("refuses a log file that is %s", async (_what, edit) => {
    const provider = createSimulatedProvider({ platform });
    const log = await fresh(provider);
    await log.extend("a", empty);
    await writeFile(log.path, edit(await readFile(log.path, "utf8")));
    await expect(RuntimeEventLog.open({ provider, path: log.path })).rejects.toThrow();
    await expect(log.extend("b", empty)).rejects.toThrow();
  });

  it("refuses an event that would make the log too long for certificates, and stays usable", async () => {
    const log = await fresh();
    await expect(log.extend("big", new Uint8Array(MAX_RUNTIME_LOG_BYTES / 2))).rejects.toThrow(
      "event log is full",
    );
    await log.extend("small", empty);
    expect(await log.entries()).toHaveLength(1);
  });

  it("refuses names that could stand for other events", async () => {
    const log = await fresh();
    await expect(log.extend("app-id:x", empty)).rejects.toThrow("colons");
    await expect(log.extend("", empty)).rejects.toThrow();
  });

  it("keeps log and register together under many writers in one process", async () => {
    const provider = createSimulatedProvider({ platform });
    const log = await fresh(provider);
    const other = await RuntimeEventLog.open({ provider, path: log.path });
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 ? log : other).extend(`event-${i}`, empty)),
    );
    expect(replayEventLog(await log.entries())[3]).toEqual(await provider.readRtmr(3));
    expect(await log.entries()).toHaveLength(20);
  });

  it("keeps log and register together under writers in several processes", async () => {
    const dir = await tempDir();
    const socketPath = join(dir, "sim.sock");
    const service = await startSimulatorService({
      seed: new Uint8Array(32),
      socketPath,
      device: join(dir, "no-device"),
    });
    onTestFinished(() => service[Symbol.asyncDispose]());
    const script = fileURLToPath(new URL("fixtures/event-writer.ts", import.meta.url));
    const path = join(dir, "events.log");
    const run = promisify(execFile);
    await Promise.all(
      [1, 2, 3].map((n) =>
        run(process.execPath, ["--import", "tsx", script, socketPath, path, `writer-${n}`, "10"]),
      ),
    );
    // Opening compares the log with the register.
    const { SimulatorClient } = await import("../src/index.js");
    const log = await RuntimeEventLog.open({ provider: new SimulatorClient(socketPath), path });
    expect(await log.entries()).toHaveLength(30);
  });

  it("gives a quote and the very log it quotes, whatever is emitted meanwhile", async () => {
    const log = await fresh();
    const emitting = Promise.all(Array.from({ length: 10 }, (_, i) => log.extend(`event-${i}`, empty)));
    const pairs = await Promise.all(Array.from({ length: 5 }, () => log.quote(new Uint8Array(64))));
    await emitting;
    for (const { quote, eventLog } of pairs) {
      expect(replayEventLog(parseEventLog(eventLog))[3]).toEqual(parseQuote(quote).body.rtmr[3]);
    }
  });

  it("E11: a log full of names in letters of several bytes is refused while it can still be read", async () => {
    const log = await fresh();
    await log.extend("first", new Uint8Array(18_000));
    const fill = async (): Promise<void> => {
      for (let n = 10; n < 50; n++) await log.extend(`${n}`.padEnd(42, "漢"), empty);
    };
    await expect(fill()).rejects.toThrow("event log is full");
    const { quote, eventLog } = await log.quote(new Uint8Array(64));
    expect(replayEventLog(parseEventLog(eventLog))[3]).toEqual(parseQuote(quote).body.rtmr[3]);
    expect((await stat(log.path)).size).toBeLessThanOrEqual(MAX_RUNTIME_LOG_BYTES);
  });

  it("refuses a log that is a link", async () => {
    const provider = createSimulatedProvider({ platform });
    const dir = await tempDir();
    const { symlink } = await import("node:fs/promises");
    await appendFile(join(dir, "target"), "");
    await symlink(join(dir, "target"), join(dir, "events.log"));
    await expect(RuntimeEventLog.open({ provider, path: join(dir, "events.log") })).rejects.toThrow(
      "symbolic link",
    );
  });

  it("feeds the identity reader the order it asks for", async () => {
    const log = await fresh();
    const app = new Uint8Array(20).fill(7);
    await log.extend("system-preparing", empty);
    await log.extend("rootfs-hash", new Uint8Array(32));
    await log.extend("app-id", app);
    await log.extend("compose-hash", new Uint8Array(32).fill(7));
    await log.extend("upgraded-app-id", app);
    await log.extend("ca-cert-hash", new Uint8Array(32));
    await log.extend("instance-id", app);
    await log.extend("boot-mr-done", empty);
    expect(readAppIdentity(parseEventLog(await log.eventLog()))).toMatchObject({
      bootMrDone: true,
      systemReady: false,
    });
  });
});
