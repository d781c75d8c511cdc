import assert from "node:assert/strict";
import { sha384 } from "@dstack/core";
import { InputError } from "@dstack/core";
import type { DeviceErrorCode, QuoteProvider } from "../../../src/index.js";
import { nativeAddon } from "../../../src/linux/native-addon.js";
import { openLinuxProvider } from "../../../src/linux/provider.js";
import { type Chapter, report } from "./chapter.js";
import { serveCuse } from "./cuse.js";
import {
  IMPATIENT,
  LIMIT_MS,
  extendsLikeHardware,
  fails,
  insmod,
  refused,
  reportDataOf,
  someData,
  within,
} from "./helpers.js";
import { QGS_PORT, type QgsMood, TestQgs } from "./qgs.js";
import { TestTd } from "./test-td.js";

const td = new TestTd();
const qgs = new TestQgs();
const DEVICE = "/dev/tdx_cuse";
const RESTRICTED = "/dev/tdx_restricted";
const READ_ONLY_FLAVOUR = "/dev/tdx_read_flavour";

function open(device: string, limits = {}): Promise<QuoteProvider> {
  return openLinuxProvider({ device, qgsPort: QGS_PORT, limits });
}

function deviceErrors(operation: "report" | "extend"): () => Promise<void> {
  const meanings = {
    EBUSY: "retryable",
    EFAULT: "device_failure",
    EINVAL: "bad_argument",
    EIO: "device_failure",
    ENODEV: "no_device",
    ENOMEM: "device_failure",
    ENXIO: "no_device",
    EPERM: "permission",
    ETIMEDOUT: "retryable",
  } as const satisfies Partial<Record<string, DeviceErrorCode>>;
  return async () => {
    const provider = await open(DEVICE);
    for (const [error, code] of Object.entries(meanings)) {
      td.restart();
      td.break(operation, { error: error as keyof typeof meanings });
      const call =
        operation === "report" ? provider.getReport(someData()) : provider.extendRtmr(3, new Uint8Array(48));
      await refused(call, code, new RegExp(error));
    }
    td.heal();
    assert.deepEqual(await td.readRtmr(3), new Uint8Array(48));
  };
}

async function echoesReportData(device: string): Promise<void> {
  const provider = await open(device);
  const data = someData();
  const tdReport = await provider.getReport(data);
  assert.equal(tdReport.length, 1024);
  assert.deepEqual(Uint8Array.from(tdReport.subarray(128, 192)), data);
}

