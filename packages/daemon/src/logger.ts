import { writeSync } from "node:fs";
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
 * Standard output, line by line. A line that cannot be written, because the reader is gone or the disk is full, is
 * lost: a daemon serves and stops all the same. (pino's own destination tries for ever when the process exits.)
 */
const stdout: DestinationStream = {
  write(line) {
    let rest = Buffer.from(line);
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(1, rest));
    } catch {
      // There is no other place to tell it to.
    }
  },
};

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
  return pino(
    {
      name: options.name,
      level: options.level ?? "info",
      redact: {
        paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]),
        censor: "[redacted]",
      },
    },
    options.destination ?? stdout,
  );
}

/** A logger that writes nothing. */
export function silentLogger(): Logger {
  return pino({ level: "silent" });
}
