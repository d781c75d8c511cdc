import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["packages/*/test/**/*.test.ts", "apps/*/test/**/*.test.ts"],
    // Ends what hangs, and is the limit of every test and poll unless that needs a longer one. How fast things are is
    // measured in bench/, and a busy machine is no failure.
    testTimeout: 480_000,
    hookTimeout: 480_000,
    expect: { poll: { timeout: 120_000 } },
    pool: "forks",
    // One worker less than cores is the default: on two cores that leaves one idle, while most files wait for processes of their own.
    maxWorkers: Math.max(2, availableParallelism()),
  },
});
