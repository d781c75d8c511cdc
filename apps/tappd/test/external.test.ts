import type { X509Certificate } from "node:crypto";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { verifyEvidence } from "@dstack/attestation";
import { sha512 } from "@dstack/core";
import { ResourceStack } from "@dstack/daemon";
import { readEvidence } from "@dstack/ra-tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Tappd } from "../src/index.js";
import { curl, curlJson } from "./support/curl.js";
import { bootGuest, platform } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

const PUBLIC = { public_logs: true, public_sysinfo: true, public_tcbinfo: true };
const EVIL = `<script>alert("1")</script>&'`;

const stack = new ResourceStack();
afterAll(() => stack[Symbol.asyncDispose]());

interface Running {
  guest: Guest;
  tappd: Tappd;
  url: string;
}
async function start(compose: Record<string, unknown>): Promise<Running> {
  const guest = stack.use(await bootGuest({ compose }));
  const tappd = await guest.start();
  return { guest, tappd, url: `http://127.0.0.1:${tappd.external.port}` };
}

let open: Running;
let closed: Running;
beforeAll(async () => {
  [open, closed] = await Promise.all([start({ ...PUBLIC, name: EVIL }), start({})]);
  open.guest.engine.containers = [
    {
      Id: "ab".repeat(32),
      Names: ["/web"],
      Image: EVIL,
      ImageID: "sha256:00",
      Command: "sh -c 'serve'",
      Created: 1_700_000_000,
      State: "running",
      Status: "Up 2 minutes",
    },
  ];
  open.guest.engine.setLog("web");
});

describe("Worker", () => {
  it("lists containers as the engine does", async () => {
    expect(await curlJson(`${open.url}/prpc/Worker.ListContainers`)).toEqual({
      containers: [
        {
          id: "ab".repeat(32),
          names: ["/web"],
          image: EVIL,
          image_id: "sha256:00",
          command: "sh -c 'serve'",
          created: 1_700_000_000,
          state: "running",
          status: "Up 2 minutes",
        },
      ],
    });
  });

  it("says what the machine is", async () => {
    const info = await curlJson("-X", "POST", `${open.url}/prpc/Worker.SysInfo?json`);
    expect(info["num_cpus"]).toBeGreaterThan(0);
    expect(info["total_memory"]).toBeGreaterThan(2 ** 20);
    expect(info["used_memory"]).toBe(Number(info["total_memory"]) - Number(info["available_memory"]));
  });

  it("answers a method without its service name", async () => {
    expect(await curlJson(`${open.url}/prpc/Info`)).toMatchObject({ app_id: open.guest.appId });
  });
});

describe("G8: private unless the compose document says public", () => {
  it.each(["/prpc/Worker.SysInfo", "/prpc/Worker.ListContainers", "/logs/web", "/metrics"])(
    "G8: %s answers 403, and 200 when public",
    async (path) => {
      const refused = await curl(closed.url + path);
      expect([refused.status, refused.text]).toEqual([
        403,
        expect.stringMatching(/^{"error":"this app keeps its .*"}$/),
      ]);
      expect((await curl(open.url + path)).status).toBe(200);
    },
  );

  it("G8: a refused log never reaches the engine", async () => {
    await curl(`${closed.url}/logs/web`);
    expect(closed.guest.engine.queries).toEqual([]);
  });

  it("G8: Info keeps compose document and event log to itself, measurements are no secret", async () => {
    const tcbOf = async ({ url }: Running): Promise<Record<string, unknown>> =>
      JSON.parse(String((await curlJson(`${url}/prpc/Worker.Info`))["tcb_info"])) as Record<string, unknown>;
    const [hidden, shown] = await Promise.all([tcbOf(closed), tcbOf(open)]);
    expect(Object.keys(hidden)).not.toContain("app_compose");
    expect(Object.keys(hidden)).not.toContain("event_log");
    expect(hidden["mrtd"]).toMatch(/^[0-9a-f]{96}$/);
    expect(shown).toMatchObject({ app_compose: open.guest.composeText });
  });

  it("G8: one flag does not open what another one guards", async () => {
    const logsOnly = await start({ public_logs: true });
    expect((await curl(`${logsOnly.url}/prpc/Worker.SysInfo`)).status).toBe(403);
    expect((await curl(`${logsOnly.url}/metrics`)).status).toBe(403);
    const systemOnly = await start({ public_sysinfo: true });
    expect((await curl(`${systemOnly.url}/prpc/Worker.ListContainers`)).status).toBe(403);
    expect((await curl(`${systemOnly.url}/logs/web`)).status).toBe(403);
  });

  it("G8: a flag that is not a boolean stops the start", async () => {
    await using guest = await bootGuest({ compose: { public_logs: "yes" } });
    await expect(guest.start()).rejects.toThrow(/app-compose: public_logs/);
  });
});

