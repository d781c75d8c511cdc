import { InputError, readRegularFileIfAny } from "@dstack/core";

const CONFIG_PATH = "/etc/tdx-attest.conf";
const MAX_CONFIG_BYTES = 4096;

/**
 * The vsock port in the configuration file of Intel's attestation library (`port=4050`), if there is one.
 * @throws {InputError} a port that is none
 */
export async function qgsPort(path = CONFIG_PATH): Promise<number | undefined> {
  const bytes = await readRegularFileIfAny(path, MAX_CONFIG_BYTES);
  if (bytes === undefined) return undefined;
  for (const line of new TextDecoder().decode(bytes).split("\n")) {
    const found = /^\s*port\s*=\s*(\S*)\s*$/.exec(line);
    if (found === null) continue;
    const port = Number(found[1]);
    if (!Number.isInteger(port) || port < 1 || port > 0xffffffff) {
      throw new InputError(`${path}: port "${found[1]}" is not a vsock port`);
    }
    return port;
  }
  return undefined;
}
