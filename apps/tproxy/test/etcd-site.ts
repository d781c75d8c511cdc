import { TproxyConfig } from "../src/index.js";
import type { TproxyConfigInput } from "../src/index.js";
import type { EtcdServer } from "../../../packages/store/test/support/etcd-server.js";
import { makeSite } from "./site.js";
import type { Site } from "./site.js";

/** The site of a node among several: node-1 has 10.77.1.0/24, and so on. */
export async function etcdSite(etcd: Pick<EtcdServer, "endpoint">, n: number): Promise<Site> {
  const site = await makeSite({
    wg: { ip: `10.77.${n}.1`, client_ip_range: `10.77.${n}.0/24`, endpoint: `192.0.2.${n}:51820` },
  });
  const input: TproxyConfigInput = {
    ...site.input,
    store: "etcd",
    node: `node-${n}`,
    etcd: { endpoints: [etcd.endpoint] },
  };
  return { ...site, input, config: TproxyConfig.parse(input) };
}
