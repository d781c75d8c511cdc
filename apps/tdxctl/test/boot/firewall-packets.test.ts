import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { tproxy } from "@dstack/proto";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { Namespace, namespacesUnavailable } from "@dstack/wireguard-tools-wrapper/testing";
import { afterEach, describe, expect, it } from "vitest";
import { firewallRules, parseTunnel } from "../../src/boot/tunnel/tunnel.js";

/** Who is at which end: tproxy and its neighbour on one side of the tunnel, the guest with its container on the other. */
const FAMILIES = {
  IPv4: {
    ...{
      version: "-4",
      table: "ip",
      prefix: 24,
      tproxy: "10.4.0.1",
      neighbour: "10.4.0.9",
      guest: "10.4.0.7",
    },
    ...{
      bridge: "172.18.0.1",
      container: "172.18.0.2",
      containers: "172.18.0.0/24",
      published: "172.18.0.2:80",
    },
  },
  IPv6: {
    ...{
      version: "-6",
      table: "ip6",
      prefix: 64,
      tproxy: "fd00:4::1",
      neighbour: "fd00:4::9",
      guest: "fd00:4::7",
    },
    ...{
      bridge: "fd00:18::1",
      container: "fd00:18::2",
      containers: "fd00:18::/64",
      published: "[fd00:18::2]:80",
    },
  },
} as const;
type Family = (typeof FAMILIES)[keyof typeof FAMILIES];

const MACS = { tproxy: "02:00:00:00:00:01", guest: "02:00:00:00:00:02" };
const TCP_PORTS = [22, 80, 8090, 9000];
const UDP_PORT = 80;
/** Published ports of the container: one that the compose document names, one that it does not. */
const [PUBLISHED, UNNAMED] = [7070, 7071];

const listeners = `
  const tcp = ${JSON.stringify(TCP_PORTS)}.map((port) =>
    new Promise((up) => require("node:net").createServer((socket) => socket.end()).listen(port, "::", up)));
  const udp = require("node:dgram").createSocket("udp6");
  udp.on("message", (bytes, { port, address }) => udp.send(bytes, port, address));
  Promise.all([...tcp, new Promise((up) => udp.bind(${UDP_PORT}, "::", up))]).then(() => console.log("up"));`;

interface Probe {
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly udp?: boolean;
}

/** Whether each gets an answer in 2 s. */
const prober = `
  const answers = ({ from, to, port, udp }) => new Promise((resolve) => {
    setTimeout(resolve, 2000, false);
    if (udp) {
      const socket = require("node:dgram").createSocket(from.includes(":") ? "udp6" : "udp4");
      socket.on("message", () => resolve(true)).on("error", () => {});
      socket.bind({ address: from }, () => socket.send("x", port, to));
    } else {
      const socket = require("node:net").connect({ host: to, port, localAddress: from });
      socket.on("connect", () => resolve(true)).on("error", () => {});
    }
  });
  Promise.all(JSON.parse(process.argv[1]).map(answers)).then((all) => {
    console.log(JSON.stringify(all));
    process.exit();
  });`;

const open: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

async function namespace(): Promise<Namespace> {
  const made = await Namespace.create();
  // An IPv6 address is there at once, not after a look for others that have it.
  await made.run(
    "sh",
    "-c",
    "for all in all default; do echo 0 > /proc/sys/net/ipv6/conf/$all/accept_dad; done",
  );
  open.push(() => made[Symbol.asyncDispose]());
  return made;
}

async function listenIn(where: Namespace): Promise<void> {
  const child: ChildProcess = spawn(...where.enter(process.execPath, "-e", listeners), {
    stdio: ["ignore", "pipe", "inherit"],
  });
  open.push(() => void child.kill("SIGKILL"));
  if (child.stdout !== null) await once(child.stdout, "data");
}

