import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { deviceError } from "../../src/linux/device-error.js";
import { type NativeAddon, nativeAddon } from "../../src/linux/native-addon.js";
import { tempDir } from "../temp-dir.js";

const run = promisify(execFile);
const packageDir = fileURLToPath(new URL("../..", import.meta.url));
const addonPath = join(packageDir, "build/tdx_attest.node");
const DEVICE = "/dev/tdx_guest_of_the_shim";
/** Loopback inside a VM. Nothing may ever go to CID 2 from a test: that is this machine's own host. */
const CID = 1;

let work = "";
let shim = "";
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "dstack-tdx-shim-"));
  shim = join(work, "shim.so");
  const source = fileURLToPath(new URL("shim.c", import.meta.url));
  await Promise.all([
    run(join(packageDir, "build-addon.sh")),
    run("cc", ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", shim, source, "-ldl"]),
  ]);
});
afterAll(() => rm(work, { recursive: true, force: true }));

interface Outcome {
  value?: string;
  error?: { name: string; code?: string; errno?: number; syscall?: string; path?: string; message: string };
}

/** Calls the addon in a process of its own under the shim, and gives what came of it. */
async function call(
  expression: string,
  env: NodeJS.ProcessEnv = {},
  parse: (text: string) => Outcome = (text) => JSON.parse(text) as Outcome,
): Promise<{ outcome: Outcome; log: string[] }> {
  const log = join(await tempDir(), "log");
  const script = `
    const addon = require(${JSON.stringify(addonPath)});
    const told = (value) => process.stdout.write(JSON.stringify(value));
    const failed = (e) => told({ error: { ...e, name: e.name, message: e.message } });
    try { (${expression}).then((v) => told({ value: v && v.toString("hex") }), failed); } catch (e) { failed(e); }`;
  const { stdout } = await run(process.execPath, ["-e", script], {
    env: { ...process.env, LD_PRELOAD: shim, SHIM_DEVICE: DEVICE, SHIM_LOG: log, ...env },
    timeout: 240_000,
  });
  const lines = existsSync(log) ? (await readFile(log, "utf8")).trim().split("\n") : [];
  return { outcome: parse(stdout), log: lines };
}

const REPORT = `addon.getReport("${DEVICE}", new Uint8Array(64).fill(7), 120_000)`;
const EXTEND = `addon.extendRtmr("${DEVICE}", 3, new Uint8Array(48).fill(0xcd), 120_000)`;
const QGS_CALL = `addon.qgsRequest(${CID}, 4050, new Uint8Array([1, 2, 3]), 120_000, 1000)`;
const { EBUSY, EINTR, EINVAL, ENOTTY } = constants.errno;

/** A peer that answers what it was asked with the chunks given, and then hangs up, or not. */
async function peer(
  chunks: readonly Uint8Array[],
  hangUp: boolean,
): Promise<{ path: string; asked: () => Buffer }> {
  const path = join(await tempDir(), "qgs.sock");
  const asked: Buffer[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => asked.push(data));
    socket.once("data", () => {
      for (const chunk of chunks) socket.write(chunk);
      if (hangUp) socket.end();
    });
    onTestFinished(() => void socket.destroy());
  }).listen(path);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { path, asked: () => Buffer.concat(asked) };
}

/** What each system call may answer with, as far as Linux or the drivers document it; EINTR has tests of its own. */
const DOCUMENTED = {
  open: "EACCES EBUSY EFAULT EINVAL EIO EISDIR ELOOP EMFILE ENAMETOOLONG ENFILE ENODEV ENOENT ENOMEM ENOTDIR ENXIO EPERM EROFS ETXTBSY",
  ioctl: "EBADF EBUSY EFAULT EINVAL EIO ENODEV ENOMEM ENOTTY ENXIO EPERM ETIMEDOUT",
  socket: "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENODEV ENOMEM EPERM",
  setsockopt: "EINVAL ENODEV ENOMEM ENOPROTOOPT",
  connect:
    "EACCES EADDRNOTAVAIL EAGAIN EALREADY ECONNREFUSED ECONNRESET EHOSTUNREACH EINTR EINVAL EIO ENETUNREACH ENODEV ENOMEM EPERM ETIMEDOUT",
  send: "ECONNRESET EINVAL EIO ENOMEM ENOTCONN EPIPE ETIMEDOUT",
  recv: "ECONNRESET EINVAL EIO ENOMEM ENOTCONN ETIMEDOUT",
} as const;

