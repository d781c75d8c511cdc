import { readYaml } from "./read-yaml.js";

const HTTP = 80;
const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isLoopback = (address: string): boolean => /^(127\.|localhost$|\[?::1\]?$)/.test(address);

/** `[[address:]host port:]container port[/protocol]`; of a range the first port. */
function portOfText(text: string): number | undefined {
  const [ports = "", protocol = "tcp"] = text.split("/");
  const match = /^(?:(?:(.+):)?(\d+)(?:-\d+)?:)\d+(?:-\d+)?$/.exec(ports);
  const [, address = "", port] = match ?? [];
  return protocol === "tcp" && port !== undefined && !isLoopback(address) ? Number(port) : undefined;
}

function portOf(entry: unknown): number | undefined {
  if (typeof entry === "string") return portOfText(entry);
  if (!isMapping(entry)) return undefined;
  const { published, protocol = "tcp", host_ip: address = "" } = entry;
  if (protocol !== "tcp" || isLoopback(String(address))) return undefined;
  return Number.parseInt(String(published), 10);
}

/** Of what is looked into: teepod does so while everyone waits, and anyone with an app writes its file. */
const MAX_LENGTH = 64 * 1024;
/** Of a service; an alias makes many of few. */
const MAX_PORTS = 256;

/**
 * The port a browser opens an app at: 80, unless its compose file publishes only others; then the first of them.
 * Ports of loopback addresses, of UDP, and those that Docker chooses are no candidates.
 * @param composeFile the docker-compose.yaml inside the app-compose document; whatever cannot be read counts as 80, and
 *   so does what is larger than 64 KiB
 * @see https://docs.docker.com/reference/compose-file/services/#ports
 */
export function appPort(composeFile: string): number {
  if (composeFile.length > MAX_LENGTH) return HTTP;
  let document: unknown;
  try {
    document = readYaml(composeFile);
  } catch {
    return HTTP;
  }
  const services: unknown = isMapping(document) ? document["services"] : undefined;
  const ports = Object.values(isMapping(services) ? services : {})
    .flatMap((service): unknown[] =>
      isMapping(service) && Array.isArray(service["ports"]) ? service["ports"].slice(0, MAX_PORTS) : [],
    )
    .map(portOf)
    .filter((port) => port !== undefined && port >= 1 && port <= 65_535);
  return ports.includes(HTTP) ? HTTP : (ports[0] ?? HTTP);
}
