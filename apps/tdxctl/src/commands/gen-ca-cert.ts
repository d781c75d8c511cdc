import { hex, sha256 } from "@dstack/core";
import { CertificateAuthority, loadP256 } from "@dstack/ra-tls";
import type { Command } from "commander";
import { parseCaLevel } from "../ca-level.js";
import { type CliContext, optionsOf } from "../context.js";
import { printJson, writeKeyAndCertificate } from "../output.js";

/** `tdxctl gen-ca-cert`: a CA of one's own. */
export function registerGenCaCert(program: Command, context: CliContext): void {
  program
    .command("gen-ca-cert")
    .summary("make a CA key and its certificate")
    .description(
      "Makes a P-256 key and a self-signed CA certificate: the root of a KMS, or the temporary CA that boot\n" +
        "certificates are signed with. Works anywhere; there is no quote in it. Files are not overwritten.",
    )
    .requiredOption("--cert <file>", "where the certificate goes")
    .requiredOption("--key <file>", "where the private key goes, mode 0600")
    .option("--ca-level <number>", "how many CAs there may be below this one", "1")
    .option("--common-name <name>", "subject of the certificate", "App Root CA")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf<{ cert: string; key: string; caLevel: string; commonName: string }>(command);
      const pathLength = parseCaLevel(options.caLevel);
      const ca = await CertificateAuthority.create({ commonName: options.commonName, pathLength });
      await writeKeyAndCertificate(
        { path: options.key, pem: loadP256(ca.key).privateKeyPem },
        { path: options.cert, pem: ca.certPem },
      );
      const fingerprint = hex(sha256(ca.certDer));
      if (options.json === true)
        printJson(context, { cert: options.cert, key: options.key, sha256: fingerprint });
      else context.print(`${options.cert}: ${options.commonName}, SHA-256 ${fingerprint}\n`);
    });
}