describe("an outsider who sends more than he should", () => {
  it("E11: a body of more than a few bytes is refused by its length alone", async () => {
    const answer = await curl("-d", "x".repeat(5000), `${closed.url}/prpc/Worker.Info?json`);
    expect(answer.status).toBe(413);
  });

  it("E11: connections beyond a limit are closed at once, and come in again when others left", async () => {
    await using guest = await bootGuest();
    const { external } = await guest.start();
    const dial = (): Promise<Socket | undefined> =>
      new Promise((resolve) => {
        const socket = connect({ port: external.port, host: "127.0.0.1" });
        socket.on("error", () => resolve(undefined));
        socket.once("close", () => resolve(undefined));
        socket.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.once("data", () => resolve(socket));
      });
    const open: Socket[] = [];
    for (;;) {
      const socket = await dial();
      if (socket === undefined || open.length > 2000) break;
      open.push(socket);
    }
    expect(open.length).toBe(1024);
    for (const socket of open) socket.destroy();
    await expect.poll(async () => (await dial())?.destroy() !== undefined).toBe(true);
  });

  it("G8: what is private stays so whatever the method or spelling", async () => {
    for (const path of [
      "/metrics",
      "/%6detrics",
      "/metrics?x=1",
      "/logs/web",
      "/logs/%77eb",
      "/logs/..%2fimages",
      "/",
    ]) {
      for (const method of ["GET", "HEAD", "POST", "OPTIONS", "TRACE"]) {
        const { status, text } = await curl(
          "-X",
          method,
          ...(method === "HEAD" ? ["--head"] : []),
          closed.url + path,
        );
        if (path === "/" && (method === "GET" || method === "HEAD")) continue;
        expect([400, 403, 404], `${method} ${path}`).toContain(status);
        expect(text).not.toContain("dstack_guest_");
      }
    }
    expect(closed.guest.engine.queries).toEqual([]);
  });

  it("has no way to the methods that containers call", async () => {
    for (const method of [
      "Tappd.DeriveKey",
      "Tappd.RawQuote",
      "DstackGuest.GetKey",
      "GetQuote",
      "EmitEvent",
    ]) {
      for (const path of [`/prpc/${method}`, `/${method}`]) {
        expect((await curl("-d", "{}", `${open.url}${path}?json`)).status).toBe(404);
      }
    }
  });
});

describe("the metrics", () => {
  it("E10: say that the platform is simulated", async () => {
    expect((await curl(`${open.url}/metrics`)).text).toMatch(/^dstack_simulated_platform 1$/m);
  });

  it("are those of the machine", async () => {
    const { text } = await curl(`${open.url}/metrics`);
    const total = Number(/^dstack_guest_memory_total_bytes (\S+)$/m.exec(text)?.[1]);
    const info = await curlJson(`${open.url}/prpc/Worker.SysInfo`);
    expect(total).toBe(info["total_memory"]);
    expect(text).toMatch(/^process_resident_memory_bytes /m);
  });
});

describe("the TLS listener", () => {
  const get = (
    path: string,
    maxVersion: "TLSv1.2" | "TLSv1.3" = "TLSv1.3",
  ): Promise<{ text: string; peer: X509Certificate }> =>
    new Promise((resolve, reject) => {
      const request = httpsRequest(
        {
          host: "127.0.0.1",
          port: open.tappd.external.tlsPort,
          path,
          agent: false,
          maxVersion,
          ca: open.guest.kms.ca.certPem,
          servername: open.guest.appId,
        },
        (response) => {
          const peer = (response.socket as TLSSocket).getPeerX509Certificate();
          let text = "";
          response.on("data", (chunk: Buffer) => (text += chunk.toString()));
          response.on("end", () =>
            peer === undefined ? reject(new Error("no certificate")) : resolve({ text, peer }),
          );
        },
      );
      request.on("error", reject);
      request.end();
    });

  it("serves the same under a certificate that chains to the KMS root", async () => {
    const { text } = await get("/prpc/Worker.Info");
    expect(JSON.parse(text)).toMatchObject({ app_id: open.guest.appId });
    expect((await get("/")).text).toContain("<h1>");
  });

  it("E4: its certificate carries evidence over its own key", async () => {
    const { peer } = await get("/healthz");
    const evidence = readEvidence(peer.raw);
    if (evidence === undefined) throw new Error("no evidence");
    const now = Math.floor(Date.now() / 1000);
    const spki = peer.publicKey.export({ type: "spki", format: "der" });
    const { identity } = verifyEvidence({
      ...evidence,
      collateral: platform.collateral(now),
      now,
      anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
      reportData: sha512("ratls-cert:", spki),
    });
    // E5: the KMS refuses evidence with this flag, whoever got hold of the certificate's key.
    expect(identity).toMatchObject({ appId: open.guest.appId, systemReady: true });
    expect(evidence.appId).toBe(open.guest.appId);
    expect(Date.parse(peer.validTo) - Date.parse(peer.validFrom)).toBeLessThanOrEqual(10 * 86_400_000);
  });

  it("speaks TLS 1.3 only", async () => {
    await expect(get("/healthz", "TLSv1.2")).rejects.toThrow();
  });
});
