import { CountLimit } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import type { Client } from "./clients.js";

/** Logs read at once, over both external listeners; each holds a connection to the engine and some buffers. */
const ALL = 32;
/** Of these, what the outside world leaves to who is on tproxy's machine, or in the VM. */
const RESERVED = 4;
const PER_CLIENT = 4;

/** Bounds how many logs are read at once, so that no client keeps the others from theirs. */
export class LogSlots {
  readonly #all = new CountLimit(ALL);
  readonly #outside = new CountLimit(ALL - RESERVED);
  readonly #clients = new CountLimit(PER_CLIENT);

  /** @throws {RpcError} `too_many` */
  take({ source, throughTproxy }: Client): () => void {
    const leaveClient = this.#clients.enter(`${throughTproxy} ${source}`);
    if (leaveClient === undefined)
      throw new RpcError("too_many", `you are reading ${PER_CLIENT} logs already: end one of them first`);
    const leaveOutside = throughTproxy ? this.#outside.enter("") : () => {};
    const leaveAll = leaveOutside && this.#all.enter("");
    if (leaveAll === undefined) {
      leaveOutside?.();
      leaveClient();
      throw new RpcError("too_many", "too many logs are being read at once");
    }
    return () => {
      leaveAll();
      leaveOutside?.();
      leaveClient();
    };
  }
}
