import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import {
  parseEventLog,
  parseQuote,
  raTlsReportData,
  replayEventLog,
  runtimeEvent,
} from "@dstack/attestation";
import { hex, sha384 } from "@dstack/core";
import { pemToDer, readEvidence } from "@dstack/ra-tls";
import { describe, expect, it } from "vitest";
import { Machine } from "./cli.js";

const reportData = new Uint8Array(64).fill(0x42);
const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

describe("tdxctl quote and report", () => {
  it("take the 64 bytes on standard input and write bytes", async () => {
    const machine = await Machine.start();
    const quote = await machine.run(["quote"], { stdin: reportData });
    expect(parseQuote(new Uint8Array(quote.stdout)).body.reportData).toEqual(reportData);
    const report = await machine.run(["report"], { stdin: reportData });
    expect(report.stdout).toHaveLength(1024);
    expect(new Uint8Array(report.stdout.subarray(128, 192))).toEqual(reportData);
  });

  it("take report data as an option, and write hex or a private file", async () => {
    const machine = await Machine.start();
    const data = ["--report-data", hex(reportData)];
    const { text } = await machine.run(["quote", "--hex", ...data]);
    const bytes = Buffer.from(text.trim(), "hex");
    expect(parseQuote(new Uint8Array(bytes)).body.reportData).toEqual(reportData);
    const output = machine.path("quote.bin");
    expect((await machine.run(["quote", ...data, "-o", output])).text).toBe("");
    expect(await readFile(output)).toEqual(bytes);
    expect(await modeOf(output)).toBe(0o600);
  });

  it("give quote and event log together as JSON", async () => {
    const machine = await Machine.start();
    await machine.run(["extend", "-e", "hello"]);
    const answer = await machine.json(["quote"], reportData);
    expect(answer["platform"]).toBe("simulated");
    const quote = parseQuote(new Uint8Array(Buffer.from(String(answer["quote"]), "hex")));
    expect(replayEventLog(parseEventLog(JSON.stringify(answer["event_log"])))).toEqual(quote.body.rtmr);
  });

  it.each([[63], [65], [0]])("refuse %i bytes on standard input", async (length) => {
    const machine = await Machine.start();
    for (const command of ["quote", "report"]) {
      const { code, stdout, stderr } = await machine.run([command], { stdin: new Uint8Array(length) });
      expect([code, stdout.length]).toEqual([1, 0]);
      expect(stderr).toMatch(/^tdxctl: .*64 bytes/);
    }
  });

  it("print no bytes to a terminal", async () => {
    const machine = await Machine.start();
    const { code, stderr } = await machine.run(["quote"], { stdin: reportData, terminal: true });
    expect(code).toBe(1);
    expect(stderr).toContain("--hex");
  });
});

