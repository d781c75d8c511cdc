import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, it } from "vitest";
import { MAX_LINE_BYTES } from "@dstack/daemon";
import type { LogFile } from "@dstack/daemon";
import { CertLog } from "../src/cert-log/cert-log.js";
import type { NewEntry } from "../src/cert-log/cert-log.js";
import { tempDir } from "./temp.js";

const entry = (subject: string): NewEntry => ({ kind: "app-ca", subject, certificate: "AAAA" });

async function freshPath(): Promise<string> {
  return join(await tempDir(), "issued.log");
}

/** A log with these subjects; gives its path and bytes. */
async function logOf(...subjects: string[]): Promise<{ path: string; text: string }> {
  const path = await freshPath();
  await using log = await CertLog.open(path);
  for (const subject of subjects) await log.append(entry(subject));
  return { path, text: await readFile(path, "utf8") };
}

async function openAndClose(path: string): Promise<{ seq: number; cut: number }> {
  let cut = 0;
  await using log = await CertLog.open(path, { onTorn: ({ bytes }) => (cut = bytes) });
  return { seq: log.head.seq, cut };
}

describe("K5: issue log", () => {
  it("K5: keeps entries in order over restarts, whoever asks first", async () => {
    const path = await freshPath();
    {
      await using log = await CertLog.open(path);
      const entries = await Promise.all(["a", "b", "c"].map((subject) => log.append(entry(subject))));
      expect(entries.map((e) => e.seq)).toEqual([0, 1, 2]);
    }
    await using log = await CertLog.open(path);
    expect((await log.append(entry("d"))).seq).toBe(3);
    const subjects = (await readFile(path, "utf8"))
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line.slice(65)).subject);
    expect(subjects).toEqual(["a", "b", "c", "d"]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("K5: opens a log longer than its read buffer", async () => {
    const path = await freshPath();
    const big: NewEntry = { ...entry("big"), certificate: "A".repeat(30_000) };
    {
      await using log = await CertLog.open(path);
      for (let i = 0; i < 12; i++) await log.append(big);
    }
    expect(await openAndClose(path)).toEqual({ seq: 11, cut: 0 });
  });

  it("K5: refuses to open when any byte of an entry was changed", async () => {
    const { path, text } = await logOf("a", "b", "c");
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += 7) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await writeFile(path, changed);
      await expect(CertLog.open(path), `byte ${at}`).rejects.toMatchObject({ code: "broken_chain" });
    }
  });

  it("K5: refuses a log from which an entry was taken, or whose entries were swapped or repeated", async () => {
    const { path, text } = await logOf("a", "b", "c");
    const [a, b, c] = text.split("\n");
    for (const lines of [
      [b, c],
      [a, c],
      [b, a, c],
      [a, a, b, c],
      [a, b, c, c],
      ["", a],
    ]) {
      await writeFile(path, `${lines.join("\n")}\n`);
      await expect(CertLog.open(path)).rejects.toMatchObject({ code: "broken_chain" });
    }
  });

  it("K5: refuses a line without end", async () => {
    const { path } = await logOf("a");
    await appendFile(path, "x".repeat(MAX_LINE_BYTES * 3));
    await expect(CertLog.open(path)).rejects.toMatchObject({ code: "broken_chain" });
  });

  it("K5: cuts a torn last line wherever it was torn, says so, and goes on", async () => {
    const { path, text } = await logOf("a", "b");
    const second = text.indexOf("\n") + 1;
    for (let length = second + 1; length < text.length; length += 11) {
      await writeFile(path, text.slice(0, length));
      expect(await openAndClose(path), `cut at ${length}`).toEqual({ seq: 0, cut: length - second });
      expect((await stat(path)).size).toBe(second);
    }
    await truncate(path, second + 5);
    {
      await using log = await CertLog.open(path);
      await log.append(entry("again"));
    }
    expect(await openAndClose(path)).toEqual({ seq: 1, cut: 0 });
  });

  it("K5: stops when another process wrote into the log", async () => {
    const path = await freshPath();
    await using first = await CertLog.open(path);
    await using second = await CertLog.open(path);
    await first.append(entry("a"));
    await expect(second.append(entry("b"))).rejects.toMatchObject({ code: "foreign_writer" });
    expect(() => second.assertUsable()).toThrow(/another process/);
    await first.append(entry("c"));
    expect(await openAndClose(path)).toEqual({ seq: 1, cut: 0 });
  });

  it("K5: gives no entry when the disk is full, leaves no half line, and goes on when there is room", async () => {
    const path = await freshPath();
    let full = false;
    await using log = await CertLog.open(path, {
      openFile: async () => {
        const file = await open(path, "a+");
        return wrap(file, {
          async appendFile(data) {
            await file.appendFile(full ? data.slice(0, 20) : data);
            if (full) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
          },
        });
      },
    });
    await log.append(entry("a"));
    full = true;
    await expect(log.append(entry("b"))).rejects.toThrow(/no space left/);
    full = false;
    expect((await log.append(entry("c"))).seq).toBe(1);
    expect(await openAndClose(path)).toEqual({ seq: 1, cut: 0 });
  });

  it("K5: takes no more entries after a failed sync: nobody knows what is on the disk", async () => {
    const path = await freshPath();
    let failing = false;
    await using log = await CertLog.open(path, {
      openFile: async () => {
        const file = await open(path, "a+");
        return wrap(file, {
          async datasync() {
            if (failing) throw new Error("input/output error");
            await file.datasync();
          },
        });
      },
    });
    failing = true;
    await expect(log.append(entry("a"))).rejects.toMatchObject({ code: "failed" });
    failing = false;
    await expect(log.append(entry("b"))).rejects.toMatchObject({ code: "failed" });
  });

  it("K5: loses nothing that was acknowledged when the process is killed with -9", async () => {
    const path = await freshPath();
    let acknowledged = -1;
    for (let round = 0; round < 4; round++) {
      const child = spawn(
        process.execPath,
        ["--import", "tsx", new URL("append-for-ever.ts", import.meta.url).pathname, path],
        {
          stdio: ["ignore", "pipe", "inherit"],
        },
      );
      const closed = once(child, "close");
      for await (const line of createInterface({ input: child.stdout })) {
        acknowledged = Number(line);
        // Some way into the stream of appends, at another place each round.
        if (acknowledged % 40 === 13 + round) child.kill("SIGKILL");
      }
      await closed;
      expect((await openAndClose(path)).seq).toBeGreaterThanOrEqual(acknowledged);
    }
    expect(acknowledged).toBeGreaterThan(12);
  });
});

/** A file that fails as told and otherwise is the real one. */
function wrap(file: Awaited<ReturnType<typeof open>>, changes: Partial<LogFile>): LogFile {
  return {
    stat: () => file.stat(),
    read: (buffer, offset, length, position) => file.read(buffer, offset, length, position),
    appendFile: (data) => file.appendFile(data),
    datasync: () => file.datasync(),
    truncate: (length) => file.truncate(length),
    close: () => file.close(),
    ...changes,
  };
}
