import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Site, client, vmRequest } from "./helpers/testpod.js";

it("a TDX guest gets its quotes from the service at Intel's port, unless the configuration says another", async () => {
  await using site = await Site.make();
  const seen = join(site.dir, "argv");
  const qemu = join(site.dir, "qemu");
  await writeFile(qemu, `#!/bin/sh\nprintf '%s\\n' "$@" >${seen}\nexit 1\n`);
  await chmod(qemu, 0o755);
  for (const [cvm, port] of [
    [{}, 4050],
    [{ qgs_port: 4051 }, 4051],
  ] as const) {
    await using pod = await site.start(site.config({ qemu_path: qemu }, { accel: "tdx", ...cvm }));
    await expect(client(pod).createVm(vmRequest())).rejects.toThrow("QEMU did not start");
    const argv = (await readFile(seen, "utf8")).split("\n");
    expect(JSON.parse(argv[argv.indexOf("-object") + 1] ?? "")).toEqual({
      "qom-type": "tdx-guest",
      id: "tdx",
      "quote-generation-socket": { type: "vsock", cid: "2", port: String(port) },
    });
  }
});
