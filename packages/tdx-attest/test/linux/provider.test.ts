import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseQuote, replayEventLog } from "@dstack/attestation";
import { concatBytes, sha384 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  type DeviceErrorCode,
  type QuoteProvider,
  SimulatedPlatform,
  createSimulatedProvider,
  openQuoteProvider,
} from "../../src/index.js";
import type { NativeAddon } from "../../src/linux/native-addon.js";
import { type DeviceLimits, openLinuxProvider } from "../../src/linux/provider.js";
import { decodeGetQuoteResponse } from "../../src/linux/qgs-message.js";
import type { ErrorName } from "../fixtures/fuse.js";
import type { Faults, Step } from "../fixtures/tdx-tree.js";
import { quoteProviderContract } from "../quote-provider-contract.js";
import { tempDir } from "../temp-dir.js";
import { canMount, tdxTree } from "./tdx-tree.js";
import { ccelOf, systemError } from "./fakes.js";

const reportData = new Uint8Array(64).fill(0x5a);
const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(6));
const response = (quote: Uint8Array, edit?: (view: DataView) => void): Uint8Array => {
  const head = new DataView(new ArrayBuffer(24));
  head.setUint16(0, 1, true);
  head.setUint32(4, 1, true);
  head.setUint32(8, 24 + quote.length, true);
  head.setUint32(20, quote.length, true);
  edit?.(head);
  return concatBytes(new Uint8Array(head.buffer), quote);
};

/** The addon over a simulated TD: reports and extends as the driver, quotes as the host's service. */
function fakeAddon(changes: Partial<NativeAddon> = {}): NativeAddon {
  const td = createSimulatedProvider({ platform });
  return {
    getReport: (_path, data) => td.getReport(data),
    extendRtmr: (_path, _index, digest) => td.extendRtmr(3, digest),
    qgsRequest: async (_cid, _port, message) => response(platform.quoteReport(message.slice(24))),
    ...changes,
  };
}

async function paths(): Promise<{ device: string; configfs: string; sysfs: string; ccel: string }> {
  const dir = await tempDir();
  const ccel = join(dir, "CCEL");
  await writeFile(ccel, ccelOf(await createSimulatedProvider({ platform }).bootEvents()));
  return { device: join(dir, "tdx_guest"), configfs: join(dir, "none"), sysfs: join(dir, "none"), ccel };
}

async function viaQgs(changes: Partial<NativeAddon> = {}): ReturnType<typeof openLinuxProvider> {
  return openLinuxProvider({ ...(await paths()), qgsPort: 4050, addon: fakeAddon(changes) });
}

