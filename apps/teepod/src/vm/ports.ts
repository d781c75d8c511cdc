import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { InputError, errorCode } from "@dstack/core";
import { VmError } from "./errors.js";

export type PortProtocol = "tcp" | "udp";

/** A host port forwarded to a port of the guest. */
export interface PortMapping {
  readonly protocol: PortProtocol;
  readonly hostPort: number;
  readonly vmPort: number;
}

/** Host ports that VMs may use, ends included. */
export interface PortRange {
  readonly protocol: PortProtocol;
  readonly from: number;
  readonly to: number;
}

export interface PortPolicy {
  readonly enabled: boolean;
  readonly ranges: readonly PortRange[];
}

/** More forwards than a VM has use for. */
const MAX_PORTS = 64;

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

/** `tcp port 8080`, for messages. */
export function describePort(port: PortMapping): string {
  return `${port.protocol} port ${port.hostPort}`;
}

/**
 * Checks a request's port mappings against what this host allows (T5).
 * @throws {InputError}
 */
export function parsePorts(
  requested: readonly { protocol: string; hostPort: number; vmPort: number }[],
  policy: PortPolicy,
): PortMapping[] {
  if (requested.length === 0) return [];
  if (!policy.enabled) throw new InputError("port mapping is not enabled on this host");
  if (requested.length > MAX_PORTS) throw new InputError(`a VM can have at most ${MAX_PORTS} port mappings`);
  const ports = requested.map(({ protocol: text, hostPort, vmPort }): PortMapping => {
    const protocol = text.toLowerCase();
    if (protocol !== "tcp" && protocol !== "udp") {
      throw new InputError('the protocol of a port mapping must be "tcp" or "udp"');
    }
    if (!isPort(hostPort) || !isPort(vmPort)) {
      throw new InputError("host_port and vm_port of a port mapping must be between 1 and 65535");
    }
    const port = { protocol, hostPort, vmPort } as const;
    const allowed = policy.ranges.some(
      (range) => range.protocol === protocol && range.from <= hostPort && hostPort <= range.to,
    );
    if (!allowed)
      throw new InputError(`${describePort(port)} is not in a range that VMs of this host may use`);
    return port;
  });
  const twice = ports.find((port, i) => findConflict(ports.slice(0, i), [port]) !== undefined);
  if (twice !== undefined) throw new InputError(`${describePort(twice)} is mapped twice`);
  return ports;
}

/** The first wanted port that is already taken. */
export function findConflict(
  taken: readonly PortMapping[],
  wanted: readonly PortMapping[],
): PortMapping | undefined {
  return wanted.find((w) => taken.some((t) => t.protocol === w.protocol && t.hostPort === w.hostPort));
}

async function canBind(port: PortMapping, address: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (err: Error): void => {
      const code = errorCode(err);
      if (code === "EADDRINUSE" || code === "EACCES") resolve(false);
      else reject(err);
    };
    if (port.protocol === "tcp") {
      const server = createServer();
      server.once("error", onError);
      server.listen({ host: address, port: port.hostPort, exclusive: true }, () => {
        server.close(() => resolve(true));
      });
    } else {
      const socket = createSocket("udp4");
      socket.once("error", (err) => {
        socket.close();
        onError(err);
      });
      socket.bind({ address, port: port.hostPort, exclusive: true }, () => socket.close(() => resolve(true)));
    }
  });
}

/**
 * Refuses ports some program of the host listens on. QEMU would refuse them too, with a worse message.
 * @throws {VmError} in_use
 */
export async function requirePortsFree(ports: readonly PortMapping[], address: string): Promise<void> {
  for (const port of ports) {
    if (!(await canBind(port, address))) {
      throw new VmError("in_use", `${describePort(port)} of this host is in use by another program`, {
        port,
      });
    }
  }
}
