import { certificatesByName } from "../certificate.js";
import type { CheckedCertificate } from "../certificate.js";
import type { Backend, CustomDestination, DrainScope, ListenerOptions, RouteTable } from "../data-plane.js";
import { ipBytes, mapped, parsePrefix } from "../ip-bytes.js";
import type { Limits } from "../limits.js";

/**
 * What we say to the engine; `native/protocol.h` is the other side. A frame is its length (4 bytes, of what follows), a
 * type (1 byte) and fields: big-endian numbers, ids of 20 bytes, texts with their length in front.
 */
const COMMAND = {
  start: 1,
  routes: 2,
  certificates: 3,
  found: 4,
  stop: 5,
  list: 6,
  accepting: 7,
  end: 8,
} as const;

/** The engine tries no more instances for one connection (`MAX_CONTESTANTS`). */
const CONTESTANTS = 3;
/** Nor does it keep more of a route, whatever ports they serve (`MAX_PLACES`). */
const PLACES = 24;
/** In place of a count of ports. */
const ALL_PORTS = 0xff;

export function startCommand(
  limits: Limits,
  listeners: readonly ListenerOptions[],
  threads: number,
  accepting: boolean,
): Buffer {
  const times = [
    limits.firstByteMs,
    limits.helloMs,
    limits.handshakeMs,
    limits.lookupMs,
    limits.connectMs,
    limits.idleMs,
    limits.halfClosedMs,
    limits.totalMs,
  ];
  const counts = [limits.connections, limits.connectionsPerApp, limits.connectionsPerSource];
  return frame(COMMAND.start, [
    ...times.map((ms) => uint(8, BigInt(Math.ceil(ms)))),
    ...counts.map((count) => uint(4, Math.min(count, 0xffff_ffff))),
    uint(1, threads),
    uint(1, Number(accepting)),
    uint(1, listeners.length),
    ...listeners.flatMap(({ host, port, passthroughOnly, proxyProtocolFrom = [] }) => [
      address(host),
      uint(2, port),
      uint(1, passthroughOnly === true ? 1 : 0),
      uint(1, proxyProtocolFrom.length),
      ...proxyProtocolFrom.map(prefix),
    ]),
  ]);
}

/**
 * Only what has changed since `before` travels: a table of thousands is published every few seconds, and is mostly the
 * one before.
 * @param before the backends of the table the engine has
 */
export function routesCommand(routes: RouteTable, before: RouteTable["backends"]): Buffer {
  const changed: Buffer[] = [];
  for (const [id, backends] of routes.backends) {
    if (backends.length > 0 && !isSameRoute(backends, before.get(id) ?? [])) {
      changed.push(route(id, backends));
    }
  }
  const gone: string[] = [];
  for (const [id, backends] of before) {
    if (backends.length > 0 && (routes.backends.get(id) ?? []).length === 0) gone.push(id);
  }
  return frame(COMMAND.routes, [
    uint(2, routes.baseDomains.length),
    ...routes.baseDomains.map((domain) => text(2, domain)),
    uint(2, routes.allowedPorts.length),
    ...routes.allowedPorts.flatMap(({ from, to }) => [uint(2, from), uint(2, to)]),
    uint(4, gone.length),
    ...gone.map(idBytes),
    uint(4, changed.length),
    ...changed,
  ]);
}

/**
 * Those that the engine may come to try: on no port does it try more than the first few that serve it. Instances of an
 * app serve different ports while it is upgraded.
 */
function contestants(backends: readonly Backend[]): readonly Backend[] {
  if (backends.length <= CONTESTANTS) return backends;
  const counts = new Map<string, number>();
  const chosen: Backend[] = [];
  for (const each of backends) {
    const ports = each.publicPorts?.join() ?? "all";
    const count = counts.get(ports) ?? 0;
    if (count === CONTESTANTS) continue;
    counts.set(ports, count + 1);
    if (chosen.push(each) === PLACES) break;
  }
  return chosen;
}

/** Whether the engine is told the same of them. */
function isSameRoute(a: readonly Backend[], b: readonly Backend[]): boolean {
  if (a === b) return true;
  const [ours, theirs] = [contestants(a), contestants(b)];
  if (ours.length !== theirs.length) return false;
  for (let i = 0; i < ours.length; i++) {
    const [one, other] = [ours[i], theirs[i]];
    if (one === other) continue;
    if (one === undefined || other === undefined || !backend(one).equals(backend(other))) return false;
  }
  return true;
}