describe("every documented error of every system call", () => {
  const cases = [
    ["open", REPORT, "open"],
    ["open", EXTEND, "open"],
    ["ioctl", REPORT, "ioctl GET_REPORT0"],
    ["ioctl", EXTEND, "ioctl EXTEND_RTMR"],
    ...(["socket", "setsockopt", "connect", "send", "recv"] as const).map(
      (name) => [name, QGS_CALL, name === "setsockopt" ? "connect" : name] as const,
    ),
  ] as const;
  it.each(cases)(
    "%s: has its name, number and call in the rejection of %s",
    async (name, expression, syscall) => {
      const { path } = await peer([], false);
      const codes = DOCUMENTED[name].split(" ");
      const numbers = new Map(Object.entries(constants.errno));
      const each = `(async () => {
      const all = {};
      for (const [code, number] of ${JSON.stringify(codes.map((code) => [code, numbers.get(code)]))}) {
        process.env.SHIM_FAIL = "${name}:" + number;
        all[code] = await (${expression}).then(() => "no error", (e) => ({ ...e, start: e.message.split(":")[0] }));
      }
      return Buffer.from(JSON.stringify(all));
    })()`;
      const { outcome } = await call(each, { SHIM_VSOCK: path });
      const found = JSON.parse(Buffer.from(outcome.value ?? "", "hex").toString()) as unknown;
      const at = expression === QGS_CALL ? {} : { path: DEVICE };
      const expected = codes.map((code) => [
        code,
        { code, errno: -(numbers.get(code) ?? 0), syscall, start: code, ...at },
      ]);
      expect(found).toEqual(Object.fromEntries(expected));
    },
  );
});

describe("a device that hangs", () => {
  it.each([
    ["open", "getReport", "new Uint8Array(64)", "ioctl GET_REPORT0"],
    ["ioctl", "getReport", "new Uint8Array(64)", "ioctl GET_REPORT0"],
    ["ioctl", "extendRtmr", "3, new Uint8Array(48)", "ioctl EXTEND_RTMR"],
  ])(
    "in %s: %s ends at its limit, and the next call is told at once",
    async (hang, method, args, syscall) => {
      const asked = `addon.${method}("${DEVICE}", ${args}, 1000)`;
      const both = `(async () => {
      const told = [];
      for (let i = 0; i < 2; i++) await ${asked}.catch((e) => told.push({ code: e.code, syscall: e.syscall }));
      return Buffer.from(JSON.stringify(told));
    })()`;
      const { outcome, log } = await call(both, { SHIM_HANG: hang });
      expect(JSON.parse(Buffer.from(outcome.value ?? "", "hex").toString())).toEqual([
        { code: "ETIMEDOUT", syscall },
        { code: "EBUSY", syscall },
      ]);
      expect(log).toEqual([`hang ${hang}`]);
    },
  );

  it("is used again when the call that hung has come back", async () => {
    const again = `(async () => {
      const asked = () => addon.getReport("${DEVICE}", new Uint8Array(64), 100);
      let code = await asked().catch((e) => e.code);
      process.env.SHIM_HANG = "";
      const codes = new Set();
      while (typeof code === "string") {
        codes.add(code);
        await new Promise((resolve) => setTimeout(resolve, 20));
        code = await asked().catch((e) => e.code);
      }
      return Buffer.from([...codes].join());
    })()`;
    const { outcome } = await call(again, { SHIM_HANG: "ioctl", SHIM_HANG_SECONDS: "4" });
    expect(Buffer.from(outcome.value ?? "", "hex").toString()).toBe("ETIMEDOUT,EBUSY");
  });

  it("does not keep the process from ending", async () => {
    const { log } = await call(
      `addon.getReport("${DEVICE}", new Uint8Array(64), 1000).catch(() => process.exit(0))`,
      { SHIM_HANG: "ioctl" },
      () => ({}),
    );
    expect(log).toEqual(["hang ioctl"]);
  });
});

