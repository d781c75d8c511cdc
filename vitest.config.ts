import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["packages/*/test/**/*.test.ts", "apps/*/test/**/*.test.ts"],
    // Ends what hangs. How fast things are is measured in bench/, and a busy machine is no failure.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 30_000 } },
    pool: "forks",
    // One worker less than cores is the default: on two cores that leaves one idle, while most files wait for processes of their own.
    maxWorkers: Math.max(2, availableParallelism()),
  },
});
