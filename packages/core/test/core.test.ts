import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  InputError,
  Paced,
  Serial,
  TimeoutError,
  Turns,
  abortable,
  appIdOfCompose,
  assertNever,
  createFileExclusive,
  errorCode,
  fromHex,
  hex,
  parseAppId,
  parseVmId,
  readRegularFile,
  readRegularFileIfAny,
  sameBytes,
  sleep,
  utf8,
  withDeadline,
  writeFileAtomic,
} from "../src/index.js";

describe("hex", () => {
  it("reads what it writes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(fromHex(hex(bytes))).toEqual(bytes);
        expect(fromHex(`0x${hex(bytes).toUpperCase()}`)).toEqual(bytes);
      }),
    );
  });
  it.each(["0", "0x0", "zz", "00 ", "0x0x00", "٠٠"])("refuses %j", (text) => {
    expect(() => fromHex(text, "nonce")).toThrow(/nonce must be hex/);
  });
  it("refuses another length than asked for", () => {
    expect(() => fromHex("00", "digest", 2)).toThrow("digest must be 2 bytes of hex, got 1");
  });
  it("compares bytes of different lengths as unequal", () => {
    expect(sameBytes(utf8("a"), utf8("ab"))).toBe(false);
    expect(sameBytes(utf8("ab"), utf8("ab"))).toBe(true);
  });
});

describe("ids", () => {
  it("derives the app id from the exact bytes of the compose document. FROZEN", () => {
    expect(appIdOfCompose(utf8("test"))).toBe("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b");
  });
  it.each(["", "A".repeat(40), "a".repeat(39), `${"a".repeat(40)}\n`, "../".repeat(13) + "a"])(
    "refuses %j as an app id",
    (text) => {
      expect(() => parseAppId(text)).toThrow(InputError);
    },
  );
  it.each(["../../etc", "0B5F6D0A-0000-4000-8000-000000000000", "0b5f6d0a"])(
    "refuses %j as a VM id",
    (text) => {
      expect(() => parseVmId(text)).toThrow(InputError);
    },
  );
});

