import { readFile, readdir, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { tempDir } from "../temp.js";
import { DAY, HOUR, NOW, down, keys, makeClient, platform, platformWith, startService } from "./service.js";

async function filled(): Promise<{ service: Awaited<ReturnType<typeof startService>>; cacheDir: string }> {
  const service = await startService();
  const cacheDir = join(await tempDir(), "cache");
  await makeClient(service, { cacheDir }).client.get(keys, NOW);
  return { service, cacheDir };
}

describe("E8: collateral on disk", () => {
  it("outlives a restart without a network, readable by its owner only", async () => {
    const { service, cacheDir } = await filled();
    service.intercept = down;
    expect(await makeClient(service, { cacheDir }).client.get(keys, NOW + 60)).toEqual(
      platform.collateral(NOW),
    );
    for (const name of await readdir(cacheDir)) {
      expect((await stat(join(cacheDir, name))).mode & 0o777).toBe(0o600);
    }
    expect((await stat(cacheDir)).mode & 0o777).toBe(0o700);
    expect((await readdir(cacheDir)).sort()).toEqual(["documents.json", "seen.json"]);
  });

  it.each(["", "{", "null", "[]", '{"version":2,"documents":{}}', "\0".repeat(1000)])(
    "a damaged file (%j) is fetched anew, and said",
    async (text) => {
      const { service, cacheDir } = await filled();
      await writeFile(join(cacheDir, "documents.json"), text);
      const { client, kinds } = makeClient(service, { cacheDir });
      expect(await client.get(keys, NOW)).toEqual(platform.collateral(NOW));
      expect(kinds()).toEqual(["cache_unusable", "fetched"]);
      service.intercept = down;
      expect(await makeClient(service, { cacheDir }).client.get(keys, NOW)).toEqual(platform.collateral(NOW));
    },
  );

  it("cut off at any length it is never half used", async () => {
    const { service, cacheDir } = await filled();
    const path = join(cacheDir, "documents.json");
    const whole = await readFile(path);
    service.intercept = down;
    for (let length = whole.length - 1; length > 0; length -= 997) {
      await writeFile(path, whole);
      await truncate(path, length);
      await expect(makeClient(service, { cacheDir }).client.get(keys, NOW)).rejects.toMatchObject({
        code: "unreachable",
      });
    }
  });

  it("a forged file is refused, by each of its documents", async () => {
    const { service, cacheDir } = await filled();
    const path = join(cacheDir, "documents.json");
    const text = await readFile(path, "utf8");
    for (const [from, to] of [
      ["2026-06", "2026-07"],
      ["BEGIN CERT", "BEGIN CERX"],
      ['"tcb_info_signature":"', '"tcb_info_signature":"0'],
      ['"pck_crl":"', '"pck_crk":"'],
    ] as const) {
      expect(text).toContain(from);
      await writeFile(path, text.replaceAll(from, to));
      const { client, kinds } = makeClient(service, { cacheDir });
      expect(await client.get(keys, NOW)).toEqual(platform.collateral(NOW));
      expect(kinds()).toEqual(["cache_unusable", "fetched"]);
    }
  });

  it("a file set back to an older one is refused by what was seen since", async () => {
    const { service, cacheDir } = await filled();
    const path = join(cacheDir, "documents.json");
    const old = await readFile(path);
    service.now = NOW + DAY;
    await makeClient(service, { cacheDir }).client.refreshDue(NOW + DAY);
    const later = makeClient(service, { cacheDir });
    await later.client.get(keys, NOW + DAY);
    await later.client.refreshDue(NOW + DAY);
    await writeFile(path, old);
    service.intercept = down;
    const { client, kinds } = makeClient(service, { cacheDir });
    await expect(client.get(keys, NOW + DAY)).rejects.toMatchObject({ code: "unreachable" });
    await expect(client.get(keys, NOW + DAY)).rejects.toMatchObject({ code: "unreachable" });
    expect(kinds()).toEqual(["cache_unusable", "fetch_failed"]);
  });

  it("a process killed while it wrote leaves the old file whole, and its remains are removed", async () => {
    const { service, cacheDir } = await filled();
    const half = (await readFile(join(cacheDir, "documents.json"))).subarray(0, 5000);
    // What writeFileAtomic has on disk when the process dies between its first byte and the rename.
    for (const name of ["documents", "seen"]) {
      await writeFile(join(cacheDir, `.${name}.json.0123456789ab.tmp`), half);
    }
    await writeFile(join(cacheDir, ".other.tmp"), "not ours");
    service.intercept = down;
    const { client, kinds } = makeClient(service, { cacheDir });
    expect(await client.get(keys, NOW + 60)).toEqual(platform.collateral(NOW));
    expect(kinds()).toEqual([]);
    expect((await readdir(cacheDir)).sort()).toEqual([".other.tmp", "documents.json", "seen.json"]);
  });

  it("killed between the two files: the documents count, and set the marks again", async () => {
    const { service, cacheDir } = await filled();
    const seen = await readFile(join(cacheDir, "seen.json"));
    service.now = NOW + DAY;
    const second = makeClient(service, { cacheDir });
    await second.client.get(keys, NOW + DAY);
    await expect.poll(second.kinds).toEqual(["fetched"]);
    await expect.poll(async () => (await readFile(join(cacheDir, "seen.json"))).equals(seen)).toBe(false);
    await writeFile(join(cacheDir, "seen.json"), seen); // as if it had died before
    service.intercept = down;
    const { client } = makeClient(service, { cacheDir });
    expect(await client.get(keys, NOW + DAY)).toEqual(platform.collateral(NOW + DAY));
  });

  it("damaged marks do not crash, are said, and are written again", async () => {
    const { service, cacheDir } = await filled();
    await writeFile(join(cacheDir, "seen.json"), '{"version":1,"seen":{"root_crl@00":{"issued":-1}}}');
    const { client, kinds, events } = makeClient(service, { cacheDir });
    expect(await client.get(keys, NOW)).toEqual(platform.collateral(NOW));
    expect(kinds()).toEqual(["cache_unusable"]);
    expect(events[0]).toMatchObject({ error: { message: expect.stringContaining("seen.json is damaged") } });
    await client.refreshDue(NOW + HOUR);
    expect(JSON.parse(await readFile(join(cacheDir, "seen.json"), "utf8"))).toMatchObject({ version: 1 });
  });

  it("does not lower what another process has seen", async () => {
    const { service, cacheDir } = await filled();
    const slow = makeClient(service, { cacheDir });
    await slow.client.get(keys, NOW);
    service.now = NOW + DAY;
    const fast = makeClient(service, { cacheDir });
    await fast.client.get(keys, NOW + DAY);
    await fast.client.refreshDue(NOW + DAY);
    const high = await readFile(join(cacheDir, "seen.json"), "utf8");
    service.now = NOW;
    await slow.client.refreshDue(NOW + HOUR);
    expect(await readFile(join(cacheDir, "seen.json"), "utf8")).toBe(high);
  });

  it("a directory that cannot be written to costs the cache, not the collateral", async () => {
    const service = await startService();
    const file = join(await tempDir(), "file");
    await writeFile(file, "");
    const { client, kinds } = makeClient(service, { cacheDir: file });
    expect(await client.get(keys, NOW)).toEqual(platform.collateral(NOW));
    expect(kinds()).toContain("not_saved");
  });

  it("E11: keeps 64 platforms", async () => {
    const service = await startService();
    const cacheDir = await tempDir();
    const { client } = makeClient(service, { cacheDir });
    for (let index = 0; index < 66; index++) {
      const fmspc = `ff5349${index.toString(16).padStart(6, "0")}`;
      service.platform = platformWith({ fmspc });
      await client.get({ ...keys, fmspc }, NOW);
    }
    const { documents } = JSON.parse(await readFile(join(cacheDir, "documents.json"), "utf8")) as {
      documents: object;
    };
    expect(Object.keys(documents).filter((slot) => slot.startsWith("tcb_info:")).length).toBe(64);
  });
});
