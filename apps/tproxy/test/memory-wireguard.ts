import type { WireGuardDevice, WireGuardStatus } from "@dstack/wireguard-tools-wrapper";

/**
 * A tunnel that is only remembered, for a whole system in one process: it keeps the peers it was told and answers
 * with their handshakes. A peer counts as alive from its first moment unless told otherwise.
 */
export class MemoryWireGuard implements WireGuardDevice {
  readonly interfaceName = "memory";
  /** Every configuration it was given, newest last. */
  readonly configs: string[] = [];
  readonly addresses: string[] = [];
  readonly routes: string[] = [];
  released = false;
  readonly #handshakes = new Map<string, number>();
  readonly #endpoints = new Map<string, string>();
  readonly #traffic = new Map<string, { receivedBytes: number; sentBytes: number }>();
  #failure: Error | undefined;

  /** Sets when a peer was last heard, in Unix seconds; 0 for never. */
  setHandshake(publicKey: string, at: number): void {
    this.#handshakes.set(publicKey, at);
  }

  /** Sets what went through a peer's tunnel, in bytes. */
  setTraffic(publicKey: string, receivedBytes: number, sentBytes: number): void {
    this.#traffic.set(publicKey, { receivedBytes, sentBytes });
  }

  /** Sets where a peer was last heard. */
  setEndpoint(publicKey: string, endpoint: string): void {
    this.#endpoints.set(publicKey, endpoint);
  }

  /** Makes every call fail until it is called without an error. */
  failWith(err?: Error): void {
    this.#failure = err;
  }

  async setAddress(cidr: string): Promise<void> {
    this.#mayFail();
    this.addresses.push(cidr);
  }

  async addRoute(cidr: string): Promise<void> {
    this.#mayFail();
    this.routes.push(cidr);
  }

  async syncconf(text: string): Promise<void> {
    this.#mayFail();
    this.configs.push(text);
  }

  async dump(): Promise<WireGuardStatus> {
    this.#mayFail();
    const now = Math.floor(Date.now() / 1000);
    const sections = (this.configs.at(-1) ?? "").split("[Peer]").slice(1);
    const peers = sections.map((section) => {
      const publicKey = /PublicKey = (\S+)/.exec(section)?.[1] ?? "";
      const latestHandshake = this.#handshakes.get(publicKey) ?? now;
      const endpoint = this.#endpoints.get(publicKey) ?? /Endpoint = (\S+)/.exec(section)?.[1];
      return {
        publicKey,
        ...(endpoint === undefined ? {} : { endpoint }),
        allowedIps: /AllowedIPs = (.+)/.exec(section)?.[1]?.split(", ") ?? [],
        ...(latestHandshake === 0 ? {} : { latestHandshake }),
        ...(this.#traffic.get(publicKey) ?? { receivedBytes: 0, sentBytes: 0 }),
      };
    });
    return { listenPort: 0, peers };
  }

  async release(): Promise<void> {
    this.released = true;
  }

  #mayFail(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
