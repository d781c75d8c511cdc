import { isIP } from "node:net";
import { AttestationConfig } from "@dstack/ra-tls";
import { NodeName, etcdConfig } from "@dstack/store";
import { DEFAULT_LIMITS, parsePrefix, parseServerName } from "@dstack/tls-proxy";
import { parseInterfaceName } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import { z } from "zod";
import { ENGINES } from "./data-plane.js";
import { canonicalIp, hostCidr, parseIpRange } from "./registry/ip-range.js";
import type { NodeDescription } from "./registry/nodes.js";

const port = z.int().min(0).max(65535);
const path = z.string().min(1);
const seconds = z.number().positive();

/** A check that throws, as a zod refinement that keeps its sentence. */
function checkedBy<T>(check: (text: string) => T): z.ZodType<string, string> {
  return z.string().superRefine((text, context) => {
    try {
      check(text);
    } catch (err) {
      context.addIssue({ code: "custom", message: err instanceof Error ? err.message : String(err) });
    }
  });
}

const ipAddress = z.string().refine((text) => isIP(text) !== 0, "must be an IP address");

const admin = z
  .strictObject({
    /** Anywhere but on loopback it is HTTPS, with the certificate of `[tls]`. */
    host: ipAddress.default("127.0.0.1"),
    /** 0: any free one. */
    port: port.optional(),
    /** A unix socket in place of a port. */
    socket: path.optional(),
    /** There is no access without a token (P7). `name` is for the audit log. */
    tokens: z
      .array(z.strictObject({ name: z.string().min(1).max(64), token_file: path }))
      .min(1, "must have at least one token"),
  })
  .refine((value) => (value.port === undefined) !== (value.socket === undefined), {
    message: "needs port or socket, and not both",
  });

const baseDomain = z
  .string()
  .transform((text) => text.toLowerCase().replace(/\.$/, ""))
  .refine((text) => parseServerName(text) !== undefined, "must be a domain name");

/** `8080` or `8000-8999`. */
const portRange = z
  .string()
  .regex(/^\d{1,5}(-\d{1,5})?$/, "must be a port or a range of ports, such as 8000-8999")
  .transform((text) => {
    const [from, to] = text.split("-").map(Number);
    return { from: from ?? 0, to: to ?? from ?? 0 };
  })
  .refine(({ from, to }) => from >= 1 && from <= to && to <= 65535, "must be between 1 and 65535");

const limits = z.strictObject({
  /** From accept to the first byte; as `hello_secs` unless given, and never longer. */
  first_byte_secs: seconds.optional(),
  /** From accept to the whole ClientHello. */
  hello_secs: seconds.default(5),
  handshake_secs: seconds.default(5),
  /** Finding out where a custom domain leads. */
  lookup_secs: seconds.default(5),
  connect_secs: seconds.default(5),
  idle_secs: seconds.default(600),
  half_closed_secs: seconds.default(30),
  /** 0: none. */
  total_secs: z.number().min(0).default(0),
  connections: z.int().positive().default(DEFAULT_LIMITS.connections),
  connections_per_app: z.int().positive().default(DEFAULT_LIMITS.connectionsPerApp),
  connections_per_source: z.int().positive().default(DEFAULT_LIMITS.connectionsPerSource),
});

const wg = z
  .strictObject({
    private_key: z.string().optional(),
    /** Made on the first start where it does not exist. */
    private_key_file: path.optional(),
    /** Only checked: it must belong to the private key. */
    public_key: z.string().optional(),
    /** Our address in the tunnel, IPv4 or IPv6. */
    ip: checkedBy(canonicalIp).transform(canonicalIp),
    listen_port: z.int().min(1).max(65535),
    /** The addresses guests get from this node; no other node has one of them. */
    client_ip_range: checkedBy(parseIpRange),
    /** Unique on the machine, at most 15 characters. */
    interface: checkedBy(parseInterfaceName),
    /** `host:port` at which guests reach `listen_port`. */
    endpoint: z.string().regex(/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, "must be host:port"),
    backend: z.enum(["auto", "kernel", "userspace"]).default("auto"),
    mtu: z.int().min(576).max(65535).default(1420),
    /** An instance without a handshake for this long loses its registration and its address. */
    recycle_after_secs: z.int().min(600).default(36_000),
  })
  .refine((value) => (value.private_key === undefined) !== (value.private_key_file === undefined), {
    message: "needs private_key_file or private_key, and not both",
  })
  .refine((value) => isIP(value.ip) === isIP(value.client_ip_range.split("/")[0] ?? ""), {
    path: ["client_ip_range"],
    message:
      "must be of the family of ip, both IPv4 or both IPv6: a guest hears nodes in the tunnel by its own family alone",
  });

