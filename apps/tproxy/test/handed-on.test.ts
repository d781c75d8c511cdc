import { EventEmitter, once } from "node:events";
import { Socket, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import { parseAppId, parseInstanceId, sleep } from "@dstack/core";
import { FileStore } from "@dstack/store";
import type { Dial } from "@dstack/tls-proxy";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { expect, it } from "vitest";
import { heldAddress, addressKey, instanceKey, ownerKey, writeInstance } from "../src/registry/records.js";
import { startApp } from "./app.js";
import { MemoryWireGuard } from "./memory-wireguard.js";
import { BASE, idOf, makeSite, register, start } from "./site.js";

/** An interface that takes its time, as one with many peers does. */
class SlowWireGuard extends MemoryWireGuard {
  override async syncconf(text: string): Promise<void> {
    await sleep(300);
    await super.syncconf(text);
  }
}

it("P5: an address that was handed on while this node did not hear of it leads nobody to the wrong instance", async () => {
  await using site = await makeSite();
  await using app = await startApp();
  const wireguard = new SlowWireGuard();
  const store = await FileStore.open(join(site.dir, "store.jsonl"), "alone");
  const ip = "10.77.0.9";
  const record = (name: string, key = generateKeyPair().publicKey) => {
    const [appId, instanceId] = [parseAppId(idOf(`app of ${name}`)), parseInstanceId(idOf(name))];
    const held = {
      [instanceKey(instanceId)]: writeInstance({ appId, instanceId, publicKey: key, ip, registeredAt: 1 }),
      [ownerKey(key)]: instanceId,
      [addressKey(ip)]: heldAddress(instanceId),
    };
    return { key, held, gone: { [instanceKey(instanceId)]: undefined, [ownerKey(key)]: undefined } };
  };
  const [before, after] = [record("before"), record("after")];
  await store.commit({ set: before.held });

  /** Whose tunnel each connection was led into. */
  const led: string[] = [];
  const dial: Dial = (...to) => {
    led.push((wireguard.configs.at(-1) ?? "").includes(after.key) ? "after" : "before");
    return app.dial(...to);
  };
  await using server = await start(site, { wireguard, store, dial });
  const visit = async (name: string): Promise<TLSSocket | undefined> => {
    const visitor = connect({
      port: server.proxyPort,
      host: "127.0.0.1",
      servername: `${idOf(name)}-80.${BASE}`,
      rejectUnauthorized: false,
    });
    visitor.on("error", () => {});
    const came = await Promise.race([
      once(visitor, "data").then(
        () => true,
        () => false,
      ),
      once(visitor, "close").then(() => false),
    ]);
    if (came) return visitor.resume();
    visitor.destroy();
    return undefined;
  };
  const old = await visit("before");
  expect(led.splice(0)).toEqual(["before"]);
  let wasOpen: boolean | undefined;
  const syncconf = wireguard.syncconf.bind(wireguard);
  wireguard.syncconf = async (text) => {
    if (text.includes(after.key) && wasOpen === undefined) {
      // Its end was sent before, by another process, and comes when this one gets to it.
      for (let looks = 0; old?.destroyed === false && looks < 100; looks++) await sleep(50);
      wasOpen = old?.destroyed === false;
    }
    await syncconf(text);
  };

  await store.commit({ set: { ...before.gone, ...after.held } });
  // The follower may rest when the change comes; a registration of somebody else does not wait for it.
  for (let came = false; !came;) {
    const visitor = await visit("after");
    came = visitor !== undefined;
    visitor?.destroy();
  }
  expect(led).toEqual(led.map(() => "after"));
  expect(wasOpen).toBe(false);
});

it("P5: a connection that was just being made when its instance was removed does not stay", async () => {
  await using site = await makeSite();
  const listening = createServer((socket) => socket.on("error", () => {}).write("hello")).listen(
    0,
    "127.0.0.1",
  );
  await once(listening, "listening");
  const { port } = listening.address() as AddressInfo;
  const dialled = new EventEmitter();
  const wireguard = new SlowWireGuard();
  await using server = await start(site, {
    wireguard,
    dial: () => {
      const socket = new Socket({ allowHalfOpen: true });
      // After its connections have been ended, and before the interface forgets it.
      dialled.once("removed", () => setTimeout(() => socket.connect(port, "127.0.0.1"), 100));
      dialled.emit("begun");
      return socket;
    },
  });
  await register(server, { instance: "goes" }, generateKeyPair().publicKey);
  const begun = once(dialled, "begun");
  const host = "127.0.0.1";
  const servername = `${idOf("goes")}-80.${BASE}`;
  const visitor = connect({ port: server.proxyPort, host, servername, rejectUnauthorized: false });
  visitor.on("error", () => {}).resume();
  const [came, left] = [once(visitor, "data"), once(visitor, "close")];
  await begun;
  await sleep(1_500); // whoever followed the registration has rested
  await server.registry.remove(parseInstanceId(idOf("goes")));
  dialled.emit("removed");
  await came;
  await left;
  listening.close();
});
