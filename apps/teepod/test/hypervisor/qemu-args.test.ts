import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { qemuArgs } from "../../src/hypervisor/qemu-args.js";
import type { QemuVm } from "../../src/hypervisor/qemu-args.js";

const dir = join(import.meta.dirname, "cases");

interface Case {
  vm: QemuVm;
  argv: string[];
}

function load(name: string): Case {
  return JSON.parse(readFileSync(join(dir, name), "utf8")) as Case;
}

describe("qemuArgs", () => {
  for (const name of readdirSync(dir)) {
    it(name.replace(".json", ""), () => {
      const { vm, argv } = load(name);
      expect(qemuArgs(vm)).toEqual(argv);
    });
  }

  it("is what the guide for TDX hosts shows", () => {
    const guide = readFileSync(join(dir, "../../../../../docs/operator/tdx-host.md"), "utf8");
    const shown = /^qemu-system-x86_64 \\\n {2}(.*?)\n```$/ms.exec(guide)?.[1];
    const word = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text}'`);
    expect(shown?.replaceAll(" \\\n  ", " ")).toBe(qemuArgs(load("tdx.json").vm).map(word).join(" "));
  });

  it("differs between two VMs of one shape only in what the guest cannot measure", () => {
    const { vm } = load("tdx.json");
    const { cid: _, ...shape } = vm;
    const one = qemuArgs(shape);
    const other = qemuArgs({ ...shape, id: "7d1f6c1e-0000-4000-8000-000000000000" });
    expect(one.filter((arg, i) => arg !== other[i])).toEqual([`guest=${vm.id}`]);
  });

  it("T2: keeps hostile text inside one argument", () => {
    const { vm } = load("tcg.json");
    const cmdline = 'console=ttyS0 -device x,y "; rm -rf / $(id)';
    const rootfs = "/images/a,readonly=off,b/rootfs.img";
    const argv = qemuArgs({ ...vm, cmdline, rootfs });
    expect(argv.length).toBe(qemuArgs(vm).length);
    expect(argv[argv.indexOf("-append") + 1]).toBe(cmdline);
    expect(argv).toContain(
      "file=/images/a,,readonly=off,,b/rootfs.img,if=none,id=root,format=raw,readonly=on",
    );
  });
});
