// Runs on a guest's machine: registers, brings the tunnel up, serves HTTP on its address. Each line on its standard input
// is the URL of a node at which it registers again: with a new WireGuard key if the second word is "new", and as another
// instance, which has no tunnel, if it is any other. Each line that it prints is JSON.
// Arguments: RPC URL, CA file, interface name, app, instance.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { errorMessage } from "@dstack/core";
import { createClient } from "@dstack/prpc";
import { tproxy } from "@dstack/proto";
import { raTlsTransport } from "@dstack/ra-rpc";
import { WireGuard, generateKeyPair, parsePublicKey, wgConfig } from "@dstack/wireguard-tools-wrapper";
import { hostCidr } from "../../src/registry/ip-range.js";
import { bootGuest, systemReady } from "../site.js";
import type { Guest } from "../site.js";

const [firstUrl = "", caFile = "", interfaceName = "", app = "", instance = ""] = process.argv.slice(2);
const caPem = readFileSync(caFile, "utf8");
const guest = await bootGuest({ app, instance, kmsCa: caPem });
const wireguard = await WireGuard.open({ interfaceName });
let keys = generateKeyPair();

async function call(url: string, who: Guest, clientPublicKey: string) {
  await using transport = raTlsTransport({
    url,
    caPem,
    ...(await who.identity()),
  });
  return await transport.withSession(async (session) => {
    const client = createClient(tproxy.Tproxy, session);
    const { challenge } = await client.getChallenge({});
    const evidence = await who.evidence(session.freshReportData("tproxy-register", challenge));
    return client.registerCvm({
      clientPublicKey,
      clientVersion: 2,
      freshEvidence: { challenge, ...evidence },
    });
  });
}

async function registerOther(url: string, other: string): Promise<{ ip: string; nodes: number }> {
  const shape = { app, instance: other, kmsCa: caPem };
  const answer = await call(url, await bootGuest(shape), generateKeyPair().publicKey);
  return { ip: answer.wg?.clientIp ?? "", nodes: answer.servers.length };
}

async function register(url: string): Promise<{ ip: string; nodes: number }> {
  const answer = await call(url, guest, keys.publicKey);
  const ip = answer.wg?.clientIp ?? "";
  await wireguard.setAddress(hostCidr(ip));
  const peers = answer.servers.map((server) => ({
    publicKey: parsePublicKey(server.publicKey),
    allowedIps: [hostCidr(server.ip)],
    endpoint: server.endpoint,
    persistentKeepalive: 1,
  }));
  const { listenPort } = await wireguard.dump();
  await wireguard.syncconf(
    wgConfig({ privateKey: keys.privateKey, ...(listenPort === 0 ? {} : { listenPort }), peers }),
  );
  for (const server of answer.servers) await wireguard.addRoute(hostCidr(server.ip));
  return { ip, nodes: answer.servers.length };
}

const say = (what: object): void => void process.stdout.write(`${JSON.stringify(what)}\n`);
const first = await register(firstUrl);
await guest.extend(systemReady);
createServer({ keepAliveTimeout: 0 }, (_request, response) => response.end(instance)).listen(8080, "::", () =>
  say(first),
);

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [url = "", as] = line.split(" ");
    if (as === "new") keys = generateKeyPair();
    const registered = as === undefined || as === "new" ? register(url) : registerOther(url, as);
    registered.then(say, (err: unknown) => say({ error: errorMessage(err) }));
  })
  .once("close", () => void wireguard.close().then(() => process.exit(0)));
