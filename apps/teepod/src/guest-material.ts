import { readFile } from "node:fs/promises";
import { errorCode, fromHex, hex } from "@dstack/core";
import { measureImage } from "@dstack/tdx-attest";
import type { TeepodConfig } from "./config.js";
import type { GuestImage } from "./images/image.js";
import type { GuestMaterial } from "./vm/launch-files.js";

const SEED_BYTES = 32;

/**
 * Reads what goes into every guest's shared folder. Only a development image gets `simulator.json`: production images
 * do not contain the simulator, and a file they ignore would only look as if they did. So it is with `authorized_keys`.
 */
export async function loadGuestMaterial(config: TeepodConfig["cvm"]): Promise<GuestMaterial> {
  const seed =
    config.simulator_seed_file === undefined
      ? undefined
      : fromHex(
          (await readFile(config.simulator_seed_file, "utf8")).trim(),
          "the simulator seed",
          SEED_BYTES,
        );
  const keysFile = config.authorized_keys_file;
  return {
    hints: { kmsUrl: config.kms_url, tproxyUrl: config.tproxy_url, dockerRegistry: config.docker_registry },
    certificates: {
      caCert: await readFile(config.ca_cert, "utf8"),
      ...(config.tmp_ca_cert !== undefined &&
        config.tmp_ca_key !== undefined && {
          tmpCa: {
            cert: await readFile(config.tmp_ca_cert, "utf8"),
            key: await readFile(config.tmp_ca_key, "utf8"),
          },
        }),
    },
    simulator: async (image: GuestImage) => {
      if (seed === undefined || !image.isDev) return undefined;
      // Measured from the files that are about to be started, at every start: an image may have been rebuilt.
      return JSON.stringify({ seed: hex(seed), launch: await measureImage(image.dir) });
    },
    authorizedKeys: async (image: GuestImage) => {
      if (keysFile === undefined || !image.isDev) return undefined;
      return readFile(keysFile, "utf8").catch((err: unknown) => {
        if (errorCode(err) === "ENOENT") return undefined;
        throw err;
      });
    },
  };
}
