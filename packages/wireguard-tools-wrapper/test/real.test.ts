import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { generateKeyPair, wgConfig } from "../src/index.js";
import { Agent } from "./agent-client.js";
import {
  Namespace,
  connectNamespaces,
  killLeftovers,
  namespacesUnavailable,
  processesOf,
  uniqueInterfaceName,
} from "./namespace.js";

const reason = namespacesUnavailable();
if (reason !== undefined) console.warn(`skipping the tests with real interfaces: ${reason}`);

const socketOf = (name: string): string => `/var/run/wireguard/${name}.sock`;
/** Opens a TCP connection to a port nobody listens on: who refuses it can be reached. */
async function reach(from: Namespace, to: string, seconds = 12): Promise<boolean> {
  const attempt = `timeout ${seconds} bash -c "exec 3<>/dev/tcp/${to}/9" 2>&1 || true`;
  return (await from.run("sh", "-c", attempt)).includes("Connection refused");
}

/** A hub at 10.99.0.1 and a caller at 10.99.0.`n`, on a cable 192.0.2.0/30 of their own. */
async function addPeer(hub: Namespace, spoke: Namespace, agent: Agent, n: number, hubKey: string) {
  const name = uniqueInterfaceName();
  const keys = generateKeyPair();
  await connectNamespaces(hub, `192.0.2.${4 * n + 1}/30`, spoke, `192.0.2.${4 * n + 2}/30`);
  await agent.call("open", name);
  await agent.call("setAddress", `10.99.0.${n}/32`);
  await agent.call("addRoute", "10.99.0.0/24");
  const text = wgConfig({
    privateKey: keys.privateKey,
    peers: [
      {
        publicKey: hubKey as typeof keys.publicKey,
        // As wide as a hostile guest would make it.
        allowedIps: ["10.99.0.0/24"],
        endpoint: `192.0.2.${4 * n + 1}:51820`,
        persistentKeepalive: 1,
      },
    ],
  });
  await agent.call("syncconf", text);
  return { name, keys };
}

afterEach(killLeftovers);

