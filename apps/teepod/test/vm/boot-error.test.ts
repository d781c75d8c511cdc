import { describe, expect, it } from "vitest";
import { bootError } from "../../src/vm/boot-error.js";

describe("the boot error of a VM that has ended", () => {
  it("is what the guest said", () => {
    expect(bootError({ progress: "kms", error: "kms: no key", ready: false }, { code: 0 }, "")).toBe(
      "kms: no key",
    );
  });
  it("is nothing when the VM had been ready", () => {
    expect(bootError({ ready: true, error: "x" }, { code: 1 }, "")).toBeUndefined();
  });
  it("is one sentence with the kernel's reason", () => {
    const console =
      "[    1.0] booting\r\n[    2.5] Kernel panic - not syncing: dm-verity device corrupted\r\n[    2.6] ---[ end";
    expect(
      bootError({ ready: false }, { code: 0, reason: "the guest rebooted or its kernel panicked" }, console),
    ).toBe(
      "the VM ended before it was ready (the guest rebooted or its kernel panicked); its console ended with: " +
        "Kernel panic - not syncing: dm-verity device corrupted",
    );
  });
  it("names the fault that a panic follows", () => {
    const console =
      "[ 7.19] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\r\n[ 7.20] RIP: 0010:sched_balance_rq+0x4d3/0xf00\r\n" +
      "[ 7.21] Kernel panic - not syncing: Fatal exception in interrupt\r\n[ 7.22] Kernel Offset: disabled\r\n";
    expect(bootError({ ready: false }, { code: 0 }, console)).toContain(
      "Fatal exception in interrupt (Oops: int3: 0000 [#1] PREEMPT SMP NOPTI)",
    );
  });
  it("falls back to the last line, without escape sequences", () => {
    const error = bootError(
      { progress: "kms", ready: false },
      { code: null },
      "one\r\n[    3.1] \u001b[31mtwo\u001b[0m\r\n\r\n",
    );
    expect(error).toBe(
      'the VM ended before it was ready after "kms" (it was killed); its console ended with: two',
    );
  });
  it("says so when there is no output", () => {
    expect(bootError({ ready: false }, { code: 3 }, "")).toBe(
      "the VM ended before it was ready (exit code 3); it printed nothing on its console",
    );
  });
  it("stays short", () => {
    expect(bootError({ ready: false }, { code: 3 }, "y".repeat(100_000))?.length).toBeLessThan(400);
  });
});
