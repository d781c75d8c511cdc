import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));

describe.skipIf(!existsSync("/usr/bin/systemd-analyze"))("the units that are shipped", () => {
  it.each(["apps/certbot/certbot.service", "apps/ct-monitor/ct-monitor.service"])(
    "%s is one that systemd takes without a word",
    { timeout: 60_000 },
    async (unit) => {
      const dir = await mkdtemp(join(tmpdir(), "unit-"));
      const path = join(dir, unit.split("/").at(-1) ?? "");
      // systemd looks whether the program is there, and Node may be elsewhere on this machine.
      const text = (await readFile(join(root, unit), "utf8")).replace("/usr/bin/node", process.execPath);
      await writeFile(path, text);
      const { exitCode, all } = await execa("systemd-analyze", ["verify", path], {
        all: true,
        reject: false,
      });
      await rm(dir, { recursive: true });
      expect(all).toBe("");
      expect(exitCode).toBe(0);
    },
  );
});
