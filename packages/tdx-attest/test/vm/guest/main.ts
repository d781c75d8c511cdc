/** What runs in the VM: `main` makes all assertions, the other roles are processes that it starts. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, withDeadline } from "@dstack/core";
import { RuntimeEventLog, openQuoteProvider } from "../../../src/index.js";
import { type Chapter, report } from "./chapter.js";
import { chapters } from "./chapters.js";

const ASSERTION_LIMIT_MS = 400_000;
const CONFIGFS = "/sys/kernel/config/tsm/report";

async function runChapter({ title, start, heal, assertions }: Chapter): Promise<void> {
  const broken = await start().then(
    () => undefined,
    (err: unknown) => `the chapter did not start: ${errorMessage(err)}`,
  );
  for (const [assertion, check] of Object.entries(assertions)) {
    const started = Date.now();
    let error = broken;
    if (error === undefined) {
      error = await withDeadline("the assertion", ASSERTION_LIMIT_MS, check).then(
        () => undefined,
        (err: unknown) => (err instanceof Error ? (err.stack ?? err.message) : String(err)),
      );
    }
    heal();
    report({ chapter: title, assertion, ms: Date.now() - started, ...(error !== undefined && { error }) });
  }
}

const roles: Record<string, (...args: string[]) => Promise<void>> = {
  main: async () => {
    for (const chapter of chapters) await runChapter(chapter);
  },

  /** Appends events to a log. */
  writer: async (path = "", name = "", count = "0") => {
    const log = await RuntimeEventLog.open({ provider: await openQuoteProvider(), path });
    for (let i = 0; i < Number(count); i++) await log.extend(`${name}-${i}`, new Uint8Array());
  },

  /** Is gone in the middle of an extend. */
  killed: async (when = "", path = "") => {
    const provider = await openQuoteProvider();
    const log = await RuntimeEventLog.open({ provider, path });
    await log.extend("survives", new Uint8Array());
    const real = provider.extendRtmr.bind(provider);
    provider.extendRtmr = async (index, digest) => {
      if (when === "after") await real(index, digest);
      process.kill(process.pid, "SIGKILL");
    };
    await log.extend("lost", new Uint8Array());
  },

  /** Gets quotes, each of which the provider checks for its report data. */
  quoter: async (count = "0") => {
    const provider = await openQuoteProvider();
    for (let i = 0; i < Number(count); i++) await provider.getQuote(new Uint8Array(randomBytes(64)));
    console.log(count);
  },

  /** Writes its own report data into everybody's entries until it is killed. */
  saboteur: async () => {
    console.log("ready");
    for (;;) {
      for (const entry of await readdir(CONFIGFS)) {
        // The entry may be gone by now, or not be there yet.
        await writeFile(join(CONFIGFS, entry, "inblob"), new Uint8Array(64).fill(0xbd), {
          flag: constants.O_WRONLY,
        }).catch(() => {});
      }
    }
  },
};

const [role = "", ...args] = process.argv.slice(2);
await roles[role]?.(...args);
// The servers' reads of their devices never end by themselves, and would keep the process.
if (role === "main") process.kill(process.pid, "SIGKILL");