describe("waiting", () => {
  it("ends work that ignores its signal, at the limit, and says what it was", async () => {
    const never = withDeadline("opening the disk", 20, () => new Promise<void>(() => {}));
    await expect(never).rejects.toThrow(new TimeoutError("opening the disk took longer than 20 ms"));
    const long = withDeadline("booting", 1500, () => new Promise(() => {}));
    await expect(long).rejects.toThrow(new TimeoutError("booting took longer than 1.5 s"));
  });
  it("aborts the work's signal with the outer one", async () => {
    const outer = new AbortController();
    const work = withDeadline("x", 10_000, (signal) => sleep(10_000, signal), outer.signal);
    outer.abort(new Error("stop"));
    await expect(work).rejects.toThrow("stop");
  });
  it("does not start waiting when the signal is aborted already", async () => {
    await expect(abortable(Promise.resolve(1), AbortSignal.abort(new Error("late")))).rejects.toThrow("late");
  });
  it("takes care of the failure of work it no longer waits for", async () => {
    const aborted = AbortSignal.abort(new Error("late"));
    // Left alone, this rejection would end the process.
    await expect(abortable(Promise.reject(new Error("work failed")), aborted)).rejects.toThrow("late");
    await new Promise((resolve) => setImmediate(resolve));
  });
  it("runs tasks one after the other, and goes on after a failed one", async () => {
    const order: string[] = [];
    const serial = new Serial();
    const failing = serial.run(async () => {
      await sleep(5);
      order.push("first");
      throw new Error("no");
    });
    const next = serial.run(async () => {
      order.push("second");
    });
    await expect(failing).rejects.toThrow("no");
    await next;
    expect(order).toEqual(["first", "second"]);
  });
  it("does a work once for all who asked meanwhile, and rests as long as it took", async () => {
    const times: { began: number; ended: number }[] = [];
    let began = 0;
    const paced = new Paced(async () => {
      began = performance.now();
      await sleep(30);
      times.push({ began, ended: performance.now() });
    }, 0.5);
    const first = paced.run();
    await expect.poll(() => began, { interval: 1 }).toBeGreaterThan(0);
    // It has begun: whoever asks now has something to say that it may have missed.
    await Promise.all(Array.from({ length: 100 }, () => paced.run()));
    await first;
    expect(times).toHaveLength(2);
    const [one, two] = times as [(typeof times)[0], (typeof times)[0]];
    expect(two.began - one.ended).toBeGreaterThanOrEqual(one.ended - one.began - 5);
  });
  it("tells all who asked that the work failed, and does it again for the next", async () => {
    let fails = true;
    const paced = new Paced(() => {
      if (fails) throw new Error("no");
    }, 0.5);
    const asked = await Promise.allSettled([paced.run(), paced.run()]);
    expect(asked.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    fails = false;
    await paced.run();
  });
  it("gives each piece of work a turn of the event loop", async () => {
    const turns = new Turns();
    let turn = 0;
    const done = Array.from({ length: 20 }, async () => {
      await turns.take();
      return turn;
    });
    const all = Promise.all(done);
    let isOver = false;
    void all.then(() => (isOver = true));
    while (!isOver) await new Promise<void>((resolve) => setImmediate(() => resolve(void turn++)));
    const seen = await all;
    expect(new Set(seen).size).toBe(20);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  });
});

describe("files", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "core-"));
  });
  afterEach(async () => {
    await rm(dir, { recursive: true, force: true });
  });

  it("replaces a file whole, with the mode asked for, and leaves no temporary one", async () => {
    const path = join(dir, "state.json");
    await writeFileAtomic(path, "old");
    await writeFileAtomic(path, "new", { mode: 0o600 });
    expect(await readFile(path, "utf8")).toBe("new");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(dir)).toEqual(["state.json"]);
  });
  it("leaves the old file when the new one cannot be put in its place", async () => {
    await expect(writeFileAtomic(join(dir, "missing", "x"), "new")).rejects.toThrow("ENOENT");
    const taken = join(dir, "taken");
    execFileSync("mkdir", ["-p", join(taken, "full")]);
    await expect(writeFileAtomic(taken, "new")).rejects.toThrow();
    expect(await readdir(dir)).toEqual(["taken"]);
  });
  it("K4: never overwrites a file it is to create", async () => {
    const path = join(dir, "root.key");
    await createFileExclusive(path, "secret");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await expect(createFileExclusive(path, "other")).rejects.toSatisfy((err) => errorCode(err) === "EEXIST");
    expect(await readFile(path, "utf8")).toBe("secret");
  });
  it("G1: reads only regular files, follows no link, opens no pipe, and stops at the cap", async () => {
    await writeFile(join(dir, "good"), "12345");
    await symlink("good", join(dir, "link"));
    execFileSync("mkfifo", [join(dir, "pipe")]);
    expect(new TextDecoder().decode(await readRegularFile(join(dir, "good"), 5))).toBe("12345");
    await expect(readRegularFile(join(dir, "good"), 4)).rejects.toThrow("good is larger than 4 bytes");
    await expect(readRegularFile(join(dir, "link"), 5)).rejects.toThrow("link is a symbolic link");
    await expect(readRegularFile(join(dir, "pipe"), 5)).rejects.toThrow("pipe is not a regular file");
    await expect(readRegularFile(dir, 5)).rejects.toThrow("is not a regular file");
    await expect(readRegularFile("/dev/zero", 5)).rejects.toThrow("is not a regular file");
    expect(await readRegularFileIfAny(join(dir, "none"), 5)).toBeUndefined();
  });
  it("G1: a file that claims to be empty but is not (as in /proc) is read up to the cap", async () => {
    expect((await readRegularFile("/proc/self/status", 65536)).length).toBeGreaterThan(100);
    await expect(readRegularFile("/proc/self/status", 10)).rejects.toThrow("larger than 10 bytes");
  });
});

it("refuses a variant nobody knows", () => {
  expect(() => assertNever({ at: "limbo" } as never)).toThrow('unexpected variant: {"at":"limbo"}');
});
