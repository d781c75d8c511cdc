import { connect } from "node:net";
import type { Socket } from "node:net";
import { parsePrivateKey, publicKeyOf } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardDevice, WireGuardStatus } from "@dstack/wireguard-tools-wrapper";

interface Peer {
  publicKey: string;
  allowedIps: string[];
}

/** FAKE. A tunnel end without a tunnel: it knows its key, address and peers, as a WireGuard interface would. */
class FakeDevice implements WireGuardDevice {
  readonly interfaceName: string;
  publicKey: string | undefined;
  address: string | undefined;
  peers: Peer[] = [];

  constructor(
    private readonly network: FakeNetwork,
    interfaceName: string,
  ) {
    this.interfaceName = interfaceName;
  }

  async setAddress(cidr: string): Promise<void> {
    this.address = cidr.split("/")[0];
  }

  async addRoute(): Promise<void> {}

  async syncconf(text: string): Promise<void> {
    const sections = text.split(/\n(?=\[Peer\])/);
    const field = (section: string, name: string): string | undefined =>
      new RegExp(`^${name} = (.*)$`, "m").exec(section)?.[1];
    const key = field(sections[0] ?? "", "PrivateKey");
    if (key !== undefined) this.publicKey = publicKeyOf(parsePrivateKey(key));
    this.peers = sections.slice(1).map((section) => ({
      publicKey: field(section, "PublicKey") ?? "",
      allowedIps: (field(section, "AllowedIPs") ?? "").split(", "),
    }));
  }

  async dump(): Promise<WireGuardStatus> {
    return {
      ...(this.publicKey === undefined ? {} : { publicKey: this.publicKey }),
      listenPort: 0,
      peers: this.peers.map((peer) => ({
        ...peer,
        ...(this.network.reaches(this, peer) === undefined
          ? {}
          : { latestHandshake: Math.floor(Date.now() / 1000) }),
        receivedBytes: 0,
        sentBytes: 0,
      })),
    };
  }

  async release(): Promise<void> {
    this.network.leave(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

/**
 * FAKE. Delivers connections between tunnel ends by WireGuard's rules: a packet leaves only to a peer whose allowed IPs hold its
 * address, and is accepted only from a peer whose allowed IPs hold the sender's.
 */
export class FakeNetwork {
  readonly #devices = new Set<FakeDevice>();
  /** Device of a guest → where its ports really listen on this machine. */
  readonly #ports = new Map<FakeDevice, Map<number, number>>();

  /** A tunnel end; with `ports`, connections to its address reach those of this machine. */
  open(interfaceName: string, ports: Map<number, number> = new Map()): WireGuardDevice & AsyncDisposable {
    const device = new FakeDevice(this, interfaceName);
    this.#devices.add(device);
    this.#ports.set(device, ports);
    return device;
  }

  leave(device: FakeDevice): void {
    this.#devices.delete(device);
  }

  /** The other end that a peer entry leads to, when that end also knows the first. */
  reaches(from: FakeDevice, peer: Peer): FakeDevice | undefined {
    const other = [...this.#devices].find((device) => device.publicKey === peer.publicKey);
    const back = other?.peers.find((entry) => entry.publicKey === from.publicKey);
    return back?.allowedIps.includes(`${from.address}/32`) === true ? other : undefined;
  }

  /** Connects from the end with this interface name to an address in the tunnel. */
  dial(interfaceName: string, address: string, port: number): Socket {
    const from = [...this.#devices].find((device) => device.interfaceName === interfaceName);
    const peer = from?.peers.find((entry) => entry.allowedIps.includes(`${address}/32`));
    const to = from === undefined || peer === undefined ? undefined : this.reaches(from, peer);
    const real = to?.address === address ? this.#ports.get(to)?.get(port) : undefined;
    // Port 1 of the loopback device: nobody listens there, so the caller sees a refused connection.
    return connect({ host: "127.0.0.1", port: real ?? 1 });
  }
}
