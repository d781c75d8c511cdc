import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:fs";
import { access, mkdir, open as openFile, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseEventLog, parseQuote, replayEventLog } from "@dstack/attestation";
import { InputError, sha384 } from "@dstack/core";
import {
  type OpenOptions,
  type QuoteProvider,
  RuntimeEventLog,
  openQuoteProvider,
  startSimulatorService,
} from "../../../src/index.js";
import { nativeAddon } from "../../../src/linux/native-addon.js";
import { ccelOf } from "../../linux/fakes.js";
import { type Chapter, report } from "./chapter.js";
import {
  IMPATIENT,
  LIMIT_MS,
  extendsLikeHardware,
  fails,
  finish,
  insmod,
  refused,
  reportDataOf,
  someData,
  start,
  within,
} from "./helpers.js";
import { serveModule } from "./module-platform.js";
import { TestTd } from "./test-td.js";

const td = new TestTd();
const DEVICE = "/dev/tdx_guest";
const CONFIGFS = "/sys/kernel/config/tsm/report";
const SYSFS = "/sys/devices/virtual/misc/tdx_guest/measurements";
const CCEL = "/run/CCEL";

/** As the guest's programs open it, but for the table that the firmware would leave. */
function open(options: OpenOptions = {}): Promise<QuoteProvider> {
  return openQuoteProvider({ ccel: CCEL, ...options });
}
const byIoctl = (): Promise<QuoteProvider> => open({ sysfs: "/none" });
const impatient = (): Promise<QuoteProvider> => open({ limits: IMPATIENT });

let logs = 0;
/** The path of a log in a TD that has just started. */
function freshLog(): string {
  td.restart();
  return `/run/log/test-${++logs}/runtime_events.log`;
}

async function asRegisters(path: string): Promise<void> {
  const provider = await open();
  const log = await RuntimeEventLog.open({ provider, path });
  assert.deepEqual(replayEventLog(await log.entries())[3], await provider.readRtmr(3));
}

/** One entry of configfs-tsm by hand, without our provider. */
async function byHand(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = join(CONFIGFS, "by-hand");
  await mkdir(dir);
  try {
    await work(dir);
  } finally {
    await rmdir(dir);
  }
}

