import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["packages/attestation/mutation/all.test.ts"],
    testTimeout: 60_000,
    resolveSnapshotPath: () => "packages/attestation/test/__snapshots__/explain.test.ts.snap",
  },
});