describe("getReport", () => {
  it("gives the TDREPORT over the report data", async () => {
    const { outcome, log } = await call(REPORT);
    expect(outcome.value).toBe("ab".repeat(128) + "07".repeat(64) + "ab".repeat(1024 - 192));
    expect(log).toEqual(["report"]);
  });

  it("reports an errno it has no name for, though close leaves another one", async () => {
    const { outcome } = await call(REPORT, { SHIM_IOCTL: "-1:999" });
    expect(outcome.error).toMatchObject({ code: "EUNKNOWN", errno: -999, syscall: "ioctl GET_REPORT0" });
  });

  it.each([1, 64, -2])("takes the return value %i for a failure", async (rc) => {
    expect((await call(REPORT, { SHIM_IOCTL: `${rc}:0` })).outcome.error?.code).toBe("EIO");
  });

  it("goes on after an interrupted call", async () => {
    const { outcome, log } = await call(REPORT, { SHIM_IOCTL: `-1:${EINTR},-1:${EINTR}` });
    expect(outcome.error).toBeUndefined();
    expect(log).toEqual(["report", "report", "report"]);
  });

  it("reports why the device cannot be opened", async () => {
    const { outcome, log } = await call(REPORT, { SHIM_OPEN: "13" });
    expect(outcome.error).toMatchObject({ code: "EACCES", syscall: "open" });
    expect(log).toEqual([]);
  });

  it("keeps its arguments from later changes", async () => {
    const { outcome } = await call(
      `(() => { const d = new Uint8Array(64).fill(1); const p = addon.getReport("${DEVICE}", d, 120_000); d.fill(2); return p; })()`,
    );
    expect(outcome.value?.slice(256, 258)).toBe("01");
  });
});

describe("extendRtmr", () => {
  it("hands over digest and index, once", async () => {
    const { outcome, log } = await call(EXTEND);
    expect(outcome.error).toBeUndefined();
    expect(log).toEqual(["extend-write 3 cdcd"]);
  });

  it("uses the other encoding where the driver does not know the first", async () => {
    const { outcome, log } = await call(EXTEND, { SHIM_IOCTL: `-1:${ENOTTY}` });
    expect(outcome.error).toBeUndefined();
    expect(log).toEqual(["extend-write 3 cdcd", "extend-read 3 cdcd"]);
  });

  it("fails where the driver knows neither", async () => {
    const { outcome } = await call(EXTEND, { SHIM_IOCTL: `-1:${ENOTTY},-1:${ENOTTY}` });
    expect(outcome.error).toMatchObject({ code: "ENOTTY", syscall: "ioctl EXTEND_RTMR" });
  });

  it.each([
    [`1:0`, "EIO"],
    [`-1:${EINVAL}`, "EINVAL"],
    [`-1:${EBUSY}`, "EBUSY"],
  ])("does not try again after %s, when the register may have been extended", async (answer, code) => {
    const { outcome, log } = await call(EXTEND, { SHIM_IOCTL: answer });
    expect(outcome.error?.code).toBe(code);
    expect(log).toHaveLength(1);
  });
});

describe("arguments", () => {
  const bytes = (length: number): Uint8Array => new Uint8Array(length);
  it.each<[string, (addon: NativeAddon) => Promise<unknown>]>([
    ["63 bytes of report data", (a) => a.getReport("/x", bytes(63), 100)],
    ["65 bytes of report data", (a) => a.getReport("/x", bytes(65), 100)],
    ["text for report data", (a) => a.getReport("/x", "text" as unknown as Uint8Array, 100)],
    [
      "an array of other numbers",
      (a) => a.getReport("/x", new Uint16Array(64) as unknown as Uint8Array, 100),
    ],
    ["no path", (a) => a.getReport("", bytes(64), 100)],
    ["a path with a NUL", (a) => a.getReport("/x\0y", bytes(64), 100)],
    ["a path of 5001 bytes", (a) => a.getReport(`/${"x".repeat(5000)}`, bytes(64), 100)],
    ["register 4", (a) => a.extendRtmr("/x", 4, bytes(48), 100)],
    ["register -1", (a) => a.extendRtmr("/x", -1, bytes(48), 100)],
    ["register 2.5", (a) => a.extendRtmr("/x", 2.5, bytes(48), 100)],
    ["register NaN", (a) => a.extendRtmr("/x", NaN, bytes(48), 100)],
    ["47 bytes of digest", (a) => a.extendRtmr("/x", 3, bytes(47), 100)],
    ["a report without a limit", (a) => a.getReport("/x", bytes(64), undefined as unknown as number)],
    ["an extend without a limit", (a) => a.extendRtmr("/x", 3, bytes(48), 0)],
    ["a limit of an hour", (a) => a.getReport("/x", bytes(64), 3_600_000)],
    ["an empty message", (a) => a.qgsRequest(CID, 1, bytes(0), 100, 100)],
    ["no time", (a) => a.qgsRequest(CID, 1, bytes(1), 0, 100)],
    ["a limit of 1 GiB", (a) => a.qgsRequest(CID, 1, bytes(1), 100, 2 ** 30)],
    ["a CID of 33 bits", (a) => a.qgsRequest(2 ** 32, 1, bytes(1), 100, 100)],
  ])("refuses %s at once", (_what, wrong) => {
    expect(() => wrong(nativeAddon())).toThrow(RangeError);
  });
});

