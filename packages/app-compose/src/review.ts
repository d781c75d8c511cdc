import { InputError } from "@dstack/core/errors";

/** The parts of a docker-compose.yaml that can be judged without a CVM; everything else is for Docker Compose. */
type Mapping = Record<string, unknown>;

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sources(service: Mapping): unknown[] {
  const volumes: unknown[] = Array.isArray(service["volumes"]) ? service["volumes"] : [];
  const envFiles: unknown[] = [service["env_file"]].flat();
  return [
    ...volumes.map((v) => (typeof v === "string" ? v.split(":")[0] : isMapping(v) ? v["source"] : undefined)),
    ...envFiles.map((f) => (isMapping(f) ? f["path"] : f)),
  ];
}

/** A path of the developer's machine, which in the CVM names nothing: `./html`, `../x`, `~/x`, and `.env` of `env_file`. */
const isLocalPath = (source: unknown): source is string =>
  typeof source === "string" && /^(\.|~)/.test(source);

function reviewService(name: string, service: unknown): string[] {
  if (!isMapping(service)) throw new InputError(`service ${name} must be a mapping, with an image`);
  const { image, build } = service;
  if (image !== undefined && (typeof image !== "string" || image === ""))
    throw new InputError(`the image of service ${name} must be a name such as nginx@sha256:…`);
  if (image === undefined && build !== undefined) {
    throw new InputError(
      `service ${name} has build but no image: only the compose file goes into the CVM, so build the image, ` +
        "push it to a registry, and name it",
    );
  }
  if (image === undefined && !("extends" in service)) throw new InputError(`service ${name} has no image`);
  return sources(service)
    .filter(isLocalPath)
    .map(
      (path) =>
        `service ${name} uses ${path}: only the compose file goes into the CVM, not the files beside it`,
    );
}

/** `$NAME`, `${NAME}` without a default; `$$` is a dollar sign. */
function variablesOf(text: string): string[] {
  const names = text
    .replaceAll("$$", "")
    .matchAll(/\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})/g);
  return [...new Set([...names].map((match) => match[1] ?? match[2] ?? ""))];
}

/** `: nginx stands beside "services:", and has to be indented below it`; the first release's own example is like that. */
function misplaced(document: unknown): string {
  const names = Object.entries(isMapping(document) ? document : {})
    .filter(([, value]) => isMapping(value) && ("image" in value || "build" in value))
    .map(([name]) => name);
  if (names.length === 0) return "";
  const [stand, have] = names.length === 1 ? ["stands", "has"] : ["stand", "have"];
  return `: ${names.join(", ")} ${stand} beside "services:", and ${have} to be indented below it`;
}

/**
 * Finds what would only show when the CVM has booted: a minute later, or never.
 * @param document the parsed docker-compose.yaml
 * @param text its text
 * @param given variables that come with it
 * @returns what a developer should know about it, a sentence each
 * @throws {InputError} it cannot run
 */
export function reviewCompose(document: unknown, text: string, given: readonly string[]): string[] {
  const services = isMapping(document) ? document["services"] : undefined;
  if (services === undefined || services === null)
    throw new InputError(`the compose file has no services${misplaced(document)}`);
  if (!isMapping(services)) throw new InputError("services of the compose file must map names to services");
  if (Object.keys(services).length === 0) throw new InputError("the compose file has no services");
  const notices = Object.entries(services).flatMap(([name, service]) => reviewService(name, service));
  const variables = variablesOf(text).filter((name) => !given.includes(name));
  if (variables.length > 0)
    notices.push(`${variables.join(", ")}: empty in the CVM, which knows only the variables given with it`);
  return notices;
}
