import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { APP_PORT, APP_TLS_PORT } from "./ends.js";

export const BASE_DOMAIN = "app.example.org";
/** Where all apps are. */
export const APP_ADDRESS = "127.0.0.1";

/** Apps to route to, and a certificate for their names. */
export interface Site {
  readonly directory: string;
  readonly ids: readonly string[];
  readonly certPath: string;
  readonly keyPath: string;
  /** Both in one file, as HAProxy wants them. */
  readonly bothPath: string;
}

/** The names of an app, by what a connection with them becomes. Every proxy knows all of them. */
export const namesOf = (id: string) => ({
  /** TLS passes through, to the app's port in clear: for canned connections. */
  canned: `${id}-${APP_PORT}s.${BASE_DOMAIN}`,
  /** TLS passes through to the app, which speaks TLS. */
  passed: `${id}-${APP_TLS_PORT}s.${BASE_DOMAIN}`,
  /** TLS ends in the proxy. */
  ended: `${id}-${APP_PORT}.${BASE_DOMAIN}`,
});

/** Each name of each app, and the port it leads to. */
export function* routesOf(ids: readonly string[]): Generator<readonly [name: string, port: number]> {
  for (const id of ids) {
    const { canned, passed, ended } = namesOf(id);
    yield [canned, APP_PORT];
    yield [passed, APP_TLS_PORT];
    yield [ended, APP_PORT];
  }
}

/** Ids that look as random as real ones, the same in every run. */
export function makeIds(count: number): string[] {
  return Array.from({ length: count }, (_, index) => createHash("sha1").update(`app ${index}`).digest("hex"));
}

/** A site with so many apps; its certificate is an ECDSA P-256 one. */
export function makeSite(directory: string, apps: number): Site {
  const [certPath, keyPath, bothPath] = ["cert.pem", "key.pem", "both.pem"].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  const subject = ["-subj", `/CN=*.${BASE_DOMAIN}`, "-addext", `subjectAltName=DNS:*.${BASE_DOMAIN}`];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  execFileSync(
    "openssl",
    ["req", "-x509", ...key, "-days", "2", ...subject, "-keyout", keyPath, "-out", certPath],
    {
      stdio: "pipe",
    },
  );
  writeFileSync(bothPath, execFileSync("cat", [certPath, keyPath]));
  return { directory, ids: makeIds(apps), certPath, keyPath, bothPath };
}
