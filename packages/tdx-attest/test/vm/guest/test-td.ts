import { constants } from "node:os";
import { errorMessage } from "@dstack/core";
import { type SimulatedProvider, createSimulatedProvider } from "../../../src/simulated/provider.js";
import type { RtmrIndex } from "../../../src/index.js";
import { platform } from "./platform.js";

type ErrorName = keyof typeof constants.errno;

/** What a driver asks of the TDX module and, for quotes, of the host. */
export type Operation = "report" | "extend" | "read" | "quote";

/** How an operation goes wrong until told otherwise; a number of times before it goes well again. */
export type Fault =
  | { readonly error: ErrorName; readonly times?: number }
  | "hang"
  /** Says that it extended, and did not. */
  | "lie"
  /** The host that refuses to quote. */
  | "empty"
  | "other report data";

export interface Answer {
  readonly errno: number;
  readonly bytes: Uint8Array;
}

/** A simulated TD behind the kernel's interfaces, with the faults that a test asks for. */
export class TestTd {
  #td: SimulatedProvider = createSimulatedProvider({ platform });
  #faults = new Map<Operation, Fault>();
  #hanging: (() => void)[] = [];

  /** A TD that has just started, without faults. Calls that hang end with EIO. */
  restart(): void {
    this.#td = createSimulatedProvider({ platform });
    this.heal();
  }

  break(operation: Operation, fault: Fault): void {
    this.#faults.set(operation, fault);
  }

  heal(): void {
    this.#faults.clear();
    for (const go of this.#hanging.splice(0)) go();
  }

  readRtmr(index: RtmrIndex): Promise<Uint8Array> {
    return this.#td.readRtmr(index);
  }

  bootEvents(): ReturnType<SimulatedProvider["bootEvents"]> {
    return this.#td.bootEvents();
  }

  async answer(operation: Operation, index: number, data: Uint8Array): Promise<Answer> {
    const none = new Uint8Array();
    const fault = this.#faults.get(operation);
    if (typeof fault === "object") {
      const left = (fault.times ?? Infinity) - 1;
      if (left > 0) this.#faults.set(operation, { ...fault, times: left });
      else this.#faults.delete(operation);
      return { errno: constants.errno[fault.error], bytes: none };
    }
    if (fault === "lie" || fault === "empty") return { errno: 0, bytes: none };
    if (fault === "hang") {
      await new Promise<void>((resolve) => this.#hanging.push(resolve));
      return { errno: constants.errno.EIO, bytes: none };
    }
    try {
      const asked = fault === "other report data" ? new Uint8Array(64).fill(0xee) : data;
      return { errno: 0, bytes: await this.#perform(operation, index, asked) };
    } catch (err) {
      console.error(`${operation}: ${errorMessage(err)}`);
      return { errno: constants.errno.EINVAL, bytes: none };
    }
  }

  async #perform(operation: Operation, index: number, data: Uint8Array): Promise<Uint8Array> {
    switch (operation) {
      case "report":
        return this.#td.getReport(data);
      case "read":
        return this.#td.readRtmr(index as RtmrIndex);
      case "quote":
        return this.#td.getQuote(data);
      case "extend":
        await this.#td.extendRtmr(index as 3, data);
        return new Uint8Array();
    }
  }
}