const tproxyConfig = z.strictObject({
  /** Where guests and monitors call. */
  host: z.string().min(1).default("0.0.0.0"),
  /** 0: any free one. */
  port: port.default(9070),
  /** Guests must prove that their evidence was made for the call; those of images older than this cannot. */
  require_fresh_evidence: z.boolean().default(false),
  /** Who gets the status page, `/metrics` and `List`. VMs on this machine come from loopback too. */
  status_from: z.enum(["loopback", "anywhere"]).default("loopback"),
  /** `debug`: a line for each connection that is over, too. */
  log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),
  /** What tproxy shows to its callers; issued by the KMS root CA. */
  tls: z.strictObject({ key: path, certs: path }),
  /** Registrations, with `store = "file"`, and what only this node knows. One tproxy a directory. */
  state_dir: path,
  /** Where registrations are: a file here, or etcd, which several nodes share. */
  store: z.enum(["file", "etcd"]).default("file"),
  etcd: etcdConfig("/dstack/tproxy/").optional(),
  /** The name of this node among others. */
  node: NodeName.default("tproxy"),
  /** Where guests of other nodes reach our RPC: `https://host:port`. */
  rpc_url: z
    .string()
    .regex(/^https:\/\/[^/?#\s]+$/, "must be https://host:port")
    .optional(),
  wg,
  proxy: z.strictObject({
    /** Together with `more_certificates` it names the wildcard of each base domain. */
    cert_chain: path,
    cert_key: path,
    /** Apps are `<id>[-<port>][s|g].<base_domain>`. */
    base_domain: baseDomain,
    /** Further ones under which the same apps are reached. Guests are told the first. */
    more_base_domains: z.array(baseDomain).max(63).default([]),
    /** Further ones, found by the names in them: a name itself, else its parent's wildcard; the first that has it. */
    more_certificates: z
      .array(z.strictObject({ cert_chain: path, cert_key: path, acme_account_file: path.optional() }))
      .max(63)
      .default([]),
    /** Who carries the bytes: plain Node, or the engine in C in a process of its own, which is taken where it can run. */
    engine: z.enum(ENGINES).optional(),
    /** Relay threads of the native engine; as many as there are cores unless given. */
    threads: z.int().min(1).max(16).optional(),
    listen_addr: ipAddress.default("0.0.0.0"),
    /** 0: any free one. */
    listen_port: port.default(443),
    /** A second port on which nothing is terminated; off unless given. */
    listen_port_passthrough: port.optional(),
    /** Sends plain HTTP for names that are routed to HTTPS; off unless given. */
    listen_port_http: port.optional(),
    /** tappd's port inside guests. */
    tappd_port: z.int().min(1).max(65535).default(8090),
    /** Balancers in front, as addresses or prefixes: their connections begin with a header of the PROXY protocol. */
    proxy_protocol_from: z.array(checkedBy(parsePrefix)).max(32).default([]),
    /** Ports of apps that may be reached from outside: all but that of SSH, which is for the operator's machine alone. */
    allowed_ports: z.array(portRange).default([
      { from: 1, to: 21 },
      { from: 23, to: 65535 },
    ]),
    /** Asked for custom domains; the system's unless given. */
    dns_servers: z.array(ipAddress).default([]),
    limits: limits.prefault({}),
    /** How long open connections may go on when we are told to stop. */
    drain_secs: z.number().min(0).default(5),
  }),
  /** The port under which the world reaches `proxy.listen_port`, where it is another one. */
  external_port: z.int().min(1).max(65535).optional(),
  /** tappd's socket of the CVM that tproxy runs in: with it, the keys of its certificates get quotes. */
  tappd_socket: path.optional(),
  /** What certbot says about its ACME accounts; `acme-account.json` in `state_dir` unless given. */
  acme_account_file: path.optional(),
  attestation: AttestationConfig,
  /** Where operators drain and remove; off unless given. */
  admin: admin.optional(),
});

/** `tproxy.toml`. Paths are relative to the working directory. */
export const TproxyConfig = tproxyConfig.refine(
  ({ store, etcd: access }) => (store === "etcd") === (access !== undefined),
  { message: 'store = "etcd" and [etcd] go together' },
);

export type TproxyConfig = z.infer<typeof TproxyConfig>;
/** The configuration as it is written down, defaults left out. */
export type TproxyConfigInput = z.input<typeof TproxyConfig>;

/** What other nodes and guests are told of this one. */
export function describeNode(config: TproxyConfig, publicKey: WireGuardPublicKey): NodeDescription {
  const { wg: own, rpc_url: rpcUrl } = config;
  return { publicKey, ip: own.ip, endpoint: own.endpoint, rpcUrl, clientRange: own.client_ip_range };
}

/** What `wg.ip` is told to `ip`: the guests' range is a route of its own. */
export function tunnelAddress(config: TproxyConfig): string {
  return hostCidr(config.wg.ip);
}
