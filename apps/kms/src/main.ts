import { X509Certificate } from "node:crypto";
import { InputError, errorCode, errorMessage, readRegularFile } from "@dstack/core";
import { loadConfig, runDaemon } from "@dstack/daemon";
import { fromJson } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { Command } from "commander";
import { checkConsistency, checkInclusion } from "./cert-log/check-proof.js";
import { KmsConfig } from "./config.js";
import { initKms } from "./init/init.js";
import { DEFAULT_ALT_NAMES, issueServerCert } from "./init/server-cert.js";
import { MAX_CERT_FILE_BYTES } from "./keys/root-keys.js";
import { readSecretFile } from "./keys/secret-file.js";
import { onboardReplica } from "./onboard/replica.js";
import { OnboardTokens } from "./onboard/tokens.js";
import { startKms } from "./service.js";

/** `a,b` and repeated options both add to the list. */
function addNames(text: string, names: readonly string[] = []): string[] {
  return [...names, ...text.split(",").map((name) => name.trim())].filter((name) => name !== "");
}

function altNames(given: readonly string[] | undefined): readonly string[] {
  return given ?? DEFAULT_ALT_NAMES;
}

async function readText(path: string): Promise<string> {
  return Buffer.from(await readRegularFile(path, MAX_CERT_FILE_BYTES)).toString("utf8");
}

async function readCertificate(path: string): Promise<X509Certificate> {
  try {
    return new X509Certificate(await readText(path));
  } catch (err) {
    throw new InputError(`certificate ${path}: ${errorMessage(err)}`, { cause: err });
  }
}

/** A token in the arguments would be in every list of processes (K4). */
async function readToken(file: string): Promise<string> {
  if (file !== "-") return (await readSecretFile(file)).trim();
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) text += String(chunk);
  return text.trim();
}

const program = new Command("kms")
  .description("Releases keys to confidential VMs whose attestation was verified.")
  .version("0.1.0")
  .option("-c, --config <file>", "configuration file", "kms.toml")
  .showHelpAfterError()
  .action(async ({ config }: { config: string }) => {
    await runDaemon("kms", async () => startKms(await loadConfig(KmsConfig, { path: config })));
  });

const NAMES_HELP = `host names and IP addresses, comma-separated (default: ${DEFAULT_ALT_NAMES.join(",")})`;

program
  .command("init")
  .description("create root CA and server certificate; never overwrites")
  .requiredOption("--dir <dir>", "directory for keys and certificates")
  .option("--common-name <name>", "name of the root CA", "dstack KMS root CA")
  .option("--alt-name <names>", NAMES_HELP, addNames)
  .action(async (options: { dir: string; commonName: string; altName?: string[] }) => {
    await initKms(options.dir, { commonName: options.commonName, altNames: altNames(options.altName) });
    process.stdout.write(`root CA and server certificate are in ${options.dir}\n`);
  });

program
  .command("issue-server-cert")
  .description("issue a TLS server certificate of the root CA, for example for tproxy; never overwrites")
  .requiredOption("--dir <dir>", "directory that kms init made")
  .requiredOption("--out-cert <file>", "certificate chain to write")
  .requiredOption("--out-key <file>", "private key to write")
  .option("--common-name <name>", "name in the certificate", "dstack server")
  .option("--alt-name <names>", NAMES_HELP, addNames)
  .action(
    async (options: {
      dir: string;
      outCert: string;
      outKey: string;
      commonName: string;
      altName?: string[];
    }) => {
      await issueServerCert(options.dir, { ...options, altNames: altNames(options.altName) });
      process.stdout.write(`wrote ${options.outCert} and ${options.outKey}\n`);
    },
  );

program
  .command("onboard-token")
  .description("make a token with which one replica may get the root key, good for 15 minutes")
  .requiredOption("--dir <dir>", "onboard_token_dir of the KMS")
  .action(async ({ dir }: { dir: string }) => {
    process.stdout.write(`${await (await OnboardTokens.open(dir)).create()}\n`);
  });

program
  .command("onboard")
  .description("get the root key from another KMS and become its replica; never overwrites")
  .requiredOption("--from <url>", "admin listener of the other KMS, https://host:port")
  .requiredOption("--ca <file>", "root CA certificate of the other KMS")
  .requiredOption("--token-file <file>", "one-time token of kms onboard-token there; - reads standard input")
  .requiredOption("--dir <dir>", "directory for keys and certificates")
  .option("--tappd <socket>", "tappd of the confidential VM we run in", "/var/run/tappd.sock")
  .option("--alt-name <names>", NAMES_HELP, addNames)
  .action(
    async (options: {
      from: string;
      ca: string;
      tokenFile: string;
      dir: string;
      tappd: string;
      altName?: string[];
    }) => {
      await onboardReplica({
        from: options.from,
        caPem: await readText(options.ca),
        token: await readToken(options.tokenFile),
        tappdSocket: options.tappd,
        dir: options.dir,
        altNames: altNames(options.altName),
      });
      process.stdout.write(`root CA and server certificate are in ${options.dir}\n`);
    },
  );

program
  .command("check-inclusion")
  .description("check that a certificate is in the issue log of a KMS")
  .requiredOption("--ca <file>", "root CA certificate of the KMS")
  .requiredOption("--certificate <file>", "the certificate")
  .requiredOption("--proof <file>", "JSON answer of KMSAdmin.GetInclusionProof")
  .action(async (options: { ca: string; certificate: string; proof: string }) => {
    const proof = fromJson(kms.InclusionProofSchema, await readText(options.proof));
    const found = checkInclusion(
      proof,
      await readCertificate(options.certificate),
      await readCertificate(options.ca),
    );
    process.stdout.write(`entry ${found.index} of ${found.size}, made ${found.entry.at}\n`);
  });

program
  .command("check-consistency")
  .description("check that nothing was changed in or cut off an issue log since an earlier head")
  .requiredOption("--ca <file>", "root CA certificate of the KMS")
  .requiredOption("--earlier <file>", "JSON answer of KMSAdmin.GetLogHead, kept")
  .requiredOption("--proof <file>", "JSON answer of KMSAdmin.GetConsistencyProof for its size")
  .action(async (options: { ca: string; earlier: string; proof: string }) => {
    const earlier = fromJson(kms.LogHeadSchema, await readText(options.earlier));
    const proof = fromJson(kms.ConsistencyProofSchema, await readText(options.proof));
    const { oldSize, size } = checkConsistency(earlier, proof, await readCertificate(options.ca));
    process.stdout.write(`the ${oldSize} entries of the earlier log begin the ${size} of today\n`);
  });

program.parseAsync().catch((err: unknown) => {
  const reason =
    errorCode(err) === "EEXIST" ? `${errorMessage(err)}; nothing is ever overwritten` : errorMessage(err);
  process.stderr.write(`kms: ${reason}\n`);
  process.exitCode = err instanceof InputError ? 2 : 1;
});
