import { randomBytes } from "node:crypto";
import { createFileExclusive, errorCode, hex, InputError, parseAppId, parseInstanceId } from "@dstack/core";
import {
  CertificateAuthority,
  deriveAppKey,
  deriveDiskKey,
  deriveEnvKey,
  deriveK256AppKey,
  deriveK256Root,
} from "@dstack/ra-tls";
import type { Command } from "commander";
import { parseCaLevel } from "../ca-level.js";
import { type CliContext, optionsOf } from "../context.js";
import { printJson } from "../output.js";

const YEAR_MS = 365 * 86_400_000;

interface Options {
  output: string;
  caLevel: string;
  appId?: string;
  instanceId?: string;
}

/** `tdxctl gen-app-keys`: the keys of an app that has no KMS. */
export function registerGenAppKeys(program: Command, context: CliContext): void {
  program
    .command("gen-app-keys")
    .summary("make an app's keys without a KMS")
    .description(
      "Writes the keys a KMS would give an app, derived from a root key that is thrown away: for apps without a KMS\n" +
        "and for developing with tappd, whose keys file this is. JSON, mode 0600; an existing file is not overwritten.",
    )
    .requiredOption("-o, --output <file>", "where the keys go")
    .option("--ca-level <number>", "how many CAs there may be below the app's CA", "1")
    .option("--app-id <hex>", "20 bytes (default: random)")
    .option("--instance-id <hex>", "20 bytes (default: random)")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf<Options>(command);
      const keys = await generateAppKeys(options);
      try {
        await createFileExclusive(options.output, `${JSON.stringify(keys, null, 2)}\n`, { mode: 0o600 });
      } catch (err) {
        if (errorCode(err) === "EEXIST")
          throw new InputError(`${options.output} exists: it is not overwritten`);
        throw err;
      }
      // Never the keys themselves.
      const { app_id, instance_id } = keys;
      if (options.json === true) printJson(context, { output: options.output, app_id, instance_id });
      else context.print(`${options.output}: keys of app ${app_id}, instance ${instance_id}\n`);
    });
}

interface AppKeysFile {
  readonly app_id: string;
  readonly instance_id: string;
  readonly app_key: string;
  readonly disk_crypt_key: string;
  readonly env_crypt_key: string;
  readonly k256_key: string;
  readonly k256_signature: string;
  readonly certificate_chain: readonly string[];
}

async function generateAppKeys(options: Options): Promise<AppKeysFile> {
  const pathLength = parseCaLevel(options.caLevel);
  const appId = parseAppId(options.appId ?? hex(randomBytes(20)));
  const instanceId = parseInstanceId(options.instanceId ?? hex(randomBytes(20)));
  const root = await CertificateAuthority.create({ commonName: "Local Root CA", pathLength: pathLength + 1 });
  const app = deriveAppKey(root.key, appId);
  const certificate = await root.issue({
    publicKey: app.publicKey,
    commonName: appId,
    ca: { pathLength },
    notAfter: new Date(Date.now() + YEAR_MS),
  });
  const k256 = deriveK256AppKey(deriveK256Root(root.key), appId);
  return {
    app_id: appId,
    instance_id: instanceId,
    app_key: app.privateKeyPem,
    disk_crypt_key: hex(deriveDiskKey(root.key, { mode: "v1", appId, instanceId })),
    env_crypt_key: hex(deriveEnvKey(root.key, appId)),
    k256_key: hex(k256.key),
    k256_signature: hex(k256.signature),
    certificate_chain: [certificate, root.certPem],
  };
}
