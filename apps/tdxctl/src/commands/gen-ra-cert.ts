import { raTlsReportData } from "@dstack/attestation";
import { InputError, hex, readRegularFile, sha256 } from "@dstack/core";
import { CertificateAuthority, createRaTlsCertificate, generateP256, pemToDer } from "@dstack/ra-tls";
import type { Command } from "commander";
import { type CliContext, openEventLog, optionsOf } from "../context.js";
import { printJson, writeKeyAndCertificate } from "../output.js";

const MAX_PEM_BYTES = 64 * 1024;

interface Options {
  caCert?: string;
  caKey?: string;
  certPath: string;
  keyPath: string;
  commonName: string;
  altName?: string[];
}

/** `tdxctl gen-ra-cert`: a key and a certificate with a quote over it. */
export function registerGenRaCert(program: Command, context: CliContext): void {
  program
    .command("gen-ra-cert")
    .summary("make a key and an RA-TLS certificate for it")
    .description(
      "Makes a P-256 key and a certificate that carries a quote over that key and the event log; good for 24 hours.\n" +
        "A CA only gives the certificate its form: what identifies this machine is the quote. Files are not overwritten.",
    )
    .requiredOption("-c, --cert-path <file>", "where the certificate (and its chain) goes")
    .requiredOption("-k, --key-path <file>", "where the private key goes, mode 0600")
    .option("--ca-cert <file>", "CA certificate to sign with; without it the certificate signs itself")
    .option("--ca-key <file>", "key of that CA")
    .option("--common-name <name>", "subject of the certificate", "RA-TLS certificate")
    .option("--alt-name <name...>", "host names or IP addresses of the certificate")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf<Options>(command);
      const issuer = await loadIssuer(options);
      const key = generateP256();
      const { provider, log } = await openEventLog(context, options);
      const { quote, eventLog } = await log.quote(raTlsReportData(key.publicKeySpki));
      const { certPem, chainPem } = await createRaTlsCertificate({
        key: key.privateKey,
        provider: { getQuote: async () => quote },
        eventLog,
        commonName: options.commonName,
        altNames: options.altName ?? [],
        ...(issuer === undefined ? {} : { issuer }),
      });
      await writeKeyAndCertificate(
        { path: options.keyPath, pem: key.privateKeyPem },
        { path: options.certPath, pem: chainPem },
      );
      const fingerprint = hex(sha256(pemToDer(certPem)));
      const result = {
        platform: provider.kind,
        cert: options.certPath,
        key: options.keyPath,
        sha256: fingerprint,
      };
      if (options.json === true) printJson(context, result);
      else
        context.print(
          `${options.certPath}: certificate with a ${provider.kind} quote, SHA-256 ${fingerprint}\n`,
        );
    });
}

async function loadIssuer(options: Options): Promise<CertificateAuthority | undefined> {
  const { caCert, caKey } = options;
  if (caCert === undefined && caKey === undefined) return undefined;
  if (caCert === undefined || caKey === undefined)
    throw new InputError("--ca-cert and --ca-key belong together");
  const read = async (path: string): Promise<string> =>
    new TextDecoder().decode(await readRegularFile(path, MAX_PEM_BYTES));
  return CertificateAuthority.load(await read(caCert), await read(caKey));
}
