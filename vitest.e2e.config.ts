import { defineConfig } from "vitest/config";

/** Tests that boot the real guest image in QEMU: one after the other, each with minutes to spare. */
export default defineConfig({
  test: {
    include: ["packages/testbed/e2e/**/*.e2e.ts"],
    testTimeout: 15 * 60_000,
    hookTimeout: 15 * 60_000,
    pool: "forks",
    fileParallelism: false,
    bail: 1,
  },
});
