import { InputError, errorMessage, readRegularFile } from "@dstack/core";
import type { ServerIdentity } from "@dstack/ra-rpc";
import type { TproxyConfig } from "./config.js";

const MAX_PEM_BYTES = 256 * 1024;

/** What we show to callers of the RPC listener. @throws {InputError} a file that cannot be read */
export async function loadIdentity(tls: TproxyConfig["tls"]): Promise<ServerIdentity> {
  const read = async (what: string, path: string): Promise<string> => {
    try {
      return Buffer.from(await readRegularFile(path, MAX_PEM_BYTES)).toString("utf8");
    } catch (err) {
      throw new InputError(`[tls] ${what}: ${errorMessage(err)}`, { cause: err });
    }
  };
  return { key: await read("key", tls.key), certChain: await read("certs", tls.certs) };
}
