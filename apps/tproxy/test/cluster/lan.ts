import { randomBytes } from "node:crypto";
import { Namespace } from "@dstack/wireguard-tools-wrapper/testing";

/** A machine of its own on the LAN. */
export interface Machine {
  readonly namespace: Namespace;
  readonly ip: string;
}

/** Machines in network namespaces, all on one bridge, and what goes wrong between them. */
export class Lan implements AsyncDisposable {
  readonly #machines: Machine[] = [];
  #added = 0;

  private constructor(readonly hub: Namespace) {}

  static async create(): Promise<Lan> {
    const hub = await Namespace.create();
    await hub.run("ip", "link", "add", "lan", "type", "bridge");
    await hub.run("ip", "address", "add", "10.200.0.1/24", "dev", "lan");
    await hub.run("ip", "link", "set", "lan", "up");
    return new Lan(hub);
  }

  async add(): Promise<Machine> {
    const ip = `10.200.0.${10 + this.#added++}`;
    const namespace = await Namespace.create();
    const id = randomBytes(4).toString("hex");
    const pid = String(this.hub.holder.pid);
    const [ours, theirs] = [`va${id}`, `vb${id}`];
    await namespace.run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", pid);
    await this.hub.run("ip", "link", "set", theirs, "master", "lan", "up");
    await namespace.run("ip", "address", "add", `${ip}/24`, "dev", ours);
    await namespace.run("ip", "link", "set", ours, "up");
    const machine = { namespace, ip };
    this.#machines.push(machine);
    return machine;
  }

  /** The first machines and the second ones no longer hear each other, and are told nothing of it. */
  async partition(some: readonly Machine[], others: readonly Machine[]): Promise<void> {
    const deaf = async (machine: Machine, to: readonly Machine[]): Promise<void> => {
      const addresses = to.map(({ ip }) => ip).join(", ");
      await filter(machine, `ip saddr { ${addresses} } drop`);
    };
    for (const machine of some) await deaf(machine, others);
    for (const machine of others) await deaf(machine, some);
  }

  /** Every machine loses this part of what it should receive from others. */
  async lose(percent: number): Promise<void> {
    for (const machine of this.#machines) {
      await filter(machine, `iifname != "lo" numgen random mod 100 < ${percent} drop`);
    }
  }

  async heal(): Promise<void> {
    for (const machine of this.#machines) await filter(machine, "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { namespace } of this.#machines) await namespace[Symbol.asyncDispose]();
    await this.hub[Symbol.asyncDispose]();
  }
}

async function filter({ namespace }: Machine, rule: string): Promise<void> {
  const chain = `chain input {\ntype filter hook input priority 0; policy accept;\n${rule}\n}`;
  await namespace.run(
    "nft",
    `table inet faults {}\ndelete table inet faults\ntable inet faults {\n${chain}\n}\n`,
  );
}
