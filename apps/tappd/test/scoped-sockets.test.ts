import { hex } from "@dstack/core";
import { once } from "node:events";
import { mkdir, readdir } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { curl } from "./support/curl.js";
import { bootGuest } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

const SOCKETS = {
  quotes: ["quote"],
  worker: ["key:worker", "cert:worker/tls"],
  certificates: ["cert:"],
  attested: ["cert:", "quote"],
  signer: ["key:vms"],
  nothing: [],
};

let guest: Guest;
let paths: ReadonlyMap<string, string>;
let classic: string;
beforeAll(async () => {
  guest = await bootGuest({ compose: { sockets: SOCKETS } });
  const tappd = await guest.start();
  paths = tappd.scopedSockets;
  classic = tappd.sockets.tappd;
});
afterAll(() => guest[Symbol.asyncDispose]());

async function call(
  socket: keyof typeof SOCKETS | "classic",
  method: string,
  request: unknown = {},
): Promise<{ status: number; answer: Record<string, unknown> }> {
  const path = socket === "classic" ? classic : (paths.get(socket) ?? "");
  const { status, text } = await curl(
    ...["--unix-socket", path, "-H", "Content-Type: application/json", "-d", JSON.stringify(request)],
    `http://dstack/${method}`,
  );
  return { status, answer: JSON.parse(text) as Record<string, unknown> };
}

/** What each method needs, in calls that the classic socket answers. */
const CALLS: readonly (readonly [string, Record<string, unknown>, readonly (keyof typeof SOCKETS)[]])[] = [
  ["prpc/Tappd.TdxQuote", { report_data: "00" }, ["quotes", "attested"]],
  ["prpc/Tappd.RawQuote", { report_data: "00" }, ["quotes", "attested"]],
  ["GetQuote", { report_data: "00" }, ["quotes", "attested"]],
  ["Attest", { report_data: "00" }, ["quotes", "attested"]],
  ["GetKey", { path: "worker" }, ["worker"]],
  ["GetKey", { path: "worker/db" }, ["worker"]],
  ["GetKey", { path: "workers" }, []],
  ["GetKey", { path: "" }, []],
  ["GetKey", { path: "/worker" }, []],
  ["prpc/DstackGuest.GetKey", { path: "other" }, []],
  ["Sign", { algorithm: "ed25519", data: "00" }, ["signer"]],
  ["prpc/Tappd.DeriveKey", { path: "worker/tls" }, ["worker", "certificates", "attested"]],
  ["prpc/Tappd.DeriveKey", { path: "worker" }, ["certificates", "attested"]],
  ["prpc/Tappd.DeriveKey", { path: "" }, ["certificates", "attested"]],
  ["GetTlsKey", { subject: "x" }, ["certificates", "attested"]],
  ["GetTlsKey", { subject: "x", usage_ra_tls: true }, ["attested"]],
  ["EmitEvent", { event: "mine", payload: "00" }, []],
];

describe("G7: a socket that the compose document scopes", () => {
  it.each(CALLS)("G7: %s %j is answered where a scope covers it", async (method, request, allowed) => {
    const names = Object.keys(SOCKETS) as (keyof typeof SOCKETS)[];
    const before = hex(await guest.provider.readRtmr(3));
    for (const name of names) {
      const { status, answer } = await call(name, method, request);
      const expected = allowed.includes(name) ? 200 : 403;
      expect([name, status]).toEqual([name, expected]);
      if (expected === 403) {
        expect(Object.keys(answer)).toEqual(["error"]);
        expect(answer["error"]).toMatch(/^this socket has no /);
      }
    }
    expect(hex(await guest.provider.readRtmr(3))).toBe(before);
    expect((await call("classic", method, request)).status).toBe(200);
  });

  it("G7: the same in protobuf and for the name without its service", async () => {
    const worker = paths.get("worker") ?? "";
    for (const url of ["prpc/Tappd.TdxQuote", "TdxQuote", "prpc/TdxQuote"]) {
      const { status } = await curl("--unix-socket", worker, "-X", "POST", `http://dstack/${url}`);
      expect([url, status]).toEqual([url, 403]);
    }
  });

  it.each(["Info", "prpc/Tappd.Info"])("G8: %s tells it no more than the outside is told", async (method) => {
    const tcbInfo = async (socket: "nothing" | "classic"): Promise<Record<string, unknown>> =>
      JSON.parse(String((await call(socket, method)).answer["tcb_info"])) as Record<string, unknown>;
    expect(Object.keys(await tcbInfo("nothing"))).not.toContain("app_compose");
    expect(Object.keys(await tcbInfo("nothing"))).not.toContain("event_log");
    expect(Object.keys(await tcbInfo("classic"))).toContain("app_compose");
  });

  it("G7: without sockets in the document there are the classic ones alone", async () => {
    await using plain = await bootGuest();
    const tappd = await plain.start();
    expect([...tappd.scopedSockets]).toEqual([]);
    const { status } = await curl("--unix-socket", tappd.sockets.tappd, "http://dstack/GetKey?path=any");
    expect(status).toBe(200);
  });

  it("G7: what a container left in its directory keeps no guest agent from starting", async () => {
    await using other = await bootGuest({ compose: { sockets: { worker: ["quote"], web: [] } } });
    const before = await other.start();
    const [worker = "", web = ""] = before.scopedSockets.values();
    await before[Symbol.asyncDispose]();
    expect(await readdir(dirname(worker))).toEqual([]);
    // A socket of its own that is listened on, and a directory of the name.
    const impostor = createServer().listen(worker);
    await once(impostor, "listening");
    await mkdir(join(web, "sub"), { recursive: true });
    try {
      const after = await other.start();
      for (const path of after.scopedSockets.values()) {
        const { status } = await curl("--unix-socket", path, "http://dstack/Version");
        expect([path, status]).toEqual([path, 200]);
      }
    } finally {
      impostor.close();
    }
  });

  it("G7: a scope that is none stops the start", async () => {
    await using wrong = await bootGuest({ compose: { sockets: { worker: ["keys:worker"] } } });
    await expect(wrong.start()).rejects.toThrow(/socket "worker": a scope must be/);
  });
});
