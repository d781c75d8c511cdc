// Runs on a guest's machine: registers, brings the tunnel up, serves HTTP on its address. Each line on its standard input
// is the URL of a node at which it registers again, with a new WireGuard key if a second word says so; each line that it
// prints is JSON.
// Arguments: RPC URL, CA file, interface name, app, instance.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { errorMessage } from "@dstack/core";
import { createClient } from "@dstack/prpc";
import { tproxy } from "@dstack/proto";
import { raTlsTransport } from "@dstack/ra-rpc";
import { WireGuard, generateKeyPair, parsePublicKey, wgConfig } from "@dstack/wireguard-tools-wrapper";
import { bootGuest, systemReady } from "../site.js";

const [firstUrl = "", caFile = "", interfaceName = "", app = "", instance = ""] = process.argv.slice(2);
const guest = await bootGuest({ app, instance });
const wireguard = await WireGuard.open({ interfaceName });
let keys = generateKeyPair();

async function register(url: string): Promise<{ ip: string; nodes: number }> {
  await using transport = raTlsTransport({
    url,
    caPem: readFileSync(caFile, "utf8"),
    ...(await guest.identity()),
  });
  const answer = await transport.withSession(async (session) => {
    const client = createClient(tproxy.Tproxy, session);
    const { challenge } = await client.getChallenge({});
    const evidence = await guest.evidence(session.freshReportData("tproxy-register", challenge));
    return client.registerCvm({
      clientPublicKey: keys.publicKey,
      clientVersion: 2,
      freshEvidence: { challenge, ...evidence },
    });
  });
  const ip = answer.wg?.clientIp ?? "";
  await wireguard.setAddress(`${ip}/32`);
  const peers = answer.servers.map((server) => ({
    publicKey: parsePublicKey(server.publicKey),
    allowedIps: [`${server.ip}/32`],
    endpoint: server.endpoint,
    persistentKeepalive: 1,
  }));
  const { listenPort } = await wireguard.dump();
  await wireguard.syncconf(
    wgConfig({ privateKey: keys.privateKey, ...(listenPort === 0 ? {} : { listenPort }), peers }),
  );
  for (const server of answer.servers) await wireguard.addRoute(`${server.ip}/32`);
  return { ip, nodes: answer.servers.length };
}

const say = (what: object): void => void process.stdout.write(`${JSON.stringify(what)}\n`);
const first = await register(firstUrl);
await guest.extend(systemReady);
createServer({ keepAliveTimeout: 0 }, (_request, response) => response.end(instance)).listen(
  8080,
  "0.0.0.0",
  () => say(first),
);

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [url = "", newKey] = line.split(" ");
    if (newKey !== undefined) keys = generateKeyPair();
    register(url).then(say, (err: unknown) => say({ error: errorMessage(err) }));
  })
  .once("close", () => void wireguard.close().then(() => process.exit(0)));
