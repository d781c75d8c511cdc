import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TestCertificate {
  readonly certPem: string;
  readonly keyPem: string;
}

/** A self-signed P-256 certificate, valid from now for a day. */
export function makeCertificate(...names: string[]): TestCertificate {
  return make(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], names);
}

/** One with a key too short for TLS (OpenSSL's security level 1 wants RSA of 1024 bits). */
export function weakCertificate(...names: string[]): TestCertificate {
  return make(["-newkey", "rsa:512"], names);
}

function make(newKey: string[], names: string[]): TestCertificate {
  const directory = mkdtempSync(join(tmpdir(), "tls-proxy-test-"));
  try {
    const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
    const altNames = names.map((name) => `DNS:${name}`).join(",");
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", ...newKey, "-nodes", "-days", "1"],
        ...["-subj", `/CN=${names[0] ?? "none"}`.slice(0, 60), "-addext", `subjectAltName=${altNames}`],
        ...["-keyout", key, "-out", cert],
      ],
      { stdio: "pipe" },
    );
    return { certPem: readFileSync(cert, "utf8"), keyPem: readFileSync(key, "utf8") };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