describe("tdxctl extend, eventlog, show and replay", () => {
  it("E2: extend writes an event that replays to the register shown", async () => {
    const machine = await Machine.start();
    const entry = await machine.json(["extend", "--event", "my-config", "--payload", "00ff"]);
    expect(entry).toEqual(runtimeEvent("my-config", Uint8Array.of(0, 255)));
    const shown = await machine.json(["show"]);
    expect(shown["rtmr3"]).toBe(hex(sha384(new Uint8Array(48), Buffer.from(String(entry["digest"]), "hex"))));
    expect(await machine.json(["replay"])).toMatchObject({ rtmr3: shown["rtmr3"], matches: true });
  });

  it("eventlog shows the boot's events and ours, or only ours", async () => {
    const machine = await Machine.start();
    await machine.run(["extend", "-e", "first", "-p", "0a"]);
    const all = parseEventLog(JSON.stringify(await machine.json(["eventlog"])));
    expect(all.map((event) => event.imr)).toEqual([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3]);
    const { text } = await machine.run(["eventlog", "--runtime"]);
    expect(text).toMatch(/^RTMR3 {2}first +0a\n$/);
  });

  it.each([
    [["-e", "a:b"], 1, "colons"],
    [["-e", "a", "-p", "xyz"], 1, "--payload must be hex"],
    [["-e", "a", "-i", "2"], 1, "only RTMR 3"],
    [[], 2, "--event"],
  ])("extend refuses %j and leaves the register alone", async (args, code, reason) => {
    const machine = await Machine.start();
    const outcome = await machine.run(["extend", ...args]);
    expect(outcome.code).toBe(code);
    expect(outcome.stderr).toContain(reason);
    expect(await machine.provider.readRtmr(3)).toEqual(new Uint8Array(48));
  });

  it("extend fails when the register is not what the log says", async () => {
    const machine = await Machine.start();
    await machine.provider.extendRtmr(3, sha384("behind our back"));
    const { code, stderr } = await machine.run(["extend", "-e", "a"]);
    expect(code).toBe(1);
    expect(stderr).toContain("RTMR3 does not hold what the event log replays to");
  });

  it("show has the fields of TDINFO in their order", async () => {
    const machine = await Machine.start();
    expect(Object.keys(await machine.json(["show"]))).toEqual(
      "platform attributes xfam mrtd mrconfigid mrowner mrownerconfig rtmr0 rtmr1 rtmr2 rtmr3 servtd_hash".split(
        " ",
      ),
    );
    expect((await machine.run(["show"])).text).toMatch(/^rtmr0 {10}[0-9a-f]{96}$/m);
  });

  it("replay compares a log with a quote", async () => {
    const machine = await Machine.start();
    await machine.run(["extend", "-e", "first"]);
    const [quote, log] = [machine.path("quote"), machine.path("log.json")];
    await machine.run(["quote", "-o", quote], { stdin: reportData });
    await writeFile(log, JSON.stringify(await machine.json(["eventlog"])));
    expect(await machine.json(["replay", log, "--quote", quote])).toMatchObject({ matches: true });

    await machine.run(["extend", "-e", "second"]);
    const later = Buffer.from(JSON.stringify(await machine.json(["eventlog"])));
    const outcome = await machine.run(["replay", "-", "--quote", quote], { stdin: new Uint8Array(later) });
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain("does not explain RTMR3");
  });

  it("E2: replay refuses a log whose event was renamed", async () => {
    const machine = await Machine.start();
    await machine.run(["extend", "-e", "first"]);
    const log = machine.path("log.json");
    await writeFile(log, JSON.stringify(await machine.json(["eventlog"])).replace('"first"', '"other"'));
    const { code, stderr } = await machine.run(["replay", log]);
    expect(code).toBe(1);
    expect(stderr).toContain("does not have its digest");
  });
});

describe("tdxctl hex and rand", () => {
  it("hex writes standard input or a file as hex", async () => {
    const machine = await Machine.start();
    const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
    expect((await machine.run(["hex"], { stdin: bytes })).text).toBe(`${hex(bytes)}\n`);
    await writeFile(machine.path("file"), bytes);
    expect(await machine.json(["hex", machine.path("file")])).toEqual({ hex: hex(bytes) });
  });

  it("rand writes as many bytes as asked for, never the same", async () => {
    const machine = await Machine.start();
    const [first, second] = [await machine.run(["rand"]), await machine.run(["rand"])];
    expect(first.stdout).toHaveLength(20);
    expect(first.stdout).not.toEqual(second.stdout);
    expect((await machine.run(["rand", "-n", "32", "-x"])).text).toMatch(/^[0-9a-f]{64}\n$/);
    await machine.run(["rand", "-n", "48", "-o", machine.path("random")]);
    expect(await modeOf(machine.path("random"))).toBe(0o600);
    expect(await readFile(machine.path("random"))).toHaveLength(48);
  });

  it.each(["-1", "1e3", "", "2000000", "x"])("rand refuses %j bytes", async (count) => {
    const { code, stderr } = await (await Machine.start()).run(["rand", `--bytes=${count}`]);
    expect(code).toBe(1);
    expect(stderr).toContain("--bytes must be a number");
  });
});

