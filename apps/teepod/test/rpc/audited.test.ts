import { describe, expect, it } from "vitest";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@dstack/daemon";
import { EmptySchema, teepod } from "@dstack/proto";
import type { Call } from "@dstack/prpc";
import type { TeepodContext } from "../../src/context.js";
import type { Caller } from "../../src/http/caller.js";
import type { AuditEntry } from "../../src/http/audit-log.js";
import { audited } from "../../src/rpc/audited.js";

const call: Call<Caller> = {
  peer: { name: "olga", role: "operator" },
  signal: new AbortController().signal,
  requestId: "r1",
  remoteAddress: "127.0.0.1",
};

function context(append: (entry: AuditEntry) => Promise<void>): TeepodContext {
  return { audit: { append }, log: silentLogger() } as unknown as TeepodContext;
}

describe("audited", () => {
  it("T3: does nothing that cannot be written down", async () => {
    let done = false;
    const full = context(async () => {
      throw Object.assign(new Error("no space"), { code: "ENOSPC" });
    });
    const handler = audited<typeof teepod.IdSchema, typeof EmptySchema>(
      full,
      "StopVm",
      (r) => r.id,
      async () => {
        done = true;
        return {};
      },
    );
    await expect(handler(create(teepod.IdSchema, { id: "x" }), call)).rejects.toMatchObject({
      code: "unavailable",
      message: "the audit log cannot be written, so nothing is changed",
    });
    expect(done).toBe(false);
  });

  it("T3: tells a refusal from a failure, and keeps the failure's cause to itself", async () => {
    const entries: AuditEntry[] = [];
    const log = context(async (entry) => void entries.push(entry));
    const handler = audited<typeof teepod.IdSchema, typeof EmptySchema>(
      log,
      "StopVm",
      (r) => r.id,
      async () => {
        throw new Error("secret detail");
      },
    );
    await expect(handler(create(teepod.IdSchema, { id: "x" }), call)).rejects.toThrow("secret detail");
    expect(entries.map((entry) => [entry.outcome, entry.message])).toEqual([
      ["asked", undefined],
      ["failed", "internal error"],
    ]);
  });

  it("T3: has its own check of the role, whatever the guard did", async () => {
    const handler = audited<typeof teepod.IdSchema, typeof EmptySchema>(
      context(async () => {}),
      "StopVm",
      (r) => r.id,
      async () => ({}),
    );
    const viewer = { ...call, peer: { name: "v", role: "viewer" } } as const;
    await expect(handler(create(teepod.IdSchema), viewer)).rejects.toMatchObject({
      code: "permission_denied",
    });
    await expect(handler(create(teepod.IdSchema), { ...call, peer: undefined })).rejects.toMatchObject({
      code: "unauthenticated",
    });
  });
});
