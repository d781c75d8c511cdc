import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { readTextFile } from "../src/read-file.js";

it("says in one sentence why a file cannot be read", async () => {
  const dir = await mkdtemp(join(tmpdir(), "dstack-read-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  await writeFile(join(dir, "binary"), new Uint8Array([0xff, 0xfe, 0x00]));
  await expect(readTextFile(join(dir, "none"))).rejects.toThrow(`there is no file ${join(dir, "none")}`);
  await expect(readTextFile(join(dir, "binary"))).rejects.toThrow("binary is not text in UTF-8");
  await expect(readTextFile(dir)).rejects.toThrow("is not a regular file");
});
