import { ChainedLog } from "@dstack/daemon";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeHypervisor } from "../../teepod/test/helpers/fake-hypervisor.js";
import { OPERATOR, VIEWER, testpod, vmRequest } from "../../teepod/test/helpers/testpod.js";
import { LOG_KINDS } from "../src/audit-chain.js";
import { dstack } from "./fake-teepod.js";

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "dstack-audit-"));
  file = join(dir, "audit.log");
});
afterEach(() => rm(dir, { recursive: true }));

interface Verdict {
  entries: number;
  head: string;
  head_found?: boolean;
}
const verify = async (...args: string[]) =>
  JSON.parse(await dstack("audit", "verify", ...args, "--json")) as Verdict;

describe("dstack audit verify", () => {
  it("T3: checks a teepod's log from afar, and finds that it was cut since", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    const { id } = await pod.client.createVm(vmRequest());
    const at = ["--host", pod.teepod.url, "--token", VIEWER];
    const first = await verify(...at);
    expect(first).toMatchObject({ entries: 2 });
    await pod.client.stopVm({ id });
    const later = await verify(...at, "--head", first.head);
    expect(later).toMatchObject({ entries: 4, head_found: true });

    // The same log, cut at its end: its chain is whole, and only the head that was kept tells.
    const lines = (await readFile(join(pod.site.runPath, "audit.log"), "utf8")).split("\n");
    await writeFile(file, `${lines.slice(0, 3).join("\n")}\n`);
    expect(await verify("--file", file)).toMatchObject({ entries: 3 });
    await expect(verify("--file", file, "--head", later.head)).rejects.toThrow("it was cut, or made anew");

    await writeFile(file, lines.map((line, i) => (i === 1 ? line.replace("olga", "oleg") : line)).join("\n"));
    await expect(verify("--file", file)).rejects.toThrow("entry 1 was changed: somebody changed it");
    await expect(verify("--host", pod.teepod.url, "--token", `${OPERATOR}x`)).rejects.toThrow(
      "not known here",
    );
  });

  it("reads the logs of the other daemons too, one kind for another never", async () => {
    for (const [kind, context] of Object.entries(LOG_KINDS)) {
      const path = join(dir, kind);
      {
        await using log = await ChainedLog.open(path, { context, parse: (value) => value as never });
        await log.append({});
      }
      expect(await verify("--file", path, "--kind", kind)).toMatchObject({ entries: 1 });
      const other = kind === "kms" ? "tproxy" : "kms";
      await expect(verify("--file", path, "--kind", other)).rejects.toThrow("entry 0 was changed");
    }
  });

  it("tells wrong usage apart", async () => {
    await expect(verify("--head", "abc")).rejects.toMatchObject({ exitCode: 2 });
    await expect(verify("--kind", "kms")).rejects.toMatchObject({ exitCode: 2 });
    await expect(verify("--file", join(dir, "none"))).rejects.toThrow("cannot read");
  });
});
