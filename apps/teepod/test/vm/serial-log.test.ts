import { appendFile, mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SerialLog } from "../../src/vm/serial-log.js";
import { eventually } from "../helpers/eventually.js";

describe("the serial log", () => {
  let dir: string;
  let log: SerialLog;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "teepod-serial-"));
    log = new SerialLog(dir, { maxBytes: 100, backups: 2 });
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  async function read(lines?: number): Promise<string> {
    const parts: Buffer[] = [];
    const signal = new AbortController().signal;
    for await (const part of log.read({ ...(lines !== undefined && { lines }), follow: false, signal })) {
      parts.push(part);
    }
    return Buffer.concat(parts).toString();
  }

  it("is empty before the first boot", async () => {
    expect(await read()).toBe("");
    expect(await read(5)).toBe("");
  });

  it("starts anew with a boot and keeps the last ones", async () => {
    for (const boot of ["one\n", "two\n", "three\n", "four\n"]) {
      await log.startNew();
      await appendFile(log.path, boot);
    }
    expect((await readdir(dir)).sort()).toEqual(["serial.log", "serial.log.1", "serial.log.2"]);
    expect(await read()).toBe("two\nthree\nfour\n");
  });

  it("is rotated under a writer that keeps it open", async () => {
    const { open } = await import("node:fs/promises");
    const writer = await open(log.path, "a");
    try {
      await writer.write(`${"a".repeat(120)}\n`);
      expect(await log.rotateIfLong()).toBe(true);
      await writer.write("after\n");
      expect(await log.rotateIfLong()).toBe(false);
    } finally {
      await writer.close();
    }
    expect(await readFile(log.path, "utf8")).toBe("after\n");
    expect(await read()).toBe(`${"a".repeat(120)}\nafter\n`);
  });

  it("stays bounded however much is written", async () => {
    for (let i = 0; i < 20; i++) {
      await appendFile(log.path, "x".repeat(150));
      await log.rotateIfLong();
    }
    let total = 0;
    for (const name of await readdir(dir)) total += (await stat(join(dir, name))).size;
    expect(total).toBeLessThanOrEqual(3 * 150);
  });

  it("keeps nothing older without backups", async () => {
    log = new SerialLog(dir, { maxBytes: 10, backups: 0 });
    await writeFile(log.path, "x".repeat(20));
    await log.rotateIfLong();
    expect(await readdir(dir)).toEqual(["serial.log"]);
    await writeFile(log.path, "y");
    await log.startNew();
    expect(await readdir(dir)).toEqual([]);
  });

  it("gives the last lines, across rotated files", async () => {
    await writeFile(`${log.path}.1`, "a\nb\nc\n");
    await writeFile(log.path, "d\ne\nf");
    expect(await read(1)).toBe("f");
    expect(await read(3)).toBe("d\ne\nf");
    expect(await read(5)).toBe("b\nc\nd\ne\nf");
    expect(await read(100)).toBe("a\nb\nc\nd\ne\nf");
    expect(await read(0)).toBe("");
    await appendFile(log.path, "\n");
    expect(await read(2)).toBe("e\nf\n");
  });

  it("finds line starts further back than a chunk", async () => {
    const long = "z".repeat(200_000);
    await writeFile(log.path, `first\n${long}\nlast\n`);
    expect(await read(2)).toBe(`${long}\nlast\n`);
  });

  it("follows over a rotation and a new boot", async () => {
    await writeFile(log.path, "old\n");
    const stop = new AbortController();
    let seen = "";
    const following = (async () => {
      for await (const part of log.read({ lines: 1, follow: true, signal: stop.signal }))
        seen += part.toString();
    })();
    await eventually(
      "what was there",
      () => seen,
      (text) => text === "old\n",
    );
    await appendFile(log.path, "new\n");
    await eventually(
      "the new line",
      () => seen,
      (text) => text.endsWith("new\n"),
    );
    await appendFile(log.path, "x".repeat(150));
    await eventually(
      "the long line",
      () => seen,
      (text) => text.endsWith("x"),
    );
    await log.rotateIfLong();
    await appendFile(log.path, "rotated\n");
    await eventually(
      "the line after rotation",
      () => seen,
      (text) => text.endsWith("xrotated\n"),
    );
    await log.startNew();
    await appendFile(log.path, "second boot, a longer line than before\n");
    await eventually(
      "the next boot",
      () => seen,
      (text) => text.endsWith("than before\n"),
    );
    expect(seen).toBe(`old\nnew\n${"x".repeat(150)}rotated\nsecond boot, a longer line than before\n`);
    stop.abort();
    await following;
  });

  it("gives the end for a boot error", async () => {
    await writeFile(log.path, "0123456789");
    expect(await log.tail(4)).toBe("6789");
    expect(await log.tail(100)).toBe("0123456789");
  });

  describe("since", () => {
    const at = (seconds: number): Date => new Date(1_700_000_000_000 + seconds * 1000);
    const since = async (seconds: number, lines?: number): Promise<string> => {
      const parts: Buffer[] = [];
      const { signal } = new AbortController();
      const options = { since: at(seconds), ...(lines !== undefined && { lines }), follow: false, signal };
      for await (const part of log.read(options)) parts.push(part);
      return Buffer.concat(parts).toString();
    };

    it("gives whole lines, and none that was there before", async () => {
      await appendFile(log.path, "one\ntwo");
      await log.note(at(0));
      await appendFile(log.path, " and a half\nthree\n");
      await log.note(at(10));
      await appendFile(log.path, "four\n");
      expect(await since(-5)).toBe("one\ntwo and a half\nthree\nfour\n");
      expect(await since(5)).toBe("two and a half\nthree\nfour\n");
      expect(await since(20)).toBe("four\n");
      expect(await since(5, 2)).toBe("three\nfour\n");
      // As after a start of teepod, with a note that was cut off.
      await appendFile(join(dir, "serial.times"), "17000000");
      log = new SerialLog(dir, { maxBytes: 100, backups: 2 });
      expect(await since(20)).toBe("four\n");
    });

    it("leaves out logs of boots that were over by then, and begins anew with each boot", async () => {
      await appendFile(log.path, "old boot\n");
      await log.note(at(0));
      await log.startNew();
      await utimes(`${log.path}.1`, at(3), at(3));
      await appendFile(log.path, "new\n");
      await log.note(at(10));
      expect(await since(2)).toBe("old boot\nnew\n");
      expect(await since(5)).toBe("new\n");
    });

    it("keeps a bounded number of notes, however long a VM writes", async () => {
      await appendFile(log.path, "x\n".repeat(4_097));
      const before = Array.from({ length: 4_096 }, (_, i) => `${at(i * 10).getTime()} ${(i + 1) * 2}\n`);
      await writeFile(join(dir, "serial.times"), before.join(""));
      await log.note(at(40_960));
      const notes = (await readFile(join(dir, "serial.times"), "utf8")).trimEnd().split("\n");
      expect(notes).toHaveLength(2_048);
      expect((await since(40_955)).length).toBeLessThanOrEqual(4);
    });
  });
});