export const kernelModule: Chapter = {
  title: "a kernel module: ioctl, sysfs and configfs-tsm",
  start: async () => {
    await insmod("tsm");
    await assert.rejects(mkdir(join(CONFIGFS, "x")), { code: "ENXIO" });
    await insmod("tdx_guest_test");
    await writeFile(CCEL, ccelOf(await td.bootEvents()));
  },
  heal: () => td.heal(),
  assertions: {
    "a driver without its platform is an error": async () => {
      const provider = await open();
      await refused(provider.readRtmr(3), "device_failure", /EIO/);
      await refused(provider.getReport(someData()), "device_failure", /EIO/);
      await refused(provider.getQuote(someData()), "device_failure", /EIO/);
      await serveModule(td); // for the assertions below
    },

    "openQuoteProvider takes the device where it is, with nothing set": async () => {
      assert.equal((await openQuoteProvider()).kind, "tdx");
    },

    "the simulator does not start beside the device": async () => {
      const socketPath = "/run/simulator.sock";
      await refused(startSimulatorService({ seed: new Uint8Array(32), socketPath }), "unsupported");
    },

    "GET_REPORT0 echoes the report data": async () => {
      const data = someData();
      const tdReport = await (await open()).getReport(data);
      assert.deepEqual(Uint8Array.from(tdReport.subarray(128, 192)), data);
    },

    "RTMR3 by sysfs is SHA-384(old ‖ digest), as the TDREPORT says": async () => {
      await extendsLikeHardware(await open(), td);
      assert.deepEqual(await (await byIoctl()).readRtmr(3), await (await open()).readRtmr(3));
    },

    "RTMR3 by ioctl is SHA-384(old ‖ digest), as sysfs says": async () => {
      await extendsLikeHardware(await byIoctl(), td);
      assert.deepEqual(await (await byIoctl()).readRtmr(3), await (await open()).readRtmr(3));
    },

    "a driver without EXTEND_RTMR, as Linux 6.12 has, is an error": async () => {
      const parameter = "/sys/module/tdx_guest_test/parameters/ioctl_extends";
      await writeFile(parameter, "0");
      try {
        await refused((await byIoctl()).extendRtmr(3, sha384("x")), "unsupported", /ENOTTY/);
      } finally {
        await writeFile(parameter, "1");
      }
    },

    "RTMR0 to RTMR2 are refused by us and by the driver, and keep their values": async () => {
      const provider = await open();
      const all = (): Promise<Uint8Array[]> =>
        Promise.all(([0, 1, 2, 3] as const).map((index) => provider.readRtmr(index)));
      const before = await all();
      for (const index of [0, 1, 2]) {
        await assert.rejects(provider.extendRtmr(index as 3, sha384("x")), InputError);
        await fails(nativeAddon().extendRtmr(DEVICE, index, sha384("x"), LIMIT_MS), "EINVAL");
        await fails(
          writeFile(join(SYSFS, `rtmr${index}:sha384`), sha384("x"), { flag: constants.O_WRONLY }),
          "EINVAL",
        );
      }
      assert.deepEqual(await all(), before);
    },

    "a write of 47 bytes, and one at another offset, are refused and extend nothing": async () => {
      const before = await td.readRtmr(3);
      const file = await openFile(join(SYSFS, "rtmr3:sha384"), constants.O_WRONLY);
      try {
        await fails(file.write(new Uint8Array(47), 0, 47, 0), "EINVAL");
        await fails(file.write(new Uint8Array(47), 0, 47, 1), "EINVAL");
        await fails(file.write(new Uint8Array(8), 0, 8, 40), "EINVAL");
      } finally {
        await file.close();
      }
      const provider = await open();
      await assert.rejects(provider.extendRtmr(3, new Uint8Array(47)), /48 bytes, got 47/);
      assert.deepEqual(await td.readRtmr(3), before);
    },

    "configfs: an entry behaves as our FUSE tree plays it": () =>
      byHand(async (dir) => {
        assert.deepEqual((await readdir(dir)).toSorted(), ["generation", "inblob", "outblob", "provider"]);
        const text = async (name: string): Promise<string> =>
          (await readFile(join(dir, name), "utf8")).trim();
        assert.equal(await text("provider"), "tdx_guest");
        assert.equal(await text("generation"), "0");
        await fails(readFile(join(dir, "outblob")), "EINVAL");
        await fails(mkdir(dir), "EEXIST");
        await fails(
          writeFile(join(dir, "inblob"), new Uint8Array(65), { flag: constants.O_WRONLY }),
          "EFBIG",
        );
        await writeFile(join(dir, "inblob"), new Uint8Array(63), { flag: constants.O_WRONLY }).catch(
          () => {},
        );
        await fails(readFile(join(dir, "outblob")), "EINVAL");
        const before = Number(await text("generation"));
        const file = await openFile(join(dir, "inblob"), constants.O_WRONLY);
        await file.write(new Uint8Array(64).fill(5), 0, 64, 0);
        assert.equal(Number(await text("generation")), before, "nothing is taken before close");
        await file.close();
        assert.equal(Number(await text("generation")), before + 1);
      }),

    "configfs: a quote carries report data and registers, and its entry is gone": async () => {
      td.restart();
      const provider = await open();
      await provider.extendRtmr(3, sha384("before the quote"));
      const data = someData();
      const quote = await provider.getQuote(data);
      assert.deepEqual(reportDataOf(quote), data);
      assert.deepEqual(parseQuote(quote).body.rtmr[3], await provider.readRtmr(3));
      assert.deepEqual(await readdir(CONFIGFS), []);
      report({ evidence: "configfs", quote: Buffer.from(quote).toString("base64") });
    },

    "configfs: many callers in many processes get quotes over their own report data": async () => {
      const provider = await open();
      const asked = Array.from({ length: 6 }, someData);
      const others = [1, 2, 3].map(() => finish(start("quoter", "3")));
      const quotes = await Promise.all(asked.map((data) => provider.getQuote(data)));
      assert.deepEqual(quotes.map(reportDataOf), asked);
      assert.deepEqual(await Promise.all(others), ["3\n", "3\n", "3\n"]);
      assert.deepEqual(await readdir(CONFIGFS), []);
    },

    "configfs: somebody who writes into our entry is found out by the generation, and never heard":
      async () => {
        const provider = await open();
        const saboteur = start("saboteur");
        if (saboteur.stdout !== null) await once(saboteur.stdout, "data");
        let refusals = 0;
        try {
          for (const until = Date.now() + 120_000; refusals === 0 && Date.now() < until;) {
            const data = someData();
            const answer = await provider.getQuote(data).catch((err: unknown) => err);
            if (answer instanceof Uint8Array) assert.deepEqual(reportDataOf(answer), data);
            else {
              await refused(Promise.reject(answer as Error), "retryable", /generation of .* went from/);
              refusals++;
            }
          }
        } finally {
          saboteur.kill("SIGKILL");
          await once(saboteur, "exit");
        }
        assert.ok(refusals > 0, "the saboteur never came between");
        assert.deepEqual(reportDataOf(await provider.getQuote(new Uint8Array(64))), new Uint8Array(64));
      },

    "configfs: a host that refuses, and one that quotes something else": async () => {
      const provider = await open();
      td.break("quote", "empty");
      await refused(provider.getQuote(someData()), "quote_failed", /gave 0 bytes/);
      td.break("quote", "other report data");
      await refused(provider.getQuote(someData()), "quote_failed", /other report data/);
    },

    "configfs: a busy device is tried again, but not for ever": async () => {
      const provider = await open();
      td.break("quote", { error: "EBUSY", times: 2 });
      const data = someData();
      assert.deepEqual(reportDataOf(await provider.getQuote(data)), data);
      td.break("quote", { error: "EBUSY" });
      await refused(provider.getQuote(someData()), "retryable", /EBUSY/);
    },

    "configfs: every other error of the driver has its meaning, and leaves no entry": async () => {
      const provider = await open();
      const meanings = {
        EIO: "device_failure",
        EINVAL: "bad_argument",
        ENXIO: "no_device",
        ETIMEDOUT: "retryable",
      } as const;
      for (const [error, code] of Object.entries(meanings)) {
        td.break("quote", { error: error as keyof typeof meanings });
        await refused(provider.getQuote(someData()), code, new RegExp(error));
      }
      td.heal();
      assert.deepEqual(await readdir(CONFIGFS), []);
    },

    "sysfs: every error of the driver has its meaning, and extends nothing": async () => {
      td.restart();
      const provider = await open();
      const meanings = { EIO: "device_failure", EBUSY: "retryable", EINVAL: "bad_argument" } as const;
      for (const [error, code] of [...Object.entries(meanings), ["ENXIO", "bad_argument"]] as const) {
        td.break("extend", { error: error as "EIO" });
        await refused(provider.extendRtmr(3, sha384("x")), code as "retryable", new RegExp(error));
      }
      for (const [error, code] of Object.entries(meanings)) {
        td.break("read", { error: error as "EIO" });
        await refused(provider.readRtmr(3), code, new RegExp(error));
      }
      td.heal();
      assert.deepEqual(await provider.readRtmr(3), new Uint8Array(48));
    },

    "a quote that hangs ends at its limit, others wait in vain, and all goes on when it comes back":
      async () => {
        const provider = await impatient();
        td.break("quote", "hang");
        await within(
          4 * LIMIT_MS,
          refused(provider.getQuote(someData()), "device_failure", /took longer than 6 s/),
        );
        const caller = AbortSignal.timeout(200);
        await assert.rejects(provider.getQuote(someData(), caller), { name: "TimeoutError" });
        await access(CCEL); // libuv's threads are free
        td.heal();
        const data = someData();
        assert.deepEqual(reportDataOf(await provider.getQuote(data)), data);
        assert.deepEqual(await readdir(CONFIGFS), []);
      },

    "a register that hangs in sysfs ends at its limit": async () => {
      const provider = await impatient();
      td.break("read", "hang");
      await within(
        4 * LIMIT_MS,
        refused(provider.readRtmr(3), "device_failure", /reading RTMR 3 took longer/),
      );
      td.heal();
      assert.equal((await provider.readRtmr(3)).length, 48);
    },

    "event log: many processes extend under one lock, and the log replays to the register": async () => {
      const path = freshLog();
      const writers = ["a", "b", "c", "d"].map((name) => finish(start("writer", path, name, "4")));
      await Promise.all(writers);
      const provider = await open();
      const log = await RuntimeEventLog.open({ provider, path });
      const names = (await log.entries()).map((entry) => entry.event);
      assert.deepEqual(
        names.toSorted(),
        ["a", "b", "c", "d"].flatMap((name) => [0, 1, 2, 3].map((i) => `${name}-${i}`)),
      );
      await asRegisters(path);
    },

    "event log: quote and log of one moment, for the host to verify": async () => {
      const path = freshLog();
      const log = await RuntimeEventLog.open({ provider: await open(), path });
      await log.extend("app-id", new Uint8Array(20).fill(7));
      const { quote, eventLog } = await log.quote(new Uint8Array(64).fill(0x2a));
      assert.deepEqual(replayEventLog(parseEventLog(eventLog)), parseQuote(quote).body.rtmr);
      report({ evidence: "event log", quote: Buffer.from(quote).toString("base64"), eventLog });
    },

    "event log: kill -9 before the extend changes nothing, and frees the lock": async () => {
      const path = freshLog();
      await killed("before", path);
      await asRegisters(path);
      const log = await RuntimeEventLog.open({ provider: await open(), path });
      await log.extend("next", new Uint8Array());
      assert.equal((await log.entries()).length, 2);
    },

    "event log: kill -9 between extend and append ends this boot's log for good": async () => {
      const path = freshLog();
      const log = await RuntimeEventLog.open({ provider: await open(), path });
      await killed("after", path);
      const register = await td.readRtmr(3);
      await refused(
        log.extend("next", new Uint8Array()),
        "rtmr_mismatch",
        /does not hold what the event log replays to/,
      );
      await refused(RuntimeEventLog.open({ provider: await open(), path }), "rtmr_mismatch");
      assert.deepEqual(await td.readRtmr(3), register, "nothing was extended any more");
      const text = await readFile(path, "utf8");
      assert.equal(text.split("\n").length, 2, "only the event before the kill is logged");
    },

    "event log: an extend that hangs is not logged, and is found out if it happened": async () => {
      const path = freshLog();
      const log = await RuntimeEventLog.open({ provider: await impatient(), path });
      td.break("extend", "hang");
      await within(
        4 * LIMIT_MS,
        refused(log.extend("hangs", new Uint8Array()), "device_failure", /took longer/),
      );
      td.heal();
      assert.equal((await log.entries()).length, 0);
      await log.extend("next", new Uint8Array()); // this one hung before it reached the register
      await asRegisters(path);
    },

    "event log: a driver that says it extended, and did not, stops everything": async () => {
      const path = freshLog();
      const log = await RuntimeEventLog.open({ provider: await open(), path });
      td.break("extend", "lie");
      await refused(log.extend("lost", new Uint8Array()), "rtmr_mismatch");
      td.heal();
      assert.equal((await log.entries()).length, 0);
    },
  },
};

/** A process that logs one event and is killed in the middle of the next. */
async function killed(when: "before" | "after", path: string): Promise<void> {
  const child = start("killed", when, path);
  const [, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.equal(signal, "SIGKILL");
}
