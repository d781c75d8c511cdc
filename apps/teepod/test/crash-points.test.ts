import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TeepodConfig } from "../src/index.js";
import { FakeHypervisor } from "./helpers/fake-hypervisor.js";
import { bundle } from "./helpers/program.js";
import { AUDIT, COMPOSE, Site, client } from "./helpers/testpod.js";

const AT_ONCE = 2;

/** What the program said before it ended, a line at a time. */
function run(program: string, config: string, crashAt?: number): Promise<Map<string, string>> {
  return new Promise((resolve) => {
    const env = { ...process.env, ...(crashAt !== undefined && { CRASH_AT: String(crashAt) }) };
    execFile(process.execPath, [program, config], { env }, (_err, stdout) => {
      const lines = stdout.split("\n").filter((line) => line !== "");
      resolve(new Map(lines.map((line) => [line.split(" ")[0] ?? "", line.split(" ")[1] ?? ""])));
    });
  });
}

async function configOf(site: Site): Promise<string> {
  const path = join(site.dir, "teepod.json");
  await writeFile(path, JSON.stringify(TeepodConfig.parse(site.config())));
  return path;
}

/** Looks at what a killed teepod has left, as the next one sees it. */
async function requireWhole(site: Site, said: ReadonlyMap<string, string>): Promise<void> {
  await using pod = await site.start(site.config(), { hypervisor: new FakeHypervisor() });
  const api = client(pod);
  const { vms } = await api.status();
  expect((await readdir(site.runPath)).sort()).toEqual([...AUDIT, ...vms.map((vm) => vm.id)].sort());
  if (said.has("removed")) expect(vms).toEqual([]);
  const [vm] = vms;
  // Between the last acknowledged step and the next one the removal may have happened.
  if (vm === undefined) return expect(said.has("created") && !said.has("resized")).toBe(false);

  const dir = join(site.runPath, vm.id);
  expect((await readdir(dir)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  if (said.has("created")) expect(vm.id).toBe(said.get("created"));
  if (said.has("upgraded")) expect(vm.configuration?.composeFile).not.toBe(COMPOSE);
  if (said.has("resized")) expect(vm.configuration?.diskSize).toBe(2);
  expect(vm.configuration?.encryptedEnv).toEqual(new Uint8Array(80).fill(7));
  expect((await stat(join(dir, "hda.img"))).size).toBeGreaterThanOrEqual(
    (vm.configuration?.diskSize ?? 0) * 2 ** 30,
  );
  await api.startVm({ id: vm.id });
  expect(await readFile(join(dir, "shared", "app-compose.json"), "utf8")).toBe(vm.configuration?.composeFile);
  await api.stopVm({ id: vm.id });
  await api.removeVm({ id: vm.id });
  expect(await readdir(site.runPath)).toEqual(AUDIT);
}

// The life of a VM, from its creation to its removal, ended with SIGKILL at each change of the file system in turn.
// The VM itself is a fake: `crash.test.ts` has real ones, killed at moments of chance.
describe("kill -9 between any two changes of the file system", () => {
  let dir: string;
  let program: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "teepod-crash-"));
    program = await bundle("test/helpers/crash-program.ts", join(dir, "crash.mjs"));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it(
    "T4: leaves a whole VM or nothing, what was acknowledged, and no litter",
    { timeout: 600_000 },
    async () => {
      let changes = 0;
      {
        await using site = await Site.make();
        const said = await run(program, await configOf(site));
        changes = Number(said.get("changes"));
        expect(changes).toBeGreaterThan(50);
      }
      let next = 1;
      const worker = async (): Promise<void> => {
        for (let at = next++; at <= changes; at = next++) {
          await using site = await Site.make();
          const said = await run(program, await configOf(site), at);
          expect(said.has("changes"), `change ${at} was reached`).toBe(false);
          await requireWhole(site, said).catch((err: unknown) => {
            throw new Error(`killed at change ${at}, having said ${[...said.keys()].join(", ")}`, {
              cause: err,
            });
          });
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
    },
  );
});