/** A guest whose tunnel is a cable, with one container behind it as Docker has them. */
async function makeGuest(family: Family): Promise<{ guest: Namespace; tproxy: Namespace }> {
  const [guest, tproxy, container] = [await namespace(), await namespace(), await namespace()];
  const ip = (where: Namespace, command: string) => where.run("ip", ...command.split(" "));
  const { prefix, version } = family;
  await ip(
    tproxy,
    `link add tunnel address ${MACS.tproxy} type veth peer name wg0 address ${MACS.guest} netns ${guest.holder.pid}`,
  );
  await ip(container, `link add eth0 type veth peer name docker0 netns ${guest.holder.pid}`);
  const ends = [
    [tproxy, "tunnel", [family.tproxy, family.neighbour]],
    [guest, "wg0", [family.guest]],
    [guest, "docker0", [family.bridge]],
    [container, "eth0", [family.container]],
  ] as const;
  for (const [where, device, addresses] of ends) {
    for (const address of addresses) {
      await ip(where, `address add ${address}/${prefix} dev ${device}`);
    }
    await ip(where, `link set ${device} up`);
  }
  // WireGuard asks nobody for the address of a link.
  for (const address of [family.tproxy, family.neighbour]) {
    await ip(guest, `neigh replace ${address} lladdr ${MACS.tproxy} dev wg0 nud permanent`);
  }
  await ip(tproxy, `neigh replace ${family.guest} lladdr ${MACS.guest} dev tunnel nud permanent`);
  await ip(tproxy, `${version} route add ${family.containers} via ${family.guest}`);
  await ip(container, `${version} route add default via ${family.bridge}`);
  const forwarding = version === "-6" ? "ipv6/conf/all/forwarding" : "ipv4/ip_forward";
  await guest.run("sh", "-c", `echo 1 > /proc/sys/net/${forwarding}`);
  await guest.run(
    "nft",
    `table ${family.table} docker { chain prerouting { type nat hook prerouting priority dstnat;
       tcp dport { ${PUBLISHED}, ${UNNAMED} } dnat to ${family.published}; }; }`,
  );
  await listenIn(guest);
  await listenIn(container);
  return { guest, tproxy };
}

/** The rules that a guest makes of tproxy's answer. */
function rulesFor({ guest, tproxy }: Family, publicPorts: readonly number[] | undefined): string {
  const answer: tproxy.RegisterCvmResponse = {
    $typeName: "tproxy.RegisterCvmResponse",
    wg: {
      $typeName: "tproxy.WireGuardConfig",
      serverPublicKey: generateKeyPair().publicKey,
      clientIp: guest,
      serverIp: tproxy,
      serverEndpoint: "192.0.2.1:51820",
    },
    servers: [],
  };
  return firewallRules(parseTunnel(answer), { publicPorts, ssh: false });
}

describe.skipIf(namespacesUnavailable() !== undefined)("packets through the tunnel", () => {
  it.each(Object.keys(FAMILIES) as (keyof typeof FAMILIES)[])(
    "G5: only tproxy's come in, over TCP, to the ports of the compose document, the guest's and its containers': %s",
    async (name) => {
      const family = FAMILIES[name];
      const { guest, tproxy: outside } = await makeGuest(family);
      const at = (
        to: "guest" | "container",
        port: number,
        from: "tproxy" | "neighbour" = "tproxy",
      ): Probe => ({
        ...{ from: family[from], to: family[to], port },
      });
      const udp = (from: "tproxy" | "neighbour"): Probe => ({ ...at("guest", UDP_PORT, from), udp: true });
      const named = [at("guest", 80), at("guest", 8090), at("guest", PUBLISHED), at("container", 80)];
      const unnamed = [at("guest", 9000), at("guest", UNNAMED), at("container", 9000), udp("tproxy")];
      const ssh = [at("guest", 22), at("container", 22)];
      const neighbours = [
        ...[80, 8090, 9000, 22, PUBLISHED, UNNAMED].map((port) => at("guest", port, "neighbour")),
        ...[80, 9000].map((port) => at("container", port, "neighbour")),
        udp("neighbour"),
      ];
      const probes = [...named, ...unnamed, ...ssh, ...neighbours];
      /** Those that get an answer. */
      const heard = async (): Promise<Probe[]> => {
        const answers = await outside.run(process.execPath, "-e", prober, JSON.stringify(probes));
        const flags = JSON.parse(answers) as boolean[];
        return probes.filter((_, index) => flags[index]);
      };

      expect(await heard()).toEqual(probes); // it is the rules that keep them out
      await guest.run("nft", rulesFor(family, undefined));
      expect(await heard()).toEqual([...named, ...unnamed]);
      await guest.run("nft", rulesFor(family, [80, PUBLISHED]));
      expect(await heard()).toEqual(named);
      await guest.run("nft", rulesFor(FAMILIES[name === "IPv4" ? "IPv6" : "IPv4"], undefined));
      expect(await heard()).toEqual([]); // the other family is nobody's
    },
  );
});
