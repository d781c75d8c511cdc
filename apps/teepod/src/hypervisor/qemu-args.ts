import { assertNever } from "@dstack/core";
import type { PortMapping } from "../vm/ports.js";

/** How the virtual CPUs are executed. `tdx` and `kvm` are hardware virtualisation, `tcg` is emulation. */
export type Acceleration = "tdx" | "kvm" | "tcg";

/** A VM as QEMU sees it. Paths of the image are absolute; the VM's own files are relative to its directory. */
export interface QemuVm {
  readonly id: string;
  readonly acceleration: Acceleration;
  readonly vcpu: number;
  readonly memoryMb: number;
  readonly kernel: string;
  readonly initrd: string;
  readonly rootfs: string;
  /** Firmware; used under TDX only, where it is measured. */
  readonly bios?: string;
  readonly cmdline: string;
  readonly ports: readonly PortMapping[];
  /** IPv4 address the forwarded ports listen on. */
  readonly portAddress: string;
  /** vsock context id, where the host has vhost-vsock. */
  readonly cid?: number;
  /** vsock port of the host's quote generation service; used under TDX only. */
  readonly qgsPort: number;
}

/** Files in the VM's directory, which is QEMU's working directory: socket paths longer than 107 bytes do not exist. */
export const VM_FILES = {
  shared: "shared",
  status: "status",
  disk: "hda.img",
  serialLog: "serial.log",
  console: "console.sock",
  qmp: "qmp.sock",
  pid: "qemu.pid",
  /** What QEMU itself prints. */
  qemuLog: "qemu.log",
} as const;

/** Inside QEMU's `key=value,…` options a comma is written twice. */
function optionValue(text: string): string {
  return text.replaceAll(",", ",,");
}

function accelerationArgs(vm: QemuVm): string[] {
  switch (vm.acceleration) {
    case "tdx": {
      const tdx = {
        "qom-type": "tdx-guest",
        id: "tdx",
        "quote-generation-socket": { type: "vsock", cid: "2", port: String(vm.qgsPort) },
      };
      return [
        ...["-accel", "kvm", "-cpu", "host"],
        ...["-object", JSON.stringify(tdx)],
        ...["-machine", "q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off"],
        ...(vm.bios === undefined ? [] : ["-bios", vm.bios]),
      ];
    }
    case "kvm":
      return ["-accel", "kvm", "-cpu", "host", "-machine", "q35,kernel-irqchip=split,hpet=off"];
    case "tcg":
      // One thread for all vCPUs: with one each, a QEMU before 8.1 may run an instruction that another vCPU has just
      // patched (int3 of a static key), and the guest's kernel panics. The emulated AVX and SHA instructions of richer
      // models are slower than the plain code they replace.
      return ["-accel", "tcg,thread=single", "-cpu", "qemu64", "-machine", "q35,hpet=off"];
    default:
      return assertNever(vm.acceleration);
  }
}

function hostForwards(vm: QemuVm): string {
  return vm.ports.map((p) => `,hostfwd=${p.protocol}:${vm.portAddress}:${p.hostPort}-:${p.vmPort}`).join("");
}

/**
 * The argument list of a VM's QEMU process (guest-image.md "QEMU"). A list and no text: no shell reads it. Nothing
 * that differs between two VMs of one shape is visible to measured firmware tables (no `-uuid`), and the devices
 * come in a fixed order with the optional one last.
 */
export function qemuArgs(vm: QemuVm): string[] {
  // Under emulation flushes cost more than they protect: a killed QEMU loses nothing, only a host that loses power.
  const dataCache = vm.acceleration === "tcg" ? ",cache=unsafe" : "";
  return [
    ...["-name", `guest=${vm.id}`],
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-pidfile", VM_FILES.pid],
    ...["-qmp", `unix:${VM_FILES.qmp},server=on,wait=off`],
    ...accelerationArgs(vm),
    ...["-smp", String(vm.vcpu), "-m", `${vm.memoryMb}M`],
    ...["-kernel", vm.kernel, "-initrd", vm.initrd, "-append", vm.cmdline],
    "-chardev",
    `socket,id=console,path=${VM_FILES.console},server=on,wait=off,logfile=${VM_FILES.serialLog},logappend=on`,
    ...["-serial", "chardev:console"],
    ...["-drive", `file=${optionValue(vm.rootfs)},if=none,id=root,format=raw,readonly=on`],
    ...["-device", "virtio-blk-pci,drive=root"],
    ...["-drive", `file=${VM_FILES.disk},if=none,id=data,format=raw,discard=unmap${dataCache}`],
    ...["-device", "virtio-blk-pci,drive=data"],
    ...["-fsdev", `local,id=shared,path=${VM_FILES.shared},security_model=none,readonly=on`],
    ...["-device", "virtio-9p-pci,fsdev=shared,mount_tag=host-shared"],
    // mapped-xattr: a link or device node the guest makes is a plain file for the host.
    ...["-fsdev", `local,id=status,path=${VM_FILES.status},security_model=mapped-xattr`],
    ...["-device", "virtio-9p-pci,fsdev=status,mount_tag=host-status"],
    ...["-netdev", `user,id=net${hostForwards(vm)}`],
    ...["-device", "virtio-net-pci,netdev=net,romfile="],
    ...["-device", "virtio-rng-pci"],
    ...(vm.cid === undefined ? [] : ["-device", `vhost-vsock-pci,guest-cid=${vm.cid}`]),
  ];
}
