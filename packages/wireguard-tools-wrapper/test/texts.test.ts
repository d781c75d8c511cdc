import { describe, expect, it } from "vitest";
import { generateKeyPair, parseDump, wgConfig } from "../src/index.js";

const server = generateKeyPair();
const peer = generateKeyPair();

describe("wgConfig", () => {
  it("writes interface and peers", () => {
    const text = wgConfig({
      privateKey: server.privateKey,
      listenPort: 51820,
      peers: [
        { publicKey: peer.publicKey, allowedIps: ["10.0.3.2/32"] },
        {
          publicKey: server.publicKey,
          allowedIps: ["10.0.3.1/32", "fd00::1/128"],
          endpoint: "[fd00::9]:51820",
          persistentKeepalive: 25,
        },
      ],
    });
    expect(text).toBe(
      `[Interface]\nPrivateKey = ${server.privateKey}\nListenPort = 51820\n\n` +
        `[Peer]\nPublicKey = ${peer.publicKey}\nAllowedIPs = 10.0.3.2/32\n\n` +
        `[Peer]\nPublicKey = ${server.publicKey}\nAllowedIPs = 10.0.3.1/32, fd00::1/128\n` +
        `Endpoint = [fd00::9]:51820\nPersistentKeepalive = 25\n`,
    );
  });

  it.each([
    { allowedIps: ["10.0.3.2"] },
    { allowedIps: ["10.0.3.2/33"] },
    { allowedIps: ["10.0.3.2/32\n[Peer]"] },
    { allowedIps: ["10.0.3.2/032"] },
    { allowedIps: [], endpoint: "host:99999" },
    { allowedIps: [], endpoint: "host:1\nPublicKey = x" },
    { allowedIps: [], endpoint: "host" },
    { allowedIps: [], persistentKeepalive: 0.5 },
  ])("refuses a value that could change the text: %j", (bad) => {
    expect(() =>
      wgConfig({ privateKey: server.privateKey, peers: [{ publicKey: peer.publicKey, ...bad }] }),
    ).toThrow();
  });
});

describe("parseDump", () => {
  it("reads interface and peers and drops the private key", () => {
    const status = parseDump(
      `SECRET\t${server.publicKey}\t51820\toff\n` +
        `${peer.publicKey}\t(none)\t127.0.0.1:40000\t10.0.3.2/32\t1763771000\t148\t92\toff\n` +
        `${server.publicKey}\t(none)\t(none)\t(none)\t0\t0\t0\t25\n`,
    );
    expect(status).toEqual({
      publicKey: server.publicKey,
      listenPort: 51820,
      peers: [
        {
          publicKey: peer.publicKey,
          endpoint: "127.0.0.1:40000",
          allowedIps: ["10.0.3.2/32"],
          latestHandshake: 1763771000,
          receivedBytes: 148,
          sentBytes: 92,
        },
        { publicKey: server.publicKey, allowedIps: [], receivedBytes: 0, sentBytes: 0 },
      ],
    });
    expect(JSON.stringify(status)).not.toContain("SECRET");
  });

  it("refuses output of another form", () => {
    expect(() => parseDump("")).toThrow(/another form/);
    expect(() => parseDump("a\tb\tc\td\n")).toThrow(/another form/);
    expect(() => parseDump(`a\tb\t1\toff\nkey only\n`)).toThrow(/another form/);
  });
});
