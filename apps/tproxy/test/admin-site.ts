import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient, httpTransport } from "@dstack/prpc";
import { tproxyAdmin } from "@dstack/proto";
import { TproxyConfig } from "../src/index.js";
import type { Tproxy } from "../src/index.js";
import { makeSite } from "./site.js";
import type { Site } from "./site.js";

/** alice's, in every {@link adminSite}. */
export const TOKEN = "an-operator's-token-of-32-letters";

/** A site with an admin listener and one token. */
export async function adminSite(admin: object = { port: 0 }): Promise<Site> {
  const site = await makeSite();
  await writeFile(join(site.dir, "admin.token"), `${TOKEN}\n`, { mode: 0o600 });
  const tokens = [{ name: "alice", token_file: join(site.dir, "admin.token") }];
  return { ...site, config: TproxyConfig.parse({ ...site.input, admin: { tokens, ...admin } }) };
}

export const adminUrl = (server: Pick<Tproxy, "adminPort">): string => `http://127.0.0.1:${server.adminPort}`;

/** A client of the admin listener. @param token empty for none */
export function adminClient(server: Pick<Tproxy, "adminPort">, token: string = TOKEN) {
  const headers = token === "" ? {} : { authorization: `Bearer ${token}` };
  return createClient(tproxyAdmin.TproxyAdmin, httpTransport({ baseUrl: adminUrl(server), headers }));
}
