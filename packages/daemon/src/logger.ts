import { pino } from "pino";
import type { DestinationStream, Level, Logger } from "pino";

export type { Logger };

/** Names under which a secret could be logged by mistake; their values are replaced, three levels deep. */
const SECRET_FIELDS = [
  "authorization",
  "cookie",
  "password",
  "token",
  "tokens",
  "secret",
  "seed",
  "privateKey",
  "private_key",
  "privateKeyPem",
  "appKey",
  "app_key",
  "diskCryptKey",
  "disk_crypt_key",
  "envCryptKey",
  "env_crypt_key",
  "keyPem",
];

/**
 * A logger that writes one JSON object a line to stdout.
 * @param options.level the least level that is written, `info` by default
 * @param options.destination another place to write to
 */
export function createLogger(options: {
  name: string;
  level?: Level;
  destination?: DestinationStream;
}): Logger {
  const settings = {
    name: options.name,
    level: options.level ?? "info",
    redact: {
      paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]),
      censor: "[redacted]",
    },
  };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

/** A logger that writes nothing. */
export function silentLogger(): Logger {
  return pino({ level: "silent" });
}