export const cuseDevice: Chapter = {
  title: "a CUSE device and the host's quote service over vsock",
  start: async () => {
    await insmod("vsock");
    await insmod("vmw_vsock_virtio_transport_common");
    await insmod("vsock_loopback");
    await insmod("cuse");
    const both = ["write", "read"] as const;
    await serveCuse(td, { name: "tdx_cuse", unrestricted: true, extendFlavours: both });
    await serveCuse(td, { name: "tdx_restricted", unrestricted: false, extendFlavours: both });
    await serveCuse(td, { name: "tdx_read_flavour", unrestricted: true, extendFlavours: ["read"] });
    await serveCuse(td, { name: "tdx_read_restricted", unrestricted: false, extendFlavours: ["read"] });
  },
  heal: () => {
    td.heal();
    qgs.mood = "quotes";
  },
  assertions: {
    "vsock: nobody listening is told at once, and where to look": async () => {
      const provider = await open(DEVICE);
      await within(
        4 * LIMIT_MS,
        refused(provider.getQuote(someData()), "quote_failed", /listen on vsock port 4050/),
      );
      await qgs.start(); // for the assertions below
    },

    "GET_REPORT0 echoes the report data": () => echoesReportData(DEVICE),
    "GET_REPORT0 echoes the report data of a restricted ioctl": () => echoesReportData(RESTRICTED),

    "EXTEND_RTMR extends RTMR3 by SHA-384(old ‖ digest), read back by TDREPORT": async () =>
      extendsLikeHardware(await open(DEVICE), td),
    "EXTEND_RTMR extends RTMR3 where the kernel copies what the ioctl's number says": async () =>
      extendsLikeHardware(await open(RESTRICTED), td),
    "EXTEND_RTMR extends RTMR3 of a driver that knows only the encoding of older drivers": async () =>
      extendsLikeHardware(await open(READ_ONLY_FLAVOUR), td),

    "EXTEND_RTMR that brings no digest to the driver fails and extends nothing": async () => {
      const before = await td.readRtmr(3);
      const provider = await open("/dev/tdx_read_restricted");
      await refused(provider.extendRtmr(3, sha384("x")), "bad_argument", /EINVAL/);
      assert.deepEqual(await td.readRtmr(3), before);
    },

    "RTMR0 to RTMR2 are refused before the device is asked": async () => {
      const provider = await open(DEVICE);
      td.break("extend", { error: "EIO" });
      for (const index of [0, 1, 2] as unknown as 3[]) {
        await assert.rejects(provider.extendRtmr(index, sha384("x")), InputError);
      }
    },

    "RTMR0 to RTMR2 are refused by the driver too, and keep their values": async () => {
      const before = await Promise.all(([0, 1, 2] as const).map((index) => td.readRtmr(index)));
      for (const index of [0, 1, 2])
        await fails(nativeAddon().extendRtmr(DEVICE, index, sha384("x"), LIMIT_MS), "EINVAL");
      const after = await Promise.all(([0, 1, 2] as const).map((index) => td.readRtmr(index)));
      assert.deepEqual(after, before);
    },

    "50 reports at once carry their own report data": async () => {
      const provider = await open(DEVICE);
      const asked = Array.from({ length: 50 }, someData);
      const reports = await Promise.all(asked.map((data) => provider.getReport(data)));
      assert.deepEqual(
        reports.map((one) => Uint8Array.from(one.subarray(128, 192))),
        asked,
      );
    },

    "every error of GET_REPORT0 has its meaning": deviceErrors("report"),
    "every error of EXTEND_RTMR has its meaning, and extends nothing": deviceErrors("extend"),

    "a device that hangs in GET_REPORT0 is told at the limit, and then as busy, until it comes back":
      async () => {
        const provider = await open(DEVICE, IMPATIENT);
        td.break("report", "hang");
        await within(3 * LIMIT_MS, refused(provider.getReport(someData()), "retryable", /ETIMEDOUT/));
        await within(LIMIT_MS, refused(provider.getReport(someData()), "retryable", /EBUSY/));
        await within(LIMIT_MS, refused(provider.extendRtmr(3, sha384("x")), "retryable", /EBUSY/));
        td.heal();
        await comesBack(provider);
      },

    "a device that hangs in EXTEND_RTMR is told at the limit": async () => {
      const provider = await open(DEVICE, IMPATIENT);
      td.break("extend", "hang");
      await within(3 * LIMIT_MS, refused(provider.extendRtmr(3, sha384("x")), "retryable", /ETIMEDOUT/));
      td.heal();
      await comesBack(provider);
    },

    "vsock: a quote comes from CID 2, port 4050, over the report data and the registers": async () => {
      td.restart();
      const provider = await open(DEVICE);
      await provider.extendRtmr(3, sha384("over vsock"));
      const data = someData();
      const quote = await provider.getQuote(data);
      assert.deepEqual(reportDataOf(quote), data);
      report({ evidence: "vsock", quote: Buffer.from(quote).toString("base64") });
    },

    "vsock: many quotes at once carry their own report data": async () => {
      const provider = await open(DEVICE);
      const asked = Array.from({ length: 12 }, someData);
      const quotes = await Promise.all(asked.map((data) => provider.getQuote(data)));
      assert.deepEqual(quotes.map(reportDataOf), asked);
    },

    "vsock: a service that is silent is told within the limit": async () => {
      qgs.mood = "is silent";
      const provider = await open(DEVICE, IMPATIENT);
      await within(8 * LIMIT_MS, refused(provider.getQuote(someData()), "retryable", /ETIMEDOUT/));
    },
    "vsock: a caller that gives up on a silent service is free at once": async () => {
      qgs.mood = "is silent";
      const provider = await open(DEVICE, IMPATIENT);
      const caller = AbortSignal.timeout(100);
      await within(LIMIT_MS, assert.rejects(provider.getQuote(someData(), caller), { name: "TimeoutError" }));
    },
    "vsock: a service that hangs up": () => badService("hangs up", /ECONNRESET/),
    "vsock: a service that hangs up in the middle of a quote": () =>
      badService("hangs up in the middle", /ECONNRESET/),
    "vsock: a service that refuses": () => badService("refuses", /error 0x12001/),
    "vsock: a service that answers something else": () => badService("babbles", /type 77/),
  },
};

async function badService(is: QgsMood, reason: RegExp): Promise<void> {
  qgs.mood = is;
  const provider = await open(DEVICE);
  await refused(provider.getQuote(someData()), "quote_failed", reason);
}

async function comesBack(provider: QuoteProvider): Promise<void> {
  for (const until = Date.now() + 120_000; ;) {
    const data = someData();
    const answer = await provider.getReport(data).catch((err: unknown) => err);
    if (answer instanceof Uint8Array) return;
    assert.ok(Date.now() < until, String(answer));
  }
}
