import { InputError } from "@dstack/core";

/** Names and ids as Docker allows them (`RestrictedNameChars`); the name becomes part of a path of the engine's API. */
const CONTAINER_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;

/** @throws {InputError} a text that can be no container's name or id */
export function parseContainerName(text: string): string {
  if (!CONTAINER_NAME.test(text)) throw new InputError("this is not the name or id of a container");
  return text;
}