describe("LinuxProvider over vsock and ioctl", () => {
  quoteProviderContract(() => viaQgs());

  it("asks CID 2 on the configured port with a framed TDREPORT", async () => {
    const calls: [number, number, number][] = [];
    const provider = await viaQgs({
      qgsRequest: async (cid, port, message) => {
        calls.push([cid, port, message.length]);
        return response(platform.quoteReport(message.slice(24)));
      },
    });
    await provider.getQuote(reportData);
    expect(calls).toEqual([[2, 4050, 1048]]);
  });

  it("refuses a TDREPORT over other report data", async () => {
    const td = createSimulatedProvider({ platform });
    const provider = await viaQgs({ getReport: () => td.getReport(new Uint8Array(64)) });
    await expect(provider.getQuote(reportData)).rejects.toMatchObject({ code: "device_failure" });
  });

  it("E4: refuses a quote over other report data", async () => {
    const td = createSimulatedProvider({ platform });
    const provider = await viaQgs({
      qgsRequest: async () => response(await td.getQuote(new Uint8Array(64))),
    });
    await expect(provider.getQuote(reportData)).rejects.toMatchObject({
      code: "quote_failed",
      message: expect.stringContaining("other report data") as string,
    });
  });

  it("tries a busy service again, but not for ever", async () => {
    let busy = 2;
    const provider = await viaQgs({
      qgsRequest: async (_cid, _port, message) => {
        if (busy-- > 0) throw systemError("EBUSY");
        return response(platform.quoteReport(message.slice(24)));
      },
    });
    expect(parseQuote(await provider.getQuote(reportData)).body.reportData).toEqual(reportData);
    busy = 100;
    await expect(provider.getQuote(reportData)).rejects.toMatchObject({ code: "retryable" });
    expect(busy).toBe(97);
  });

  it("uses the device one call at a time", async () => {
    let running = 0;
    let most = 0;
    const td = createSimulatedProvider({ platform });
    const provider = await viaQgs({
      getReport: async (_path, data) => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
        return td.getReport(data);
      },
    });
    await Promise.all([provider.getQuote(reportData), provider.getReport(reportData), provider.readRtmr(3)]);
    expect(most).toBe(1);
  });

  it.each([
    ["EINVAL", "bad_argument"],
    ["EACCES", "permission"],
    ["ENOENT", "no_device"],
    ["ENOTTY", "unsupported"],
    ["EIO", "device_failure"],
  ])("makes %s of an extend an error", async (errno, code) => {
    const provider = await viaQgs({ extendRtmr: () => Promise.reject(systemError(errno)) });
    await expect(provider.extendRtmr(3, sha384("x"))).rejects.toMatchObject({ code });
  });

  it.each([
    ["ECONNRESET", "quote_failed"],
    ["ECONNREFUSED", "quote_failed"],
    ["EHOSTUNREACH", "quote_failed"],
    ["EMSGSIZE", "quote_failed"],
    ["EPIPE", "quote_failed"],
    ["ENODEV", "no_device"],
    ["EAFNOSUPPORT", "no_device"],
    ["EACCES", "permission"],
    ["ETIMEDOUT", "retryable"],
    ["ENOMEM", "device_failure"],
  ])("makes %s of the quote service an error that says where to look", async (errno, code) => {
    const provider = await viaQgs({ qgsRequest: () => Promise.reject(systemError(errno)) });
    await expect(provider.getQuote(reportData)).rejects.toMatchObject({
      name: "DeviceError",
      code,
      message: expect.stringContaining("listen on vsock port 4050") as string,
    });
  });

  it("says that the firmware left no event log", async () => {
    const provider = await openLinuxProvider({
      ...(await paths()),
      ccel: "/nonexistent/CCEL",
      qgsPort: 1,
      addon: fakeAddon(),
    });
    await expect(provider.bootEvents()).rejects.toMatchObject({ code: "unsupported" });
  });

  it("opens nothing where there is no way to quotes", async () => {
    const dir = await tempDir();
    const opening = openLinuxProvider({ configfs: join(dir, "none"), addon: fakeAddon() });
    await expect(opening).rejects.toMatchObject({ code: "no_device" });
  });
});

describe("decodeGetQuoteResponse", () => {
  const quote = new Uint8Array(1020).fill(1);

  it("takes the quote, with or without an id before it", () => {
    expect(decodeGetQuoteResponse(response(quote))).toEqual(quote);
    const withId = concatBytes(response(quote).slice(0, 24), new Uint8Array(4), quote);
    new DataView(withId.buffer).setUint32(16, 4, true);
    new DataView(withId.buffer).setUint32(8, withId.length, true);
    expect(decodeGetQuoteResponse(withId)).toEqual(quote);
  });

  it.each([
    ["an error", response(quote, (v) => v.setUint32(12, 0x12001, true)), "error 0x12001"],
    ["a request", response(quote, (v) => v.setUint32(4, 0, true)), "type 0"],
    ["another version", response(quote, (v) => v.setUint16(0, 2, true)), "version 2"],
    ["a wrong size", response(quote, (v) => v.setUint32(8, 7, true)), "it says 7 bytes"],
    ["parts that wrap around", response(quote, (v) => v.setUint32(16, 0xffffffff, true)), "do not add up"],
    ["a short quote", response(new Uint8Array(1019)), "only 1019 bytes"],
    ["half a header", new Uint8Array(23), "only 23 bytes"],
    ["trailing bytes", concatBytes(response(quote), Uint8Array.of(0)), "it says"],
  ])("E11: refuses %s", (_what, message, reason) => {
    expect(() => decodeGetQuoteResponse(message)).toThrow(reason);
  });
});