/** All of them, and for each name the one that is served under it. At most 64. */
export function certificatesCommand(certificates: readonly CheckedCertificate[]): Buffer {
  const byName = certificatesByName(certificates);
  return frame(COMMAND.certificates, [
    uint(1, certificates.length),
    ...certificates.flatMap(({ certPem, keyPem }) => [text(4, certPem), text(4, keyPem)]),
    uint(4, byName.size),
    ...[...byName].flatMap(([name, certificate]) => [
      text(1, name),
      uint(1, certificates.indexOf(certificate)),
    ]),
  ]);
}

export function foundCommand(number: bigint, destination: CustomDestination | undefined): Buffer {
  return frame(COMMAND.found, [
    uint(8, number),
    uint(1, destination === undefined ? 0 : 1),
    destination === undefined ? Buffer.alloc(20) : idBytes(destination.id),
    uint(2, destination?.port ?? 0),
  ]);
}

export function listCommand(number: bigint, most: number): Buffer {
  return frame(COMMAND.list, [uint(8, number), uint(4, most)]);
}

export function acceptingCommand(number: bigint, accepting: boolean): Buffer {
  return frame(COMMAND.accepting, [uint(8, number), uint(1, Number(accepting))]);
}

export function endCommand(number: bigint, scope: DrainScope): Buffer {
  const id = scope === "all" ? Buffer.alloc(20) : idBytes(scope.instanceId);
  return frame(COMMAND.end, [uint(8, number), uint(1, Number(scope !== "all")), id]);
}

export function stopCommand(): Buffer {
  return frame(COMMAND.stop, []);
}

function frame(type: number, fields: readonly Buffer[]): Buffer {
  const length = fields.reduce((sum, field) => sum + field.length, 1);
  return Buffer.concat([uint(4, length), uint(1, type), ...fields]);
}

function uint(size: 1 | 2 | 4, value: number): Buffer;
function uint(size: 8, value: bigint): Buffer;
function uint(size: number, value: number | bigint): Buffer {
  const bytes = Buffer.alloc(size);
  if (typeof value === "bigint") bytes.writeBigUInt64BE(value);
  else bytes.writeUIntBE(value, 0, size);
  return bytes;
}

function text(size: 1 | 2 | 4, value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([uint(size, bytes.length), bytes]);
}

/** Only such ids have a place in a frame. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{40}$/.test(text);
}

function idBytes(id: string): Buffer {
  if (!isId(id)) throw new TypeError("the id of an app or instance is 40 lower-case hex digits");
  return Buffer.from(id, "hex");
}

function route(id: string, backends: readonly Backend[]): Buffer {
  const places = contestants(backends);
  return Buffer.concat([idBytes(id), uint(1, places.length), ...places.map(backend)]);
}

/** Instances change their order all the time, and hardly ever themselves: who hands in the same object has it encoded once. */
const encodedBackends = new WeakMap<Backend, Buffer>();

function backend(instance: Backend): Buffer {
  const known = encodedBackends.get(instance);
  if (known !== undefined) return known;
  const { appId, instanceId, host, proxyProtocolPorts = [], publicPorts } = instance;
  const encoded = Buffer.concat([
    idBytes(appId),
    idBytes(instanceId),
    address(host),
    uint(1, proxyProtocolPorts.length),
    ...proxyProtocolPorts.map((port) => uint(2, port)),
    uint(1, publicPorts?.length ?? ALL_PORTS),
    ...(publicPorts ?? []).map((port) => uint(2, port)),
  ]);
  encodedBackends.set(instance, encoded);
  return encoded;
}

/** Its family, 4 or 6, and 16 bytes, of IPv4 the first four. */
function address(host: string): Buffer {
  const bytes = ipBytes(host);
  return Buffer.concat([uint(1, bytes.length === 4 ? 4 : 6), bytes], 17);
}

/** 16 bytes, IPv4 as `::ffff:192.0.2.1`, and how many bits of them count. */
function prefix(text: string): Buffer {
  const { address: base, bits } = parsePrefix(text);
  const bytes = ipBytes(base);
  return Buffer.concat([mapped(bytes), uint(1, bytes.length === 4 ? 96 + bits : bits)]);
}
