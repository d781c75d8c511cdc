import { sha512 } from "@dstack/core";
import type { RaTlsSession } from "@dstack/ra-rpc";
import { raTlsTransport } from "@dstack/ra-rpc";
import { generateP256 } from "@dstack/ra-tls";
import { createClient } from "@dstack/prpc";
import type { Client } from "@dstack/prpc";
import { tproxy } from "@dstack/proto";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { parseInstanceId } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { TproxyConfig } from "../src/index.js";
import type { Tproxy } from "../src/index.js";
import { bootGuest, ca, idOf, makeSite, start, systemReady } from "./site.js";
import type { Guest, Site } from "./site.js";

const newKey = (): string => generateKeyPair().publicKey;
const NOT_THE_KEY = {
  status: 403,
  message: expect.stringContaining("not the one that the VM registered with") as string,
};

/** Work on one connection that is made with the guest's certificate of this moment, for its own key or another one. */
async function onConnection<T>(
  server: Tproxy,
  guest: Guest,
  work: (client: Client<typeof tproxy.Tproxy>, session: RaTlsSession) => Promise<T>,
  key = guest.key,
): Promise<T> {
  await using transport = raTlsTransport({
    url: server.url,
    caPem: ca.certPem,
    ...(await guest.identity(key)),
  });
  return await transport.withSession((session) => work(createClient(tproxy.Tproxy, session), session));
}

const register = (server: Tproxy, guest: Guest, clientPublicKey = newKey(), key = guest.key) =>
  onConnection(server, guest, (client) => client.registerCvm({ clientPublicKey }), key);

const registerFresh = (server: Tproxy, guest: Guest, clientPublicKey = newKey(), key = guest.key) =>
  onConnection(
    server,
    guest,
    async (client, session) => {
      const { challenge } = await client.getChallenge({});
      const evidence = await guest.evidence(session.freshReportData("tproxy-register", challenge));
      return client.registerCvm({ clientPublicKey, freshEvidence: { challenge, ...evidence } });
    },
    key,
  );

const demanding = (site: Site): Site => ({
  ...site,
  config: TproxyConfig.parse({ ...site.input, require_fresh_evidence: true }),
});

describe("E14: registering again, after system-ready", () => {
  it("E14: the TLS key of the boot registers again, with and without fresh evidence, and keeps its address", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const guest = await bootGuest();
    const before = await registerFresh(server, guest);
    await guest.extend(systemReady);
    const key = newKey();
    expect((await registerFresh(server, guest, key)).wg?.clientIp).toBe(before.wg?.clientIp);
    expect((await register(server, guest, key)).wg?.clientIp).toBe(before.wg?.clientIp);
  });

  it("E14: it does so at a tproxy that was started again, and after it was recycled there", async () => {
    await using site = await makeSite();
    const guest = await bootGuest();
    {
      await using server = await start(site);
      await registerFresh(server, guest);
    }
    await guest.extend(systemReady);
    await using server = await start(site);
    expect((await register(server, guest)).wg?.clientIp).toBe("10.77.0.2");
  });

  it("E14: a container's quote over its own key registers nothing, nor gets it a challenge", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const late = await bootGuest();
    const containerKey = generateP256();
    await late.extend(systemReady);
    // Before the VM has registered, and after.
    await expect(register(server, late, newKey(), containerKey)).rejects.toMatchObject(NOT_THE_KEY);
    await expect(register(server, late)).rejects.toMatchObject(NOT_THE_KEY);
    const early = await bootGuest();
    await registerFresh(server, early);
    await early.extend(systemReady);
    await expect(register(server, early, newKey(), containerKey)).rejects.toMatchObject(NOT_THE_KEY);
    await expect(registerFresh(server, early, newKey(), containerKey)).rejects.toMatchObject(NOT_THE_KEY);
    for (const guest of [late, early]) {
      const asked = onConnection(server, guest, (client) => client.getChallenge({}), containerKey);
      await expect(asked).rejects.toMatchObject(NOT_THE_KEY);
    }
  });

  it("E14: a certificate for the VM's key is of no use without that key", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const guest = await bootGuest();
    await registerFresh(server, guest);
    await guest.extend(systemReady);
    const { certChain } = await guest.identity(); // any container can have the quote in it made
    const transport = raTlsTransport({
      url: server.url,
      caPem: ca.certPem,
      certChain,
      key: generateP256().privateKeyPem,
    });
    const client = createClient(tproxy.Tproxy, transport);
    await expect(client.registerCvm({ clientPublicKey: newKey() })).rejects.toMatchObject({
      code: "unavailable",
    });
    await transport[Symbol.asyncDispose]();
  });

  it("E14: the key of another instance, of another app, or of an earlier boot is not the key", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const [victim, other, foreign, earlier] = await Promise.all([
      bootGuest({ instance: "victim" }),
      bootGuest({ instance: "other" }),
      bootGuest({ app: "foreign", instance: "foreign" }),
      bootGuest({ instance: "victim" }),
    ]);
    await registerFresh(server, earlier);
    for (const guest of [victim, other, foreign]) await registerFresh(server, guest);
    for (const guest of [victim, other, foreign, earlier]) await guest.extend(systemReady);
    for (const { key } of [other, foreign, earlier]) {
      await expect(register(server, victim, newKey(), key)).rejects.toMatchObject(NOT_THE_KEY);
    }
    await register(server, victim);
  });

  it("E14: an instance that an operator removed comes back with its next boot, not before", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const guest = await bootGuest({ instance: "a" });
    await registerFresh(server, guest);
    await guest.extend(systemReady);
    await server.registry.remove(parseInstanceId(idOf("a")));
    await expect(register(server, guest)).rejects.toMatchObject(NOT_THE_KEY);
    await registerFresh(server, await bootGuest({ instance: "a" }));
  });
});

