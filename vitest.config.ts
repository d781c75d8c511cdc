import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["packages/*/test/**/*.test.ts", "apps/*/test/**/*.test.ts"],
    testTimeout: 20_000,
    hookTimeout: 30_000,
    pool: "forks",
    // One worker less than cores is the default: on two cores that leaves one idle, while most files wait for processes of their own.
    maxWorkers: Math.max(2, availableParallelism()),
  },
});
