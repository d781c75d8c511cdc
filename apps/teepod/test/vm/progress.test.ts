import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, open, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "@dstack/daemon";
import { deletedBytes } from "../../src/hypervisor/deleted-files.js";
import { readInstanceInfo } from "../../src/vm/instance-info.js";
import { parseProgress, readProgress } from "../../src/vm/progress.js";
import { statusShareFits } from "../../src/vm/status-share.js";

const line = (step: string, state: string, message?: string): string =>
  `${JSON.stringify({ at: "2026-01-01T00:00:00Z", step, state, message })}\n`;

describe("boot progress", () => {
  it("is the last line", () => {
    const text = line("kms", "start") + line("kms", "done", "0.4 s") + line("data-disk", "start", "opening");
    expect(parseProgress(text)).toEqual({ progress: "data-disk: opening", ready: false });
    expect(parseProgress(line("kms", "done", "0.4 s"))).toEqual({
      progress: "kms done: 0.4 s",
      ready: false,
    });
  });
  it("is ready at the end", () => {
    expect(parseProgress(line("compose", "done") + line("ready", "done"))).toEqual({
      progress: "ready",
      ready: true,
    });
  });
  it("has the first error, named by its step once", () => {
    const text = line("kms", "start") + line("kms", "error", "kms: no key") + line("x", "error", "later");
    expect(parseProgress(text)).toEqual({ progress: "kms", error: "kms: no key", ready: false });
    expect(parseProgress(line("kms", "error"))).toEqual({ error: "kms: failed", ready: false });
  });
  it("skips lines that are none", () => {
    const text = `null\n[]\n{"step":1}\n${line("a", "strange")}${line("kms", "start")}{"at":"x","step":"da`;
    expect(parseProgress(text)).toEqual({ progress: "kms", ready: false });
  });
  it("T6: is one harmless line of limited length whatever the guest writes", () => {
    const evil = `\u001b[2J\u001b]0;title\u0007<script>\r\n\u202e${"x".repeat(5000)}`;
    const { progress } = parseProgress(line(evil, "start", evil));
    expect(progress).toMatch(/^[\x20-\x7e…]+$/);
    expect(progress?.length).toBeLessThanOrEqual(450);
  });
});

describe("a status share the guest can write to", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "teepod-status-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("G1: links are not followed", async () => {
    const secret = join(dir, "secret");
    await writeFile(secret, line("kms", "start", "the host's secret"));
    await symlink(secret, join(dir, "progress.jsonl"));
    expect(await readProgress(dir)).toEqual({
      ready: false,
      error: "the guest's progress file is unusable: progress.jsonl is a symbolic link",
    });
    const id = "a".repeat(40);
    await writeFile(join(dir, "other"), JSON.stringify({ bootstrapped: true, instance_id: id, app_id: id }));
    await symlink(join(dir, "other"), join(dir, ".instance_info"));
    expect(await readInstanceInfo(join(dir, ".instance_info"), silentLogger())).toBeUndefined();
  });

  it("G1: pipes, directories and huge files neither block nor fill the memory", async () => {
    execFileSync("mkfifo", [join(dir, "progress.jsonl")]);
    expect((await readProgress(dir)).error).toContain("not a regular file");
    await rm(join(dir, "progress.jsonl"));
    await mkdir(join(dir, "progress.jsonl"));
    expect((await readProgress(dir)).ready).toBe(false);
    await rm(join(dir, "progress.jsonl"), { recursive: true });
    await writeFile(join(dir, "progress.jsonl"), line("kms", "start").repeat(10_000));
    expect((await readProgress(dir)).error).toContain("larger than");
  });

  it("instance info must be what it should be", async () => {
    const path = join(dir, ".instance_info");
    const id = "0123456789".repeat(4);
    const read = async (text: string) => {
      await writeFile(path, text);
      return readInstanceInfo(path, silentLogger());
    };
    expect(await read(JSON.stringify({ bootstrapped: true, instance_id: id, app_id: id, more: 1 }))).toEqual({
      bootstrapped: true,
      instanceId: id,
      appId: id,
    });
    for (const text of [
      "",
      "{}",
      JSON.stringify({ bootstrapped: "yes", instance_id: id, app_id: id }),
      JSON.stringify({ bootstrapped: true, instance_id: "../../x", app_id: id }),
      JSON.stringify({ bootstrapped: true, instance_id: id, app_id: id.toUpperCase().replace("0", "A") }),
      JSON.stringify({ bootstrapped: true, instance_id: id, app_id: id, pad: "x".repeat(5000) }),
    ]) {
      expect(await read(text)).toBeUndefined();
    }
  });

  it("is watched: bytes, entries, depth; links count as what they are", async () => {
    const limits = { bytes: 64 * 1024, entries: 10, depth: 3 };
    await symlink("/", join(dir, "root"));
    await writeFile(join(dir, "progress.jsonl"), "x");
    expect(await statusShareFits(dir, 0, limits)).toBe(true);
    await writeFile(join(dir, "big"), Buffer.alloc(128 * 1024, 1));
    expect(await statusShareFits(dir, 0, limits)).toBe(false);
    await rm(join(dir, "big"));
    await mkdir(join(dir, "a/b/c/d"), { recursive: true });
    expect(await statusShareFits(dir, 0, limits)).toBe(false);
    await rm(join(dir, "a"), { recursive: true });
    for (let i = 0; i < 10; i++) await writeFile(join(dir, `f${i}`), "");
    expect(await statusShareFits(dir, 0, limits)).toBe(false);
  });

  it("T7: a name that is not UTF-8 hides neither itself nor its neighbours", async () => {
    const limits = { bytes: 64 * 1024, entries: 10, depth: 3 };
    const odd = (name: string): Buffer => Buffer.concat([Buffer.from(`${dir}/${name}`), Buffer.from([0xff])]);
    await writeFile(odd("empty"), "");
    expect(await statusShareFits(dir, 0, limits)).toBe(true);
    await writeFile(odd("big"), Buffer.alloc(128 * 1024, 1));
    expect(await statusShareFits(dir, 0, limits)).toBe(false);
    await rm(odd("big"));
    await mkdir(odd("dir"));
    await writeFile(Buffer.concat([odd("dir"), Buffer.from("/big")]), Buffer.alloc(128 * 1024, 1));
    expect(await statusShareFits(dir, 0, limits)).toBe(false);
  });

  it("T7: what is deleted and held open counts", async () => {
    const path = join(dir, "held");
    const file = await open(path, "w");
    try {
      await file.writeFile(Buffer.alloc(128 * 1024, 1));
      expect(await deletedBytes(process.pid, dir)).toBe(0);
      await rm(path);
      expect(await deletedBytes(process.pid, dir)).toBeGreaterThanOrEqual(128 * 1024);
      expect(await deletedBytes(process.pid, `${dir}-other`)).toBe(0);
    } finally {
      await file.close();
    }
    expect(await statusShareFits(dir, 128 * 1024, { bytes: 64 * 1024, entries: 10, depth: 3 })).toBe(false);
  });
});
