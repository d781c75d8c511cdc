import { CodedError } from "@dstack/core";

/**
 * - `unavailable`: neither the kernel nor wireguard-go can make an interface here
 * - `name_taken`: an interface or control socket of that name belongs to something else
 * - `command_failed`: `ip`, `wg` or `wireguard-go` ended with an error
 * - `unexpected_output`: a command printed something we do not understand
 */
export class WireGuardError extends CodedError<
  "unavailable" | "name_taken" | "command_failed" | "unexpected_output"
> {
  override name = "WireGuardError";
}
