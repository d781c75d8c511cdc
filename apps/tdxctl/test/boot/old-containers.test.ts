import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { disarmContainers } from "../../src/boot/linux/old-containers.js";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "containers-"));
});
afterEach(() => rm(dir, { recursive: true }));

async function container(name: string, settings: string | undefined): Promise<void> {
  await mkdir(join(dir, name));
  if (settings !== undefined) await writeFile(join(dir, name, "hostconfig.json"), settings);
}

it("E3: no container that an earlier document left starts by itself", async () => {
  const always = { Name: "always", MaximumRetryCount: 0 };
  await container("one", JSON.stringify({ Binds: ["/var/run/tappd.sock:/t.sock"], RestartPolicy: always }));
  await container("two", JSON.stringify({ RestartPolicy: { Name: "unless-stopped" } }));
  expect(await disarmContainers(dir)).toBe(2);
  for (const name of ["one", "two"]) {
    const settings: unknown = JSON.parse(await readFile(join(dir, name, "hostconfig.json"), "utf8"));
    expect(settings).toMatchObject({ RestartPolicy: { Name: "no", MaximumRetryCount: 0 } });
  }
});

it("E3: a container with settings that cannot be read is gone", async () => {
  await container("broken", "{");
  await container("empty", undefined);
  await container("text", '"always"');
  await disarmContainers(dir);
  expect(await readdir(dir)).toEqual([]);
});

it("has nothing to do where there was no engine", async () => {
  expect(await disarmContainers(join(dir, "none"))).toBe(0);
});
