import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { raTlsReportData, runtimeEvent } from "@dstack/attestation";
import { sha512 } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { RpcError, createClient, implement } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { listenRaRpc } from "@dstack/ra-rpc";
import type { RaTlsSession } from "@dstack/ra-rpc";
import { generateP256 } from "@dstack/ra-tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { issueServerCert } from "../src/index.js";
import type { Kms } from "../src/index.js";
import { bootGuest, callRaw, evidenceOf, guestClient, guestTransport, install, start } from "./guest.js";
import type { Guest, GuestOptions, Installation } from "./guest.js";

let installation: Installation;
let server: Kms;
let monotonicMs = 0;

beforeAll(async () => {
  installation = await install({ require_fresh_evidence: true });
  server = await start(installation, { monotonicClock: () => monotonicMs });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const READY = runtimeEvent("system-ready", new Uint8Array());
const guestOf = (options: Partial<GuestOptions> = {}): Promise<Guest> =>
  bootGuest({ caPem: installation.caPem, ...options });

type KmsClient = ReturnType<typeof createClient<typeof kms.KMS>>;

/** Runs a client's calls over one connection of a guest. */
async function onConnection<T>(
  guest: Guest,
  work: (client: KmsClient, session: RaTlsSession) => Promise<T>,
  key = generateP256(),
): Promise<T> {
  await using transport = await guestTransport(installation.caPem, server.url, guest, key);
  return await transport.withSession((session) => work(createClient(kms.KMS, session), session));
}

/** A right answer to a challenge. */
async function answer(guest: Guest, session: RaTlsSession, challenge: Uint8Array) {
  return { challenge, ...(await evidenceOf(guest, session.freshReportData("kms-challenge", challenge))) };
}

async function refusal(call: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await call;
  } catch (err) {
    if (err instanceof RpcError) return { code: err.code, message: err.message };
    throw err;
  }
  return { code: "released", message: "" };
}

const VOID = { code: "conflict", message: expect.stringContaining("ask for a new one") as string };
const OTHER_REPORT_DATA = {
  code: "permission_denied",
  message: expect.stringContaining("other report data") as string,
};

describe("E13: key release to fresh evidence", () => {
  it("gives a guest its keys for a quote over the challenge, on the connection it was given on", async () => {
    const guest = await guestOf();
    const keys = await onConnection(guest, async (client, session) => {
      const { challenge, expiresInSeconds } = await client.getChallenge();
      expect(challenge.length).toBe(32);
      expect(expiresInSeconds).toBe(30);
      return client.getAppKey({ freshEvidence: await answer(guest, session, challenge) });
    });
    expect(keys.certificateChain.length).toBe(2);
  });

  it("E13: a challenge is used up by its answer, and so is the quote", async () => {
    const guest = await guestOf();
    await onConnection(guest, async (client, session) => {
      const { challenge } = await client.getChallenge();
      const freshEvidence = await answer(guest, session, challenge);
      await client.getAppKey({ freshEvidence });
      expect(await refusal(client.getAppKey({ freshEvidence }))).toEqual(VOID);
      await client.getChallenge();
      expect(await refusal(client.getAppKey({ freshEvidence }))).toEqual(VOID);
    });
  });

  it("E13: a challenge is used up by an answer that is refused", async () => {
    const guest = await guestOf();
    await onConnection(guest, async (client, session) => {
      const { challenge } = await client.getChallenge();
      const good = await answer(guest, session, challenge);
      const bad = { challenge, ...(await evidenceOf(guest, new Uint8Array(64))) };
      expect(await refusal(client.getAppKey({ freshEvidence: bad }))).toEqual(OTHER_REPORT_DATA);
      expect(await refusal(client.getAppKey({ freshEvidence: good }))).toEqual(VOID);
      // A guess at the challenge uses it up as well.
      const { challenge: next } = await client.getChallenge();
      const guessed = await answer(guest, session, new Uint8Array(32));
      expect(await refusal(client.getAppKey({ freshEvidence: guessed }))).toEqual(VOID);
      const late = await answer(guest, session, next);
      expect(await refusal(client.getAppKey({ freshEvidence: late }))).toEqual(VOID);
    });
  });

  it("E13: a challenge of another connection of the same guest, with the same key, is none", async () => {
    const guest = await guestOf();
    const key = generateP256();
    await onConnection(
      guest,
      async (first) => {
        const { challenge } = await first.getChallenge();
        await onConnection(
          guest,
          async (second, session) => {
            await second.getMeta();
            const freshEvidence = await answer(guest, session, challenge);
            expect(await refusal(second.getAppKey({ freshEvidence }))).toEqual(VOID);
            await second.getChallenge();
            expect(await refusal(second.getAppKey({ freshEvidence }))).toEqual(VOID);
          },
          key,
        );
      },
      key,
    );
  });

  it("E13: a quote over the challenge and another connection's exporter is refused", async () => {
    const guest = await guestOf();
    const key = generateP256();
    await onConnection(
      guest,
      async (first, elsewhere) => {
        await first.getMeta();
        await onConnection(
          guest,
          async (client) => {
            const { challenge } = await client.getChallenge();
            const freshEvidence = await answer(guest, elsewhere, challenge);
            expect(await refusal(client.getAppKey({ freshEvidence }))).toEqual(OTHER_REPORT_DATA);
          },
          key,
        );
      },
      key,
    );
  });

  it("E13: a challenge expires, by a clock that nobody can set", async () => {
    const guest = await guestOf();
    await onConnection(guest, async (client, session) => {
      const { challenge: first } = await client.getChallenge();
      const inTime = await answer(guest, session, first);
      monotonicMs += 29_999;
      expect((await client.getAppKey({ freshEvidence: inTime })).certificateChain.length).toBe(2);
      const { challenge: second } = await client.getChallenge();
      const late = await answer(guest, session, second);
      monotonicMs += 30_000;
      expect(await refusal(client.getAppKey({ freshEvidence: late }))).toEqual(VOID);
    });
  });

  it("E13: a second challenge takes the place of the first", async () => {
    const guest = await guestOf();
    await onConnection(guest, async (client, session) => {
      const { challenge: first } = await client.getChallenge();
      const { challenge: second } = await client.getChallenge();
      expect(second).not.toEqual(first);
      const freshEvidence = await answer(guest, session, first);
      expect(await refusal(client.getAppKey({ freshEvidence }))).toEqual(VOID);
    });
  });

  it("E13: a connection that was closed in between fails as one to be tried again", async () => {
    const guest = await guestOf();
    await using short = await start(installation);
    await using transport = await guestTransport(installation.caPem, short.url, guest);
    await transport.withSession(async (session) => {
      const client = createClient(kms.KMS, session);
      const { challenge } = await client.getChallenge();
      const freshEvidence = await answer(guest, session, challenge);
      await short[Symbol.asyncDispose]();
      expect(await refusal(client.getAppKey({ freshEvidence }))).toEqual({
        code: "unavailable",
        // The request may be on its way when the end comes.
        message: expect.stringMatching(/connection|closed|ECONNRESET|EPIPE/) as string,
      });
    });
  });
});

describe("E13: what is no fresh evidence", () => {
  const refusedOver = async (reportData: (session: RaTlsSession, challenge: Uint8Array) => Uint8Array) => {
    const guest = await guestOf();
    return await onConnection(guest, async (client, session) => {
      const { challenge } = await client.getChallenge();
      const evidence = await evidenceOf(guest, reportData(session, challenge));
      return await refusal(client.getAppKey({ freshEvidence: { challenge, ...evidence } }));
    });
  };

  it("E13: quotes under other tags: of a container's, of the certificate, of a replica's hand-over", async () => {
    const over = (session: RaTlsSession, challenge: Uint8Array): Uint8Array =>
      session.freshReportData("kms-challenge", challenge);
    expect(await refusedOver((session, c) => sha512("app-data:", over(session, c)))).toEqual(
      OTHER_REPORT_DATA,
    );
    expect(await refusedOver((_session, c) => sha512("app-data:", c))).toEqual(OTHER_REPORT_DATA);
    expect(await refusedOver((session, c) => session.freshReportData("kms-onboard", c))).toEqual(
      OTHER_REPORT_DATA,
    );
    expect(await refusedOver((_session, c) => sha512("kms-challenge:", c))).toEqual(OTHER_REPORT_DATA);
    expect((await refusedOver(over)).code).toBe("released");
  });

  it("E13: the quote in the certificate, once more", async () => {
    const guest = await guestOf();
    const key = generateP256();
    const freshEvidence = await evidenceOf(guest, raTlsReportData(key.publicKeySpki));
    const refused = onConnection(
      guest,
      async (client) => {
        const { challenge } = await client.getChallenge();
        return await client.getAppKey({ freshEvidence: { challenge, ...freshEvidence } });
      },
      key,
    );
    expect(await refusal(refused)).toEqual(OTHER_REPORT_DATA);
  });

  it.each([
    ["another instance of the app", { instance: "another" }],
    ["another app", { compose: "another" }],
  ])("E13: the quote of another VM: %s", async (_what, options) => {
    const guest = await guestOf();
    const other = await guestOf(options);
    const refused = onConnection(guest, async (client, session) => {
      const { challenge } = await client.getChallenge();
      return await client.getAppKey({ freshEvidence: await answer(other, session, challenge) });
    });
    expect(await refusal(refused)).toEqual({
      code: "permission_denied",
      message: expect.stringContaining("not of the guest in the certificate: rtmr3") as string,
    });
  });

  it("E13, E1, E2: the second quote is verified as strictly as the first", async () => {
    const guest = await guestOf();
    await onConnection(guest, async (client, session) => {
      const flipped = await client.getChallenge();
      const forged = await answer(guest, session, flipped.challenge);
      const middle = 300;
      forged.quote = forged.quote.map((byte, at) => (at === middle ? byte ^ 1 : byte));
      expect((await refusal(client.getAppKey({ freshEvidence: forged }))).code).toBe("permission_denied");

      const { challenge } = await client.getChallenge();
      const edited = await answer(guest, session, challenge);
      const events = JSON.parse(edited.eventLog) as unknown[];
      edited.eventLog = JSON.stringify([...events, runtimeEvent("key-provider", new Uint8Array())]);
      expect(await refusal(client.getAppKey({ freshEvidence: edited }))).toEqual({
        code: "permission_denied",
        message: expect.stringContaining("replay") as string,
      });
      const { challenge: last } = await client.getChallenge();
      const empty = { challenge: last, quote: new Uint8Array(), eventLog: "" };
      expect((await refusal(client.getAppKey({ freshEvidence: empty }))).code).toBe("permission_denied");
    });
  });

  it("E5, E13: any quote a container can obtain: its log contains system-ready", async () => {
    // The certificate is from before, its key was stolen; the quote is RawQuote's, over whatever the container likes.
    const before = await guestOf();
    const after = await guestOf({ edit: (events) => [...events, READY] });
    const relayed = onConnection(before, async (client, session) => {
      const { challenge } = await client.getChallenge();
      return await client.getAppKey({ freshEvidence: await answer(after, session, challenge) });
    });
    expect((await refusal(relayed)).code).toBe("permission_denied");
    // With a certificate of its own it gets no challenge.
    const direct = onConnection(after, (client) => client.getChallenge());
    expect(await refusal(direct)).toEqual({
      code: "permission_denied",
      message: expect.stringContaining("system-ready") as string,
    });
  });
});

describe("E13: relay", () => {
  /**
   * The worst an attacker in the network can have: the key of the guest's certificate, and a server certificate of the
   * KMS's root. He poses as the KMS to the guest and as the guest to the KMS.
   */
  async function relay(honest: boolean): Promise<{ code: string; message: string }> {
    const guest = await guestOf();
    const key = generateP256();
    const stolen = await guestTransport(installation.caPem, server.url, guest, key);
    await using upstream = stolen;
    return await upstream.withSession(async (session) => {
      const kmsOfAttacker = createClient(kms.KMS, session);
      const certificate = join(installation.dir, `relay-${honest}.pem`);
      const keyFile = join(installation.dir, `relay-${honest}.key`);
      await issueServerCert(join(installation.dir, "certs"), {
        outCert: certificate,
        outKey: keyFile,
        commonName: "tproxy",
        altNames: ["127.0.0.1"],
      });
      await using inTheMiddle = await listenRaRpc({
        host: "127.0.0.1",
        port: 0,
        key: await readFile(keyFile, "utf8"),
        certChain: await readFile(certificate, "utf8"),
        log: silentLogger(),
        services: [
          implement(kms.KMS, {
            getChallenge: () => kmsOfAttacker.getChallenge(),
            getAppKey: (request) => kmsOfAttacker.getAppKey(request),
            getMeta: () => kmsOfAttacker.getMeta(),
            getAppEnvEncryptPubKey: (request) => kmsOfAttacker.getAppEnvEncryptPubKey(request),
          }),
        ],
      });
      await using victim = await guestTransport(installation.caPem, inTheMiddle.url, guest, key);
      return await victim.withSession(async (own) => {
        const client = createClient(kms.KMS, own);
        const { challenge } = await client.getChallenge();
        // The guest quotes over its own end of the connection. "Dishonest" is the control: over the attacker's.
        const freshEvidence = await answer(guest, honest ? own : session, challenge);
        return await refusal(client.getAppKey({ freshEvidence }));
      });
    });
  }

  it("E13: who terminates TLS between guest and KMS gets nothing, even with key and certificates of both", async () => {
    expect(await relay(true)).toEqual(OTHER_REPORT_DATA);
  });

  it("nothing but the connection's exporter stops him", async () => {
    expect((await relay(false)).code).toBe("released");
  });
});

describe("E13: require_fresh_evidence", () => {
  it("E13: on, the certificate's evidence alone releases nothing", async () => {
    const guest = await guestOf();
    await using client = await guestClient(installation, server, guest);
    expect(await refusal(client.getAppKey())).toEqual({
      code: "permission_denied",
      message: expect.stringContaining("GetChallenge") as string,
    });
    expect((await client.getMeta()).allowedMrs).toContain("fresh_evidence required");
    const { body } = await callRaw(server, installation.caPem, "/metrics");
    expect(body).toContain('kms_app_keys_refused_total{rule="fresh_evidence_required"}');
  });

  it("off, guests without GetChallenge get their keys, and bad fresh evidence is no way around", async () => {
    const lax = await install();
    await using old = await start(lax);
    const guest = await bootGuest({ caPem: lax.caPem });
    await using transport = await guestTransport(lax.caPem, old.url, guest);
    const plain = createClient(kms.KMS, transport);
    expect((await plain.getAppKey()).certificateChain.length).toBe(2);
    expect((await plain.getMeta()).allowedMrs).toContain("fresh_evidence optional");
    await transport.withSession(async (session) => {
      const client = createClient(kms.KMS, session);
      const { challenge } = await client.getChallenge();
      const stale = { challenge, ...(await evidenceOf(guest, new Uint8Array(64))) };
      expect(await refusal(client.getAppKey({ freshEvidence: stale }))).toEqual(OTHER_REPORT_DATA);
    });
  });

  it("K1: nobody without evidence gets a challenge", async () => {
    // It is refused before the rest of the body is waited for.
    const unfinished = { "content-length": "100" };
    const { status } = await callRaw(
      server,
      installation.caPem,
      "/prpc/KMS.GetChallenge?json",
      "{",
      unfinished,
    );
    expect(status).toBe(401);
  });
});
