import { RpcError } from "@dstack/prpc";

/** Bounds how many logs are streamed at once; each holds a connection to the engine and some buffers. */
export class LogSlots {
  readonly #limit: number;
  #taken = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @throws {RpcError} `too_many` */
  take(): () => void {
    if (this.#taken >= this.#limit) throw new RpcError("too_many", "too many logs are being read at once");
    this.#taken += 1;
    let held = true;
    return () => {
      if (held) this.#taken -= 1;
      held = false;
    };
  }
}
