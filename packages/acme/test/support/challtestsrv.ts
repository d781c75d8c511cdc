import { mkdtemp } from "node:fs/promises";
import { Resolver } from "node:dns/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Row } from "./cloudflare-server.js";
import { freePort } from "../../../core/test/support/ports.js";
import { type RunningProgram, startProgram } from "./processes.js";

export interface ChallengeDns extends RunningProgram {
  /** `ip:port` */
  address: string;
  /** Replaces the records of a name. */
  setRecords(name: string, rows: readonly Row[]): Promise<void>;
  /** Makes a name an alias, or none any more. */
  setAlias(name: string, target: string | undefined): Promise<void>;
}

/** Debian's pebble-challtestsrv: a DNS server that is told its answers over HTTP. @param dnsPort any free one by default */
export async function startChallengeDns(dnsPort?: number): Promise<ChallengeDns> {
  const dir = await mkdtemp(join(tmpdir(), "challtestsrv-"));
  const [port, management] = [dnsPort ?? (await freePort()), await freePort()];
  const off = ["-http01", "", "-https01", "", "-tlsalpn01", ""];
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  const args = ["-dns01", `127.0.0.1:${port}`, "-management", `127.0.0.1:${management}`, ...off];
  const program = await startProgram("pebble-challtestsrv", args, {
    dir,
    ready: async () => (await resolver.resolve4("ready.test")).length > 0,
  });
  const tell = async (path: string, body: object): Promise<void> => {
    const url = `http://127.0.0.1:${management}/${path}`;
    const answer = await fetch(url, { method: "POST", body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  };
  return {
    ...program,
    address: `127.0.0.1:${port}`,
    async setAlias(name, target) {
      const host = `${name}.`;
      if (target === undefined) await tell("clear-cname", { host });
      else await tell("set-cname", { host, target: `${target}.` });
    },
    async setRecords(name, rows) {
      const host = `${name}.`;
      await tell("clear-txt", { host });
      for (const { type, content } of rows) {
        if (type === "TXT") await tell("set-txt", { host, value: content.replace(/^"|"$/g, "") });
      }
      const policies = rows.flatMap(({ data }) => (data === undefined ? [] : [data]));
      await tell("clear-caa", { host });
      if (policies.length > 0) await tell("add-caa", { host, policies });
    },
  };
}
