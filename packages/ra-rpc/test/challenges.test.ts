import { Agent, request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import type { TLSSocket } from "node:tls";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { freshReportData } from "@dstack/attestation";
import { hex } from "@dstack/core";
import { implement } from "@dstack/prpc";
import type { Call, ServiceImpl } from "@dstack/prpc";
import { EmptySchema, kms } from "@dstack/proto";
import { loadP256 } from "@dstack/ra-tls";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { describe, expect, it } from "vitest";
import { Challenges, attested } from "../src/index.js";
import type { ServerIdentity } from "../src/index.js";
import { sessionOf } from "../src/session.js";
import { appIdOf, dial, guest, guestEvidence, listen, verifier } from "./site.js";

/** A KMS that wants fresh evidence. */
function freshKms(
  challenges = new Challenges({ purpose: "kms-challenge", verifier }),
): ServiceImpl<VerifiedPeer> {
  return implement<typeof kms.KMS, VerifiedPeer>(
    kms.KMS,
    {
      getChallenge: async (_request, call) => challenges.issue(call),
      getAppKey: async ({ freshEvidence }, call) => {
        if (freshEvidence === undefined) throw new Error("no evidence");
        return { appKey: (await challenges.verify(call, freshEvidence)).appId };
      },
      getAppEnvEncryptPubKey: async () => ({}),
      getMeta: async () => ({}),
    },
    { guard: attested },
  );
}

/** What a guest of {@link guest} answers on a connection. */
async function answer(
  socket: TLSSocket,
  { key }: ServerIdentity,
  challenge: Uint8Array,
): Promise<
  Required<Pick<MessageInitShape<typeof kms.FreshEvidenceSchema>, "challenge" | "quote" | "eventLog">>
> {
  const { exporter } = sessionOf(socket);
  const spki = loadP256(key).publicKeySpki;
  const evidence = await guestEvidence(freshReportData("kms-challenge", { challenge, exporter, spki }));
  return { challenge, ...evidence };
}

const tlsOf = ({ key, certChain }: ServerIdentity) => ({ key, cert: certChain });

describe("E13: fresh evidence whatever a call comes by", () => {
  it("E13: as JSON over one kept connection, and not over a second one", async () => {
    await using server = await listen({ services: [freshKms()] });
    const identity = await guest();
    const open = async (): Promise<{ socket: TLSSocket; call: typeof post }> => {
      const socket = await dial(server.port, tlsOf(identity));
      const agent = Object.assign(new Agent({ keepAlive: true, maxSockets: 1 }), {
        createConnection: () => socket,
      });
      const post = (
        method: string,
        body: object,
      ): Promise<{ status: number; json: Record<string, string> }> =>
        new Promise((resolve, reject) => {
          const call = request({ agent, method: "POST", path: `/prpc/KMS.${method}?json` }, (response) => {
            let text = "";
            response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
            response.once("end", () =>
              resolve({ status: response.statusCode ?? 0, json: JSON.parse(text) as Record<string, string> }),
            );
          });
          call.once("error", reject);
          call.end(JSON.stringify(body));
        });
      return { socket, call: post };
    };
    const first = await open();
    const second = await open();
    const answerOn = async (socket: TLSSocket, challenge: string | undefined) => {
      const { quote, eventLog } = await answer(socket, identity, Buffer.from(challenge ?? "", "hex"));
      return { fresh_evidence: { challenge, quote: hex(quote), event_log: eventLog } };
    };
    const { json } = await first.call("GetChallenge", {});
    expect(json).toEqual({
      challenge: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      expires_in_seconds: 30,
    });
    const elsewhere = await answerOn(second.socket, json["challenge"]);
    expect((await second.call("GetAppKey", elsewhere)).status).toBe(409);
    const here = await answerOn(first.socket, json["challenge"]);
    expect(await first.call("GetAppKey", here)).toMatchObject({
      status: 200,
      json: { app_key: appIdOf("app") },
    });
    expect((await first.call("GetAppKey", here)).status).toBe(409);
    first.socket.destroy();
    second.socket.destroy();
  });

  it("E13: over gRPC, each connection by itself", async () => {
    await using server = await listen({ services: [freshKms()], grpcPort: 0 });
    const identity = await guest();
    const open = async () => {
      const socket = await dial(server.grpcPort ?? 0, { ...tlsOf(identity), ALPNProtocols: ["h2"] });
      const session = connectHttp2(server.url, { createConnection: () => socket });
      const call = (method: string, body: Uint8Array): Promise<{ status: string; body: Uint8Array }> =>
        new Promise((resolve, reject) => {
          const stream = session.request({
            ":method": "POST",
            ":path": `/kms.KMS/${method}`,
            "content-type": "application/grpc+proto",
            te: "trailers",
          });
          const chunks: Buffer[] = [];
          let status = "";
          const seen = (headers: Record<string, unknown>): void => {
            if ("grpc-status" in headers) status = String(headers["grpc-status"]);
          };
          stream.on("response", seen).on("trailers", seen);
          stream.on("data", (chunk: Buffer) => chunks.push(chunk)).once("error", reject);
          stream.once("end", () => resolve({ status, body: Buffer.concat(chunks).subarray(5) }));
          const head = Buffer.alloc(5);
          head.writeUInt32BE(body.length, 1);
          stream.end(Buffer.concat([head, body]));
        });
      return { socket, call, close: () => session.destroy() };
    };
    const first = await open();
    const second = await open();
    const nothing = toBinary(EmptySchema, create(EmptySchema));
    const { challenge } = fromBinary(
      kms.GetChallengeResponseSchema,
      (await first.call("GetChallenge", nothing)).body,
    );
    const requestOn = async (socket: TLSSocket): Promise<Uint8Array> => {
      const freshEvidence = await answer(socket, identity, challenge);
      return toBinary(kms.GetAppKeyRequestSchema, create(kms.GetAppKeyRequestSchema, { freshEvidence }));
    };
    const FAILED_PRECONDITION = "9";
    expect(await second.call("GetAppKey", await requestOn(second.socket))).toMatchObject({
      status: FAILED_PRECONDITION,
    });
    const { status, body } = await first.call("GetAppKey", await requestOn(first.socket));
    expect(status).toBe("0");
    expect(fromBinary(kms.AppKeyResponseSchema, body).appKey).toBe(appIdOf("app"));
    first.close();
    second.close();
  });
});

describe("Challenges", () => {
  const callOver = (session = { exporter: new Uint8Array(32) }): Call<VerifiedPeer> => ({
    peer: undefined,
    session,
    signal: new AbortController().signal,
    requestId: "1",
    remoteAddress: "127.0.0.1",
  });

  it("E13: a flood of GetChallenge holds a bounded number, and room comes back with time", () => {
    let now = 0;
    const options = { purpose: "kms-challenge", verifier, maxOutstanding: 3, lifetimeMs: 1000 } as const;
    const challenges = new Challenges({ ...options, clock: () => now });
    const first = callOver();
    // One connection has one challenge, however often it asks.
    for (let i = 0; i < 100; i += 1) challenges.issue(first);
    now = 500;
    challenges.issue(callOver());
    challenges.issue(callOver());
    expect(() => challenges.issue(callOver())).toThrow(
      expect.objectContaining({ code: "too_many" }) as Error,
    );
    expect(() => challenges.issue(first)).not.toThrow();
    now = 1499;
    expect(() => challenges.issue(callOver())).toThrow(/too many/);
    now = 1500;
    for (let i = 0; i < 3; i += 1) challenges.issue(callOver());
    expect(() => challenges.issue(callOver())).toThrow(/too many/);
  });

  it("never gives the same challenge twice", () => {
    const challenges = new Challenges({ purpose: "kms-challenge", verifier });
    const call = callOver();
    const made = Array.from({ length: 100 }, () => hex(challenges.issue(call).challenge));
    expect(new Set(made).size).toBe(100);
  });

  it("E13: does not work on a connection it knows nothing of", async () => {
    const challenges = new Challenges({ purpose: "kms-challenge", verifier });
    const { session: _none, ...bare } = callOver();
    expect(() => challenges.issue(bare)).toThrow(/RA-TLS/);
    const nobody = { challenge: new Uint8Array(32), quote: new Uint8Array(), eventLog: "[]" };
    await expect(challenges.verify(callOver(), nobody)).rejects.toMatchObject({ code: "unauthenticated" });
  });
});
