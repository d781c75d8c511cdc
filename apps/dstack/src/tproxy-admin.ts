import { errorMessage } from "@dstack/core";
import { tproxyAdmin } from "@dstack/proto";
import { createClient, httpTransport, unixTransport } from "@dstack/prpc";
import type { Transport } from "@dstack/prpc";
import { Home } from "./local/home.js";
import type { GlobalOptions } from "./output.js";
import { CliError } from "./output.js";
import { readTextFile } from "./read-file.js";
import { toldTransport } from "./told-transport.js";

/** A tproxy answers from memory, or waits for its store. */
const CALL_LIMIT_MS = 30_000;

/** Options of every command that talks to a tproxy's operators' listener. */
export interface ProxyOptions extends GlobalOptions {
  /** URL or path of a unix socket; default: `DSTACK_TPROXY_ADMIN`, else the local installation's. */
  admin?: string;
  /** Default: `DSTACK_TPROXY_TOKEN`, which is the token itself; for the local installation its own. */
  tokenFile?: string;
}

interface ProxyAddress {
  /** URL, or path of a unix socket. */
  readonly address: string;
  readonly token: string;
}

/** Which tproxy a command means, by option, environment or local installation. */
async function proxyAddress(options: ProxyOptions): Promise<ProxyAddress> {
  const address = options.admin ?? process.env["DSTACK_TPROXY_ADMIN"];
  if (address !== undefined) {
    if (!isUrl(address) && !/^\.{0,2}\//.test(address)) {
      throw new CliError(
        `--admin must be a URL such as http://127.0.0.1:9071, or the path of a socket such as /run/tproxy.sock, not ${JSON.stringify(address)}`,
        2,
      );
    }
    return { address, token: await givenToken(options) };
  }
  const home = await Home.openIfAny(Home.locate(options.home));
  if (home?.state.ports === undefined) {
    throw new CliError(
      "no tproxy is known: give --admin <url or socket>, what [admin] of tproxy.toml says, or set DSTACK_TPROXY_ADMIN; " +
        "`dstack up` starts one here",
      2,
    );
  }
  const own = home.path("tproxy.token");
  const given = options.tokenFile !== undefined || process.env["DSTACK_TPROXY_TOKEN"] !== undefined;
  const token = await givenToken(given ? options : { tokenFile: own });
  return { address: `http://127.0.0.1:${home.ports.tproxyAdmin}`, token };
}

/** A client of the TproxyAdmin service. */
export async function proxyClient(options: ProxyOptions, limitMs = CALL_LIMIT_MS) {
  const { address, token } = await proxyAddress(options);
  const headers = { authorization: `Bearer ${token}` };
  const inner: Transport = isUrl(address)
    ? httpTransport({ baseUrl: address.replace(/\/+$/, ""), headers })
    : unixTransport(address, { headers });
  const transport = toldTransport(inner, {
    ...{ kind: "tproxy", address, limitMs },
    whenUnreachable: ": is it running, and is that what [admin] of its tproxy.toml says?",
    whenUnauthenticated: "give --token-file, or set DSTACK_TPROXY_TOKEN",
  });
  return createClient(tproxyAdmin.TproxyAdmin, transport);
}

const isUrl = (address: string): boolean => /^https?:\/\//.test(address) && URL.canParse(address);

async function givenToken({ tokenFile }: Pick<ProxyOptions, "tokenFile">): Promise<string> {
  const token = process.env["DSTACK_TPROXY_TOKEN"];
  if (tokenFile === undefined) {
    if (token !== undefined) return token;
    throw new CliError("give --token-file <file>, or set DSTACK_TPROXY_TOKEN", 2);
  }
  const text = await readTextFile(tokenFile).catch((err: unknown) => {
    throw new CliError(`--token-file: ${errorMessage(err)}`, 2, { cause: err });
  });
  if (!/^\S+$/.test(text.trim()))
    throw new CliError(`--token-file: ${tokenFile} must hold one token, and nothing else`, 2);
  return text.trim();
}