describe("tdxctl gen-ca-cert, gen-ra-cert and gen-app-keys", () => {
  async function withCa(): Promise<Machine> {
    const machine = await Machine.start();
    const { code, stderr } = await machine.run([
      "gen-ca-cert",
      "--cert",
      machine.path("ca"),
      "--key",
      machine.path("ca.key"),
    ]);
    expect([code, stderr]).toEqual([0, ""]);
    return machine;
  }
  const certificate = async (path: string): Promise<X509Certificate> =>
    new X509Certificate(await readFile(path));

  it("gen-ca-cert makes a CA with a private key", async () => {
    const machine = await withCa();
    const ca = await certificate(machine.path("ca"));
    expect(ca.ca).toBe(true);
    expect(ca.checkPrivateKey(createPrivateKey(await readFile(machine.path("ca.key"))))).toBe(true);
    expect(await modeOf(machine.path("ca.key"))).toBe(0o600);
  });

  it("K4: overwrites no key and no certificate", async () => {
    const machine = await withCa();
    const before = [await readFile(machine.path("ca")), await readFile(machine.path("ca.key"))];
    for (const [cert, key] of [
      ["ca", "new.key"],
      ["new", "ca.key"],
    ] as const) {
      const args = ["gen-ca-cert", "--cert", machine.path(cert), "--key", machine.path(key)];
      const { code, stderr } = await machine.run(args);
      expect(code).toBe(1);
      expect(stderr).toContain("exists: it is not overwritten");
    }
    expect([await readFile(machine.path("ca")), await readFile(machine.path("ca.key"))]).toEqual(before);
    await expect(stat(machine.path("new"))).rejects.toThrow();
    await expect(stat(machine.path("new.key"))).rejects.toThrow();
  });

  it("E4: gen-ra-cert makes a certificate with a quote over its own key", async () => {
    const machine = await withCa();
    await machine.run(["extend", "-e", "first"]);
    const files = ["-c", machine.path("ra"), "-k", machine.path("ra.key")];
    const ca = ["--ca-cert", machine.path("ca"), "--ca-key", machine.path("ca.key")];
    expect(await machine.json(["gen-ra-cert", ...files, ...ca])).toMatchObject({ platform: "simulated" });
    const made = await certificate(machine.path("ra"));
    expect(made.verify((await certificate(machine.path("ca"))).publicKey)).toBe(true);
    expect(made.checkPrivateKey(createPrivateKey(await readFile(machine.path("ra.key"))))).toBe(true);
    const evidence = readEvidence(pemToDer(made.toString()));
    const body = parseQuote(evidence?.quote ?? new Uint8Array()).body;
    const spki = made.publicKey.export({ type: "spki", format: "der" });
    expect(body.reportData).toEqual(raTlsReportData(new Uint8Array(spki)));
    expect(replayEventLog(parseEventLog(evidence?.eventLog ?? ""))).toEqual(body.rtmr);
  });

  it("gen-ra-cert signs itself without a CA, and wants both halves of one", async () => {
    const machine = await withCa();
    const files = ["-c", machine.path("ra"), "-k", machine.path("ra.key")];
    const half = await machine.run(["gen-ra-cert", ...files, "--ca-cert", machine.path("ca")]);
    expect([half.code, half.stderr]).toEqual([1, "tdxctl: --ca-cert and --ca-key belong together\n"]);
    expect((await machine.run(["gen-ra-cert", ...files])).code).toBe(0);
    const made = await certificate(machine.path("ra"));
    expect(made.verify(made.publicKey)).toBe(true);
  });

  it("G4: gen-app-keys writes private keys that belong together and prints none", async () => {
    const machine = await Machine.start();
    const path = machine.path("keys.json");
    const appId = "ab".repeat(20);
    const outcome = await machine.run(["gen-app-keys", "-o", path, "--app-id", appId]);
    expect(outcome.text).toContain(appId);
    expect(await modeOf(path)).toBe(0o600);
    const keys = JSON.parse(await readFile(path, "utf8")) as Record<string, string> & {
      certificate_chain: string[];
    };
    expect(outcome.text).not.toContain(String(keys["disk_crypt_key"]));
    const [app, root] = keys.certificate_chain.map((text) => new X509Certificate(text));
    expect(app?.checkPrivateKey(createPrivateKey(String(keys["app_key"])))).toBe(true);
    expect(app?.ca).toBe(true);
    expect(root !== undefined && app?.verify(root.publicKey)).toBe(true);
    expect((await machine.run(["gen-app-keys", "-o", path])).stderr).toContain("not overwritten");
  });

  it.each(["8", "-1", "x"])("refuse the CA level %s", async (level) => {
    const machine = await Machine.start();
    const outcome = await machine.run(["gen-app-keys", "-o", machine.path("keys"), `--ca-level=${level}`]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain("--ca-level");
  });
});

describe("tdxctl", () => {
  it.each(
    "report quote extend show eventlog replay hex rand gen-ra-cert gen-ca-cert gen-app-keys".split(" "),
  )("explains %s, with the options that all commands take", async (command) => {
    const { code, text } = await (await Machine.start()).run([command, "--help"]);
    expect(code).toBe(0);
    for (const part of [`tdxctl ${command}`, "--json", "--simulator-socket"]) expect(text).toContain(part);
  });

  it.each([[["nonsense"]], [["show", "--nonsense"]], [["gen-ca-cert"]]])(
    "ends with 2 for %j",
    async (args) => {
      const { code, stderr } = await (await Machine.start()).run(args);
      expect(code).toBe(2);
      expect(stderr).toContain("error:");
    },
  );
});