describe("E13: fresh evidence for a registration", () => {
  it("E13: where it is wanted a copied key alone registers nothing, and older guests learn why", async () => {
    await using site = await makeSite();
    await using server = await start(demanding(site));
    const guest = await bootGuest();
    const wanted = { status: 403, message: expect.stringContaining("wants fresh evidence") as string };
    await expect(register(server, guest)).rejects.toMatchObject(wanted);
    await registerFresh(server, guest);
    await guest.extend(systemReady);
    await expect(register(server, guest)).rejects.toMatchObject(wanted);
    await registerFresh(server, guest);
  });

  it("E13: evidence of another connection, or used once, is none", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const guest = await bootGuest();
    const used = await onConnection(server, guest, async (client, session) => {
      const { challenge } = await client.getChallenge({});
      const evidence = await guest.evidence(session.freshReportData("tproxy-register", challenge));
      const freshEvidence = { challenge, ...evidence };
      await client.registerCvm({ clientPublicKey: newKey(), freshEvidence });
      const replayed = client.registerCvm({ clientPublicKey: newKey(), freshEvidence });
      await expect(replayed).rejects.toMatchObject({ code: "conflict" });
      return freshEvidence;
    });
    await onConnection(server, guest, async (client) => {
      await client.getChallenge({});
      const replayed = client.registerCvm({ clientPublicKey: newKey(), freshEvidence: used });
      await expect(replayed).rejects.toMatchObject({ code: "conflict" });
    });
  });

  it("E13: a quote for another purpose, or that a container can have made under its tag, is none", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const guest = await bootGuest();
    for (const over of [
      (session: RaTlsSession, c: Uint8Array) => session.freshReportData("kms-challenge", c),
      (session: RaTlsSession, c: Uint8Array) =>
        sha512("app-data:", session.freshReportData("tproxy-register", c)),
    ]) {
      await onConnection(server, guest, async (client, session) => {
        const { challenge } = await client.getChallenge({});
        const evidence = await guest.evidence(over(session, challenge));
        const refused = client.registerCvm({
          clientPublicKey: newKey(),
          freshEvidence: { challenge, ...evidence },
        });
        await expect(refused).rejects.toMatchObject({ status: 403 });
      });
    }
  });
});