describe.skipIf(reason !== undefined)("real interfaces in namespaces of their own", () => {
  it("brings a tunnel up, hands it to a successor after kill -9, and leaves nothing behind", async () => {
    await using hub = await Namespace.create();
    await using spoke = await Namespace.create();
    const name = uniqueInterfaceName();
    const server = generateKeyPair();
    const first = new Agent(hub);
    expect(await first.call("open", name)).toMatchObject({ takenOver: false });
    await first.call("setAddress", "10.99.0.1/24");
    await using peerAgent = new Agent(spoke);
    const peer = await addPeer(hub, spoke, peerAgent, 2, server.publicKey);
    const config = wgConfig({
      privateKey: server.privateKey,
      listenPort: 51820,
      peers: [{ publicKey: peer.keys.publicKey, allowedIps: ["10.99.0.2/32"] }],
    });
    await first.call("syncconf", config);
    expect(await reach(spoke, "10.99.0.1")).toBe(true);
    const before = await first.dump();
    expect(before).toMatchObject({ publicKey: server.publicKey, listenPort: 51820 });
    expect(before.peers).toHaveLength(1);
    expect(before.peers[0]?.latestHandshake).toBeGreaterThan(Date.now() / 1000 - 60);

    await first.kill();
    expect(await reach(spoke, "10.99.0.1")).toBe(true); // the tunnel does not need its control program

    await using second = new Agent(hub);
    expect(await second.call("open", name)).toMatchObject({ takenOver: true });
    await second.call("setAddress", "10.99.0.1/24");
    await second.call("syncconf", config);
    expect((await second.dump()).peers[0]?.latestHandshake).toBeGreaterThanOrEqual(
      before.peers[0]?.latestHandshake ?? Infinity,
    );
    expect(await reach(spoke, "10.99.0.1")).toBe(true);

    await second.call("close");
    expect(await hub.run("ip", "-oneline", "link", "show")).not.toContain(name);
    expect(await processesOf(name)).toEqual([]);
    expect(existsSync(socketOf(name))).toBe(false);
  });

  it("starts a killed wireguard-go again with its address, route, keys and peers", async (context) => {
    await using hub = await Namespace.create();
    await using agent = new Agent(hub);
    const name = uniqueInterfaceName();
    const opened = await agent.call("open", name);
    context.skip(
      (opened as { backend: string }).backend === "kernel",
      "the kernel's WireGuard has no process",
    );
    const peer = generateKeyPair();
    await agent.call("setAddress", "10.99.0.1/32");
    await agent.call("addRoute", "10.99.0.0/24");
    await agent.call(
      "syncconf",
      wgConfig({
        privateKey: generateKeyPair().privateKey,
        listenPort: 51820,
        peers: [{ publicKey: peer.publicKey, allowedIps: ["10.99.0.2/32"] }],
      }),
    );
    const before = await agent.dump();
    const restarted = agent.restarted();
    const [pid] = await processesOf(name);
    process.kill(pid ?? NaN, "SIGKILL");
    await restarted;
    expect(await agent.dump()).toEqual(before);
    expect(await hub.run("ip", "route", "get", "10.99.0.2")).toContain(`dev ${name} src 10.99.0.1`);
  });

  it("gives the interface one address, the last one", async () => {
    await using hub = await Namespace.create();
    await using agent = new Agent(hub);
    const name = uniqueInterfaceName();
    await agent.call("open", name);
    await agent.call("setAddress", "10.99.0.1/24");
    await agent.call("setAddress", "10.98.0.1/24");
    const shown = await hub.run("ip", "-oneline", "-4", "address", "show", "dev", name);
    expect(shown).toContain("10.98.0.1/24");
    expect(shown).not.toContain("10.99.0.1");
  });

  it("leaves an interface alone that is no WireGuard", async () => {
    await using hub = await Namespace.create();
    await using agent = new Agent(hub);
    const name = uniqueInterfaceName();
    await hub.run("ip", "link", "add", name, "type", "veth", "peer", "name", `${name}x`);
    await expect(agent.call("open", name)).rejects.toThrow(/is no WireGuard interface/);
    expect(await hub.run("ip", "-oneline", "link", "show")).toContain(name);
  });

  it("refuses a name that wireguard-go serves in another namespace", async (context) => {
    await using one = await Namespace.create();
    await using two = await Namespace.create();
    await using first = new Agent(one);
    await using second = new Agent(two);
    const name = uniqueInterfaceName();
    const opened = await first.call("open", name);
    context.skip(
      (opened as { backend: string }).backend === "kernel",
      "the kernel's names are per namespace",
    );
    await expect(second.call("open", name)).rejects.toThrow(/another network namespace/);
    expect(await processesOf(name)).toHaveLength(1);
  });

  it("starts over the socket file that a killed wireguard-go left", async (context) => {
    await using hub = await Namespace.create();
    const name = uniqueInterfaceName();
    const first = new Agent(hub);
    const opened = await first.call("open", name);
    context.skip(
      (opened as { backend: string }).backend === "kernel",
      "the kernel's WireGuard has no socket",
    );
    await first.kill();
    const [pid] = await processesOf(name);
    await promisify(execFile)("kill", ["-9", String(pid)]);
    await expect.poll(() => processesOf(name)).toEqual([]);
    expect(existsSync(socketOf(name))).toBe(true);
    await using second = new Agent(hub);
    expect(await second.call("open", name)).toMatchObject({ takenOver: false });
  });

  it("G5: one guest cannot reach another through the hub, even where the machine forwards", async () => {
    await using hub = await Namespace.create();
    await using spokeA = await Namespace.create();
    await using spokeB = await Namespace.create();
    await using agent = new Agent(hub);
    await using agentA = new Agent(spokeA);
    await using agentB = new Agent(spokeB);
    const server = generateKeyPair();
    await agent.call("open", uniqueInterfaceName());
    await agent.call("setAddress", "10.99.0.1/24");
    const a = await addPeer(hub, spokeA, agentA, 2, server.publicKey);
    const b = await addPeer(hub, spokeB, agentB, 3, server.publicKey);
    await agent.call(
      "syncconf",
      wgConfig({
        privateKey: server.privateKey,
        listenPort: 51820,
        peers: [
          { publicKey: a.keys.publicKey, allowedIps: ["10.99.0.2/32"] },
          { publicKey: b.keys.publicKey, allowedIps: ["10.99.0.3/32"] },
        ],
      }),
    );
    await hub.run("sysctl", "-qw", "net.ipv4.conf.all.forwarding=1");
    expect(await reach(spokeA, "10.99.0.1")).toBe(true);
    expect(await reach(spokeB, "10.99.0.1")).toBe(true);
    expect(await reach(spokeA, "10.99.0.3")).toBe(true); // the danger is real
    await agent.call("refuseForwarding");
    expect(await reach(spokeA, "10.99.0.3", 1)).toBe(false);
    expect(await reach(spokeA, "10.99.0.1")).toBe(true);
  });
});