describe.skipIf(!canMount)("LinuxProvider over configfs and sysfs", () => {
  async function viaTree(
    faults: Faults = {},
    changes: Partial<NativeAddon> = {},
    limits: Partial<DeviceLimits> = {},
  ): Promise<{
    provider: Awaited<ReturnType<typeof openLinuxProvider>>;
    tree: Awaited<ReturnType<typeof tdxTree>>;
  }> {
    const tree = await tdxTree(faults);
    const ccel = join(await tempDir(), "CCEL");
    await writeFile(ccel, ccelOf(await tree.td.bootEvents()));
    const addon = fakeAddon({ getReport: (_path, data) => tree.td.getReport(data), ...changes });
    const { device, configfs, sysfs } = tree;
    return { provider: await openLinuxProvider({ device, configfs, sysfs, ccel, addon, limits }), tree };
  }

  quoteProviderContract(async () => (await viaTree()).provider);

  it("leaves no entry behind, whether it worked or not", async () => {
    const { provider, tree } = await viaTree({ outblob: ["EIO"] });
    await expect(provider.getQuote(reportData)).rejects.toMatchObject({ code: "device_failure" });
    await provider.getQuote(reportData);
    expect(await tree.entries()).toBe(0);
  });

  it("tries again when the device is busy or slow", async () => {
    const { provider } = await viaTree({ outblob: ["EBUSY", "ETIMEDOUT"] });
    expect(parseQuote(await provider.getQuote(reportData)).body.reportData).toEqual(reportData);
  });

  it.each([
    ["an empty answer, as when the host refuses", { outblob: ["empty"] }, "quote_failed", "gave 0 bytes"],
    ["an answer too short for a quote", { outblob: ["short"] }, "quote_failed", "gave 1019 bytes"],
    ["somebody else's quote", { outblob: ["other-report-data"] }, "quote_failed", "other report data"],
    ["a generation that did not move", { generationStep: 0 }, "retryable", "from 0 to 0"],
    ["a generation that moved twice", { generationStep: 2 }, "retryable", "from 0 to 2"],
  ] satisfies [string, Faults, string, string][])("refuses %s", async (_what, faults, code, reason) => {
    const { provider } = await viaTree(faults);
    await expect(provider.getQuote(reportData)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(reason) as string,
    });
  });

  it("does not take the reports of another technology", async () => {
    await expect(viaTree({ provider: "sev_guest" })).rejects.toMatchObject({ code: "unsupported" });
  });

  it("does without configfs where no driver stands behind it", async () => {
    const tree = await tdxTree({ fail: { mkdir: "ENXIO" } });
    const { device, configfs, sysfs } = tree;
    await expect(openLinuxProvider({ device, configfs, sysfs })).rejects.toMatchObject({ code: "no_device" });
    const provider = await openLinuxProvider({ device, configfs, sysfs, qgsPort: 1, addon: fakeAddon() });
    expect(parseQuote(await provider.getQuote(reportData)).body.reportData).toEqual(reportData);
  });

  it("stays with configfs when it fails later, though a port is known", async () => {
    const tree = await tdxTree({ outblob: ["EIO"] });
    const { device, configfs, sysfs } = tree;
    const addon = fakeAddon({ qgsRequest: () => Promise.reject(new Error("the vsock was used")) });
    const provider = await openLinuxProvider({ device, configfs, sysfs, qgsPort: 1, addon });
    await expect(provider.getQuote(reportData)).rejects.toMatchObject({ code: "device_failure" });
  });

  // EINTR only of reads: libuv itself repeats every other call that a signal interrupted.
  const registerErrors = {
    EACCES: "permission",
    EBUSY: "retryable",
    EINVAL: "bad_argument",
    EIO: "device_failure",
    ENODEV: "no_device",
    ENOENT: "no_device",
    ENOMEM: "device_failure",
    EPERM: "permission",
  } as const;
  type Meanings = Partial<Record<ErrorName, DeviceErrorCode>>;
  const cases: [Step, Meanings][] = [
    [
      "mkdir",
      {
        ...{ EACCES: "permission", EBUSY: "retryable", EEXIST: "device_failure", ENOENT: "no_device" },
        ...{ ENOMEM: "device_failure", ENOSPC: "device_failure", ENXIO: "no_device", EPERM: "permission" },
        ...{ EROFS: "permission", ENODEV: "no_device", ENOTDIR: "no_device" },
      },
    ],
    ["provider read", { EACCES: "permission", EIO: "device_failure", ENODEV: "no_device" }],
    ["generation read", { EACCES: "permission", EIO: "device_failure", ENODEV: "no_device" }],
    ["inblob open", { EACCES: "permission", ETXTBSY: "device_failure", ENOMEM: "device_failure" }],
    [
      "inblob write",
      {
        EBUSY: "retryable",
        EFBIG: "bad_argument",
        EINVAL: "bad_argument",
        EIO: "device_failure",
      },
    ],
    ["outblob open", { EACCES: "permission", ENODEV: "no_device" }],
    [
      "outblob read",
      {
        ...{ EBUSY: "retryable", EFBIG: "bad_argument", EINTR: "retryable", EINVAL: "bad_argument" },
        ...{ EIO: "device_failure", ENODEV: "no_device", ENOMEM: "device_failure", ENXIO: "no_device" },
        ...{ EPERM: "permission", ETIMEDOUT: "retryable" },
      },
    ],
    ["register open", registerErrors],
    ["register read", { ...registerErrors, EINTR: "retryable", ENXIO: "no_device" }],
    ["register write", { ...registerErrors, ENXIO: "bad_argument" }],
  ];
  const use = (provider: QuoteProvider, step: Step): Promise<unknown> => {
    if (!step.startsWith("register")) return provider.getQuote(reportData);
    return step === "register read" ? provider.readRtmr(3) : provider.extendRtmr(3, sha384("x"));
  };

  describe.each(cases)("%s", (step, meanings) => {
    it.each(Object.entries(meanings))("makes %s %s, and turns to no other interface", async (errno, code) => {
      const addon = { extendRtmr: () => Promise.reject(new Error("the ioctl was used")) };
      const { provider, tree } = await viaTree({}, addon);
      await tree.become({ fail: { [step]: errno } });
      await expect(use(provider, step)).rejects.toMatchObject({
        name: "DeviceError",
        code,
        message: expect.stringContaining(errno) as string,
      });
      expect(await tree.td.readRtmr(3)).toEqual(new Uint8Array(48));
    });

    it("ends at its limit when it hangs", async () => {
      const { provider, tree } = await viaTree({}, {}, { callMs: 100, quoteMs: 800 });
      await tree.become({ hang: step });
      await expect(use(provider, step)).rejects.toMatchObject({
        name: "DeviceError",
        code: "device_failure",
        message: expect.stringMatching(/took longer than .* does not answer/) as string,
      });
      await tree.become({});
      // On a slow machine, such short limits end a good call now and then.
      const quoted = () => provider.getQuote(reportData).then((quote) => parseQuote(quote).body.reportData);
      await expect.poll(quoted).toEqual(reportData);
    });
  });

  it("lets a call that hangs hold one thread, and the others wait for their turn in vain", async () => {
    const { provider, tree } = await viaTree({}, {}, { quoteMs: 800, totalMs: 1000 });
    await tree.become({ hang: "outblob read" });
    await expect(provider.getQuote(reportData)).rejects.toMatchObject({ code: "device_failure" });
    const others = [provider.readRtmr(3), ...Array.from({ length: 6 }, () => provider.getQuote(reportData))];
    for (const other of await Promise.allSettled(others)) {
      expect(other).toMatchObject({ reason: { name: "DeviceError", code: "retryable" } });
    }
    await tree.become({});
    expect(await provider.readRtmr(3)).toEqual(new Uint8Array(48));
  });

  it("gives up waiting with its caller, and starts nothing for it", async () => {
    const { provider, tree } = await viaTree();
    await tree.become({ hang: "outblob read" });
    const callers = [new AbortController(), new AbortController()] as const;
    const [first, second] = callers.map((caller) => provider.getQuote(reportData, caller.signal));
    for (const quote of [first, second]) quote?.catch(() => {});
    callers[1].abort(new Error("the second gave up"));
    await expect(second).rejects.toThrow("the second gave up");
    callers[0].abort(new Error("the first gave up"));
    await expect(first).rejects.toThrow("the first gave up");
    await tree.become({});
    await provider.getQuote(reportData);
    expect(await tree.entries()).toBe(0);
  });

  it("refuses a register of the wrong length", async () => {
    const { provider } = await viaTree({ registerBytes: 47 });
    await expect(provider.readRtmr(3)).rejects.toThrow("47 bytes, not 48");
  });

  it("uses the ioctl where sysfs has no registers", async () => {
    const tree = await tdxTree({ noSysfs: true });
    const { device, configfs, sysfs } = tree;
    const extended: Uint8Array[] = [];
    const addon = fakeAddon({ extendRtmr: async (_path, _index, digest) => void extended.push(digest) });
    const provider = await openLinuxProvider({ device, configfs, sysfs, addon });
    await provider.extendRtmr(3, sha384("x"));
    expect(extended).toEqual([sha384("x")]);
  });

  it("is what openQuoteProvider opens where the device exists", async () => {
    const tree = await tdxTree();
    await mkdir(tree.device);
    const provider = await openQuoteProvider({ ...tree, simulatorSocket: "/nonexistent" });
    expect(provider.kind).toBe("tdx");
    await provider.extendRtmr(3, sha384("x"));
    expect(await provider.readRtmr(3)).toEqual(
      new Uint8Array(createHash("sha384").update(new Uint8Array(48)).update(sha384("x")).digest()),
    );
  });
});

describe("ccelOf, the test's own writer", () => {
  it("writes what the firmware would", async () => {
    const provider = await viaQgs();
    expect(replayEventLog(await provider.bootEvents())[1]).toEqual(await provider.readRtmr(1));
  });
});
