import { allowedImage, computeMeasurements } from "@dstack/attestation";
import type { AllowedImage } from "@dstack/attestation";
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
import { allowedImages, imagesOf } from "../operator/allowed-images.js";
import { operatorConfigs } from "../operator/configs.js";
import { writeUnlessEdited } from "../operator/kept-file.js";
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
    .description("write what is missing, and anew the configurations that nobody edited")
    .argument("<dir>", "directory of the installation")
    .argument("<image>", "name of the guest image below <dir>/images")
    .option("--force", "edited configurations too")
    .action(async (dir: string, image: string, options: { force?: boolean }) => {
      const notes = await configure(resolve(dir), image, readSettings(process.env), options.force === true);
      process.stdout.write(notes.join("\n"));
    });
}

/** @returns what a person must still do, a line each */
async function configure(dir: string, image: string, settings: Settings, force: boolean): Promise<string[]> {
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
  const measure = (name: string): Promise<AllowedImage> =>
    measured(join(dir, "images", name), name, settings);
  const allowed = {
    kms: await allowedImages(join(dir, "kms.toml"), image, measure),
    tproxy: await allowedImages(join(dir, "tproxy.toml"), image, measure),
  };
  const notes: string[] = [];
  const configs = operatorConfigs({ dir, settings, allowed, proxyCertificate });
  for (const [name, config] of Object.entries(configs)) {
    const path = join(dir, `${name}.toml`);
    const note = await writeUnlessEdited(path, `${stringify(config)}\n`, { force });
    if (note !== undefined) notes.push(note);
  }
  const inForce = [...(await imagesOf(join(dir, "kms.toml"))), ...(await imagesOf(join(dir, "tproxy.toml")))];
  return [
    ...notes,
    ...((await exists(proxyCertificate.cert))
      ? []
      : [
          `${proxyCertificate.cert} is not there yet: tproxy does not start before; put it there, or run ./certbot`,
        ]),
    ...(inForce.some(({ rtmr0 }) => rtmr0 === "any")
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
