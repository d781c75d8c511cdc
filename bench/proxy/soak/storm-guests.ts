// Guests that register again within seconds, each with its own keys and its own quotes of the simulated platform. Arguments:
// how many, CA file, name in tproxy's certificate, tproxy's URLs with commas between: a guest has one of them, whose address is
// also the one it comes from. Prints who they are, as JSON. A line of stdin, the seconds within which they begin, starts
// them; prints what came of it.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { errorMessage, hex, sha256 } from "../../../packages/core/src/index.js";
import { createClient } from "../../../packages/prpc/src/index.js";
import { tproxy } from "../../../packages/proto/src/index.js";
import { raTlsTransport } from "../../../packages/ra-rpc/src/index.js";
import { generateKeyPair } from "../../../packages/wireguard-tools-wrapper/src/index.js";
import { bootGuest, idOf, systemReady } from "../../../apps/tproxy/test/site.js";

/** One attempt of `tdxctl renew-tunnel` at one node. */
const ATTEMPT_MS = 30_000;
/** As `watch-tunnel` waits where no node is heard: three quarters of it, to all of it. */
const AGAIN_MS = 60_000;
const INSTANCES_OF_AN_APP = 4;

const [count = "0", caFile = "", servername = "", urls = ""] = process.argv.slice(2);
const caPem = readFileSync(caFile, "utf8");
const [lines, sources] = [createInterface({ input: process.stdin }), urls.split(",")];

async function makeGuest(n: number) {
  const [app, instance] = [`storm app ${Math.floor(n / INSTANCES_OF_AN_APP)}`, `storm ${n}`];
  const guest = await bootGuest({ app, instance, kmsCa: caPem });
  await guest.extend(systemReady);
  const record = {
    appId: hex(sha256(app).subarray(0, 20)),
    instanceId: idOf(instance),
    bootKey: hex(sha256(guest.key.publicKeySpki)),
    publicKey: generateKeyPair().publicKey,
  };
  return { record, guest, url: sources[n % sources.length] ?? "", identity: await guest.identity() };
}

type StormGuest = Awaited<ReturnType<typeof makeGuest>>;

/** As a guest does it: a quote in the certificate, and a fresh one over the challenge and the connection. */
async function register({ guest, record, identity, url }: StormGuest): Promise<void> {
  const signal = AbortSignal.timeout(ATTEMPT_MS);
  await using transport = raTlsTransport({ url, caPem, servername, ...identity });
  await transport.withSession(async (session) => {
    const client = createClient(tproxy.Tproxy, session);
    const { challenge } = await client.getChallenge({}, { signal });
    const evidence = await guest.evidence(session.freshReportData("tproxy-register", challenge));
    const freshEvidence = { challenge, ...evidence };
    await client.registerCvm(
      { clientPublicKey: record.publicKey, clientVersion: 2, freshEvidence },
      { signal },
    );
  });
}

const guests: StormGuest[] = [];
for (let n = 0; n < Number(count); n++) guests.push(await makeGuest(n));
process.stdout.write(`${JSON.stringify(guests.map(({ record }) => record))}\n`);

for await (const line of lines) {
  const began = performance.now();
  const refused = new Map<string, number>();
  let slowestMs = 0;
  await Promise.all(
    guests.map(async (guest) => {
      await sleep(Math.random() * Number(line) * 1000);
      for (;;) {
        const at = performance.now();
        try {
          await register(guest);
          slowestMs = Math.max(slowestMs, performance.now() - at);
          return;
        } catch (err) {
          const why = errorMessage(err);
          refused.set(why, (refused.get(why) ?? 0) + 1);
          await sleep(AGAIN_MS * (1 - Math.random() / 4));
        }
      }
    }),
  );
  process.stdout.write(
    `${JSON.stringify({ tookMs: performance.now() - began, refused: [...refused], slowestMs })}\n`,
  );
}
