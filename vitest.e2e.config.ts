import { defineConfig } from "vitest/config";

/** Tests in QEMU, of the real guest image and of the device path: one after the other, each with three times the minutes that two emulated cores take, and more. */
export default defineConfig({
  test: {
    include: ["packages/testbed/e2e/**/*.e2e.ts", "packages/tdx-attest/test/vm/*.e2e.ts"],
    testTimeout: 40 * 60_000,
    hookTimeout: 40 * 60_000,
    pool: "forks",
    fileParallelism: false,
    bail: 1,
  },
});
