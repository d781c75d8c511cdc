import { InputError } from "@dstack/core";

/** The first inherited descriptor, SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3;
const MAX_SOCKETS = 16;

/**
 * The sockets that systemd listens on for this process (sd_listen_fds(3)), by their `FileDescriptorName`. They stay
 * when the process ends: callers wait for its successor instead of being refused, and a container that mounted the
 * socket's file still has the right one. The variables are removed, so that no child takes them for its own.
 * @throws {InputError} two sockets of one name, or more than anybody needs
 */
export function inheritedSockets(
  env: NodeJS.ProcessEnv = process.env,
  pid: number = process.pid,
): ReadonlyMap<string, number> {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = "" } = env;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  // Meant for somebody else: a parent that did not clean up after itself.
  if (LISTEN_PID !== String(pid) || LISTEN_FDS === undefined) return new Map();
  const count = /^\d{1,3}$/.test(LISTEN_FDS) ? Number(LISTEN_FDS) : NaN;
  const names = LISTEN_FDNAMES.split(":");
  if (!(count <= MAX_SOCKETS)) throw new InputError(`LISTEN_FDS must be a number up to ${MAX_SOCKETS}`);
  const sockets = new Map<string, number>();
  for (let index = 0; index < count; index++) {
    const name = names[index] ?? "";
    if (sockets.has(name)) {
      throw new InputError(`LISTEN_FDNAMES has "${name}" twice: set FileDescriptorName= in each socket unit`);
    }
    sockets.set(name, FIRST_FD + index);
  }
  return sockets;
}
