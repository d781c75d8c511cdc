import { InputError } from "@dstack/core";

/** A network interface name we may hand to `ip` and `wg`. */
export type InterfaceName = string & { readonly __brand: "InterfaceName" };

/** IFNAMSIZ is 16 with the terminating zero (linux/if.h). */
export const MAX_INTERFACE_NAME_LENGTH = 15;

/**
 * Letters, digits, `_`, `-` and `.`; starts with a letter or digit, so that it is never taken for an option.
 * @throws {InputError} for anything else, or more than 15 characters
 */
export function parseInterfaceName(text: string): InterfaceName {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(text) || text.length > MAX_INTERFACE_NAME_LENGTH) {
    throw new InputError(
      `interface name must be 1 to ${MAX_INTERFACE_NAME_LENGTH} letters, digits, "_", "-" or "."`,
    );
  }
  return text as InterfaceName;
}
