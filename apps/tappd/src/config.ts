import { z } from "zod";

const port = z.int().min(0).max(65_535);

/** `tappd.toml`. Paths are absolute; `tdxctl boot` writes the file. */
export const TappdConfig = z.strictObject({
  core: z.strictObject({
    /** The app's keys as the KMS gave them, JSON; see `app/app-keys.ts`. */
    keys_file: z.string().default("/run/dstack/appkeys.json"),
    /** The exact bytes of the app-compose document. */
    app_compose_file: z.string(),
    /** Events of RTMR3, shared with `tdxctl`. */
    event_log: z.string().default("/run/log/dstack/runtime_events.log"),
    /** JSON text that verifiers need to recompute the VM's measurements. */
    vm_config: z.string().refine(isJsonObject, "must be the text of a JSON object").default("{}"),
    /** Where the simulated platform's service listens, on machines without TDX. */
    simulator_socket: z.string().optional(),
    /** From the arrival of a quote request to its answer, waiting for its turn included. Old SDKs give up after 30 s. */
    quote_timeout_ms: z.int().min(100).max(300_000).default(20_000),
  }),
  sockets: z
    .strictObject({
      tappd: z.string().default("/var/run/tappd.sock"),
      dstack: z.string().default("/var/run/dstack.sock"),
      /** Where the sockets that the compose document scopes are: `<name>/tappd.sock` (G7). */
      scoped_dir: z.string().default("/var/run/tappd"),
    })
    .prefault({}),
  external: z
    .strictObject({
      host: z.string().default("0.0.0.0"),
      /** Plain HTTP, for the inside of the tunnel. */
      port: port.default(8090),
      /** The same over TLS, with an RA-TLS certificate. */
      tls_port: port.default(8043),
    })
    .prefault({}),
  docker_socket: z.string().default("/var/run/docker.sock"),
  log_level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info"),
});

export type TappdConfig = z.output<typeof TappdConfig>;

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
