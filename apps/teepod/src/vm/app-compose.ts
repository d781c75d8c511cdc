import { InputError, utf8 } from "@dstack/core";
import { z } from "zod";

/** Largest app-compose document; the guest refuses longer ones (G1). */
export const MAX_COMPOSE_BYTES = 256 * 1024;

/** The fields of the app-compose document (wire.md) that teepod reads. Everything else is for the guest. */
const AppCompose = z.object({
  manifest_version: z.union([z.int(), z.string().min(1)]),
  name: z.string().min(1),
  runner: z.string().min(1),
  docker_compose_file: z.string().optional(),
  features: z.array(z.string()).optional(),
});

export type AppCompose = z.output<typeof AppCompose>;

/**
 * Reads an app-compose document.
 * @throws {InputError} one sentence on what is wrong with it
 */
export function parseAppCompose(text: string): AppCompose {
  if (text.trim() === "") throw new InputError("compose_file is empty; it must be an app-compose document");
  if (utf8(text).length > MAX_COMPOSE_BYTES) {
    throw new InputError(`compose_file is larger than ${MAX_COMPOSE_BYTES} bytes`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new InputError("compose_file must be an app-compose document in JSON, and this is not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new InputError("compose_file must be an app-compose document: a JSON object");
  }
  const result = AppCompose.safeParse(json);
  if (!result.success) {
    const keys = result.error.issues.map((issue) => `"${issue.path.map(String).join(".")}"`);
    throw new InputError(`compose_file is missing or has a wrong value for ${[...new Set(keys)].join(", ")}`);
  }
  const compose = result.data;
  if (compose.runner === "docker-compose" && (compose.docker_compose_file ?? "").trim() === "") {
    throw new InputError('compose_file needs "docker_compose_file" for the runner docker-compose');
  }
  return compose;
}