describe("qgsRequest", () => {
  const request = (timeoutMs = 120_000, max = 1000): string =>
    `addon.qgsRequest(${CID}, 4050, new Uint8Array([1, 2, 3]), ${timeoutMs}, ${max})`;

  it("frames the message and reads the framed answer, however it is cut", async () => {
    const { path, asked } = await peer(
      [Buffer.from("0000", "hex"), Buffer.from("000461", "hex"), Buffer.from("bbccdd", "hex")],
      false,
    );
    const { outcome, log } = await call(request(), { SHIM_VSOCK: path });
    expect(outcome.value).toBe("61bbccdd");
    expect(asked().toString("hex")).toBe("00000003010203");
    expect(log).toEqual(["connect-timeout 1", `connect ${CID}:4050`]);
  });

  it.each([
    ["a peer that hangs up in the middle", "0000000461", true, "ECONNRESET"],
    ["a peer that hangs up at once", "", true, "ECONNRESET"],
    ["an answer beyond the limit", "000003e9", false, "EMSGSIZE"],
    ["an empty answer", "00000000", false, "EMSGSIZE"],
    ["a peer that goes silent", "0000000461", false, "ETIMEDOUT"],
  ])("E11: fails at %s", async (_what, answer, hangUp, code) => {
    const { path } = await peer([Buffer.from(answer, "hex")], hangUp);
    const { outcome } = await call(request(code === "ETIMEDOUT" ? 300 : undefined), { SHIM_VSOCK: path });
    expect(outcome.error).toMatchObject({ code, syscall: "recv" });
  });

  it("fails where there is no vsock", async () => {
    expect((await call(request())).outcome.error).toMatchObject({ code: "ENODEV", syscall: "connect" });
  });
});

describe("nativeAddon", () => {
  it("finds what build-addon.sh built", () => {
    expect(Object.keys(nativeAddon()).toSorted()).toEqual(["extendRtmr", "getReport", "qgsRequest"]);
  });

  it.each([
    ["EINTR", "retryable"],
    ["ENXIO", "no_device"],
    ["EPERM", "permission"],
    ["ENOTTY", "unsupported"],
    ["EFAULT", "device_failure"],
  ])("has its %s understood as %s", (code, expected) => {
    expect(deviceError(Object.assign(new Error("x"), { code }), "asking").code).toBe(expected);
  });

  async function inProcess(env: NodeJS.ProcessEnv): Promise<string> {
    const script = `import("${new URL("../../src/linux/native-addon.ts", import.meta.url).href}")
      .then((m) => m.nativeAddon()).then(() => console.log("loaded"), (e) => console.log(e.code, e.message))`;
    const { stdout } = await run(process.execPath, ["--import", "tsx", "-e", script], {
      cwd: packageDir,
      env: { ...process.env, ...env },
    });
    return stdout.trim();
  }

  it("takes the one DSTACK_TDX_ADDON names, and no other", async () => {
    const copy = join(await tempDir(), "other.node");
    await copyFile(addonPath, copy);
    expect(await inProcess({ DSTACK_TDX_ADDON: copy })).toBe("loaded");
    expect(await inProcess({ DSTACK_TDX_ADDON: `${copy}.missing` })).toMatch(
      /^unsupported .*build-addon\.sh/,
    );
    await writeFile(copy, "not an addon");
    expect(await inProcess({ DSTACK_TDX_ADDON: copy })).toMatch(/^unsupported loading /);
  });
});
