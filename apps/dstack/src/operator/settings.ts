import { isIPv4 } from "node:net";
import { z } from "zod";
import { CliError } from "../output.js";

const port = z
  .string()
  .regex(/^\d{1,5}$/, "must be a port")
  .transform(Number)
  .pipe(z.int().min(1).max(65_535));
const text = z.string().min(1, "must not be empty");
/** An empty variable means that there is none. */
const optional = <T extends z.ZodType>(schema: T) =>
  z.union([z.literal("").transform(() => undefined), schema], { error: "must be empty or valid" });

/** The variables of `build-config.sh`; `scripts/build-config.example.sh` says what each means. */
export const Settings = z.object({
  TEEPOD_RPC_LISTEN_PORT: port,
  TEEPOD_CID_POOL_START: z
    .string()
    .regex(/^\d{1,9}$/, "must be a number")
    .transform(Number)
    .pipe(z.int().min(3)),
  KMS_RPC_LISTEN_PORT: port,
  TPROXY_RPC_LISTEN_PORT: port,
  TPROXY_ADMIN_LISTEN_PORT: port,
  TPROXY_WG_INTERFACE: text,
  TPROXY_WG_LISTEN_PORT: port,
  TPROXY_WG_IP: z.string().refine(isIPv4, "must be an IPv4 address"),
  TPROXY_WG_CLIENT_IP_RANGE: text,
  TPROXY_SERVE_PORT: port,
  TPROXY_LISTEN_PORT_PASSTHROUGH: optional(port),
  TPROXY_PUBLIC_DOMAIN: text,
  CERBOT_WORKDIR: text,
  TPROXY_CERT: text,
  TPROXY_KEY: text,
  CF_API_TOKEN: optional(text),
  CF_ZONE_ID: optional(text),
  ACME_URL: z.url("must be a URL"),
  PCCS_URL: z.url("must be a URL"),
  DOCKER_REGISTRY: z.string(),
  QGS_PORT: port,
  SIMULATED_TDX: z.enum(["yes", "no"], "must be yes or no").transform((answer) => answer === "yes"),
});
export type Settings = z.infer<typeof Settings>;

/**
 * The settings of an installation, out of the environment.
 * @throws {CliError} a sentence for each variable that is missing or wrong, exit code 2
 */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const parsed = Settings.safeParse(env);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => {
    const name = String(path[0]);
    return env[name] === undefined ? `${name} is missing` : `${name}=${env[name]}: ${message}`;
  });
  throw new CliError(`build-config.sh is not complete:\n  ${problems.join("\n  ")}`, 2);
}
