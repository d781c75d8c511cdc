import { readFile } from "node:fs/promises";
import { errorCode, errorMessage } from "@dstack/core";
import { tproxyAdmin } from "@dstack/proto";
import { RpcError, createClient, httpTransport, unixTransport } from "@dstack/prpc";
import type { Transport } from "@dstack/prpc";
import { Home } from "./local/home.js";
import type { GlobalOptions } from "./output.js";
import { CliError } from "./output.js";

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
  if (address !== undefined) return { address, token: await givenToken(options) };
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
export async function proxyClient(options: ProxyOptions) {
  const { address, token } = await proxyAddress(options);
  const headers = { authorization: `Bearer ${token}` };
  const isUrl = /^https?:\/\//.test(address);
  const inner: Transport = isUrl
    ? httpTransport({ baseUrl: address.replace(/\/+$/, ""), headers })
    : unixTransport(address, { headers });
  const transport: Transport = {
    call: (...call) =>
      inner.call(...call).catch((err: unknown) => {
        if (!(err instanceof RpcError) || err.code !== "unavailable" || err.cause === undefined) throw err;
        const reason = errorCode(err.cause) ?? errorMessage(err.cause);
        throw new CliError(`no tproxy answers at ${address} (${reason})`, 1, { cause: err });
      }),
  };
  return createClient(tproxyAdmin.TproxyAdmin, transport);
}

async function givenToken({ tokenFile }: Pick<ProxyOptions, "tokenFile">): Promise<string> {
  const token = process.env["DSTACK_TPROXY_TOKEN"];
  if (tokenFile === undefined) {
    if (token !== undefined) return token;
    throw new CliError("give --token-file <file>, or set DSTACK_TPROXY_TOKEN", 2);
  }
  try {
    return (await readFile(tokenFile, "utf8")).trim();
  } catch (err) {
    throw new CliError(`--token-file: ${errorMessage(err)}`, 2, { cause: err });
  }
}
