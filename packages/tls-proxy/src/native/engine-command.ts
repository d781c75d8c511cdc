import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The native engine cannot run on this machine: it is not built, or Node's OpenSSL is another one than it needs. */
export class EngineUnavailable extends Error {
  override name = "EngineUnavailable";
}

const FILE = "tls_proxy.node";

/** The addon runs in a Node process that does nothing else, for the OpenSSL in it. */
const RUN = "process.exitCode = require(process.argv[1]).run(3)";

/**
 * How to start the engine: with the addon beside the bundle, else where `build-addon.sh` puts it.
 * @throws {EngineUnavailable} there is none
 */
export function engineCommand(): readonly string[] {
  const candidates = [`./${FILE}`, `../../build/${FILE}`].map((at) =>
    fileURLToPath(new URL(at, import.meta.url)),
  );
  const addon = candidates.find((candidate) => existsSync(candidate));
  if (addon === undefined) {
    throw new EngineUnavailable(
      `the native data plane ${FILE} is missing: build it with packages/tls-proxy/build-addon.sh, or use engine = "js"`,
    );
  }
  return [process.execPath, "-e", RUN, addon];
}
