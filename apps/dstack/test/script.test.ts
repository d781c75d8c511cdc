import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

describe("scripts/dstack", () => {
  let checkout: string;
  beforeAll(async () => {
    checkout = await mkdtemp(join(tmpdir(), "dstack-script-"));
    await cp(join(import.meta.dirname, "../../../scripts/dstack"), join(checkout, "scripts/dstack"));
  });
  afterAll(() => rm(checkout, { recursive: true }));
  const dstack = (...args: string[]) =>
    spawnSync(join(checkout, "scripts/dstack"), args, { cwd: checkout, encoding: "utf8" });

  it("says in a sentence that nothing is built yet", () => {
    expect(dstack("--help")).toMatchObject({ status: 1, stdout: "" });
    expect(dstack("--help").stderr).toMatch(/^dstack: this checkout is not built: .*\n$/);
  });

  it("leaves an --env-file that does not exist yet to the program", async () => {
    const dist = join(checkout, "apps/dstack/dist");
    await mkdir(dist, { recursive: true });
    await writeFile(join(dist, "dstack.mjs"), "console.log(process.argv.slice(2).join(' '));");
    expect(dstack("env", "set", "--env-file", "none")).toMatchObject({
      status: 0,
      stdout: "env set --env-file none\n",
    });
  });
});
