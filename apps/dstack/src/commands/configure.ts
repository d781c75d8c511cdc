import { allowedImage, computeMeasurements } from "@dstack/attestation";
import type { AllowedImage } from "@dstack/attestation";
import { writeFileAtomic } from "@dstack/core";
import { measureImage, readLaunch } from "@dstack/tdx-attest";
import type { Command } from "commander";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { stringify } from "smol-toml";
import {
  exists,
  keepKmsRoot,
  keepOwnCertificate,
  keepServerCertificate,
  keepSimulatedPlatform,
  keepToken,
} from "../local/material.js";
import { operatorConfigs } from "../operator/configs.js";
import { readSettings } from "../operator/settings.js";
import type { Settings } from "../operator/settings.js";
import { imageEntry } from "../verify/given-image.js";

/** `dstack configure`: the second half of `scripts/build.sh`, whose settings it finds in the environment. */
export function registerConfigure(program: Command): void {
  const command = program
    .command("configure", { hidden: true })
    .description(
      "write certificates and configurations for the settings of build-config.sh in the environment",
    );
  command
    .command("check")
    .description("only check the settings")
    .action(() => void readSettings(process.env));
  command
    .command("write")
    .description("write what is missing, and the configurations anew")
    .argument("<dir>", "directory of the installation")
    .argument("<image>", "name of the guest image below <dir>/images")
    .action(async (dir: string, image: string) => {
      process.stdout.write((await configure(resolve(dir), image, readSettings(process.env))).join("\n"));
    });
}

/** @returns what a person must still do, a line each */
async function configure(dir: string, image: string, settings: Settings): Promise<string[]> {
  const certs = join(dir, "certs");
  await mkdir(certs, { recursive: true, mode: 0o700 });
  for (const part of ["kms", "tproxy", "vm"]) {
    await mkdir(join(dir, "run", part), { recursive: true, mode: 0o700 });
  }
  await keepKmsRoot(certs);
  await keepServerCertificate(certs, join(certs, "tproxy.pem"), join(certs, "tproxy.key"));
  await keepToken(join(certs, "teepod.token"));
  await keepToken(join(certs, "tproxy.token"));
  if (settings.SIMULATED_TDX) {
    await keepSimulatedPlatform(join(certs, "simulator.seed"), join(certs, "simulated-root.pem"));
  }

  const proxyCertificate = await certificateOf(dir, settings);
  const allowed = await measured(join(dir, "images", image), image, settings);
  const configs = operatorConfigs({ dir, settings, image: allowed, proxyCertificate });
  for (const [name, config] of Object.entries(configs)) {
    await writeFileAtomic(join(dir, `${name}.toml`), `${stringify(config)}\n`, { mode: 0o600 });
  }
  return [
    ...((await exists(proxyCertificate.cert))
      ? []
      : [
          `${proxyCertificate.cert} is not there yet: tproxy does not start before; put it there, or run ./certbot`,
        ]),
    ...(allowed.rtmr0 === "any"
      ? ["rtmr0 is not pinned: nobody checks the host's ACPI tables (docs/operator/tdx-host.md tells how to)"]
      : []),
  ];
}

/** The certificate of the settings; a simulated installation that has none gets one of its own making. */
async function certificateOf(dir: string, settings: Settings): Promise<{ cert: string; key: string }> {
  const { TPROXY_CERT: cert, TPROXY_KEY: key } = settings;
  if (!settings.SIMULATED_TDX || (await exists(resolve(dir, cert)))) {
    return { cert: resolve(dir, cert), key: resolve(dir, key) };
  }
  const own = join(dir, "certs", "proxy");
  await mkdir(own, { recursive: true, mode: 0o700 });
  await keepOwnCertificate(own, settings.TPROXY_PUBLIC_DOMAIN);
  return { cert: join(own, "cert.pem"), key: join(own, "key.pem") };
}

async function measured(imageDir: string, name: string, settings: Settings): Promise<AllowedImage> {
  if (settings.SIMULATED_TDX) return allowedImage(name, await measureImage(imageDir));
  return imageEntry(name, computeMeasurements(await readLaunch(imageDir, {})));
}
