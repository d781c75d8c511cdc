import { assertNever } from "@dstack/core";
import { z } from "zod";
import type { RunningVm } from "../hypervisor/hypervisor.js";
import { VmError } from "./errors.js";

/** A run of a VM that is over. */
export interface VmEnd {
  readonly startedAt: Date;
  readonly exitedAt: Date;
  /** Exit code of the VM's process, where it is known. */
  readonly code: number | null;
  /** How it came to an end, a clause for people: "the guest shut down". */
  readonly reason?: string;
  /** Why it never became ready: one sentence. Absent when it had become ready, or was stopped on request. */
  readonly bootError?: string;
}

/**
 * `stopped`: nobody wants it to run. `exited`: it ended although nobody asked it to. Both remember the last run.
 */
export type VmState =
  | { readonly at: "stopped"; readonly last?: VmEnd }
  | { readonly at: "running"; readonly vm: RunningVm }
  | { readonly at: "stopping"; readonly vm: RunningVm; readonly killAt: Date }
  | { readonly at: "exited"; readonly last: VmEnd };

export type VmEvent =
  | { readonly type: "started"; readonly vm: RunningVm }
  /** The guest was asked to shut down; at `killAt` patience ends. */
  | { readonly type: "asked"; readonly killAt: Date }
  /** The VM's process is gone. */
  | { readonly type: "ended"; readonly end: VmEnd }
  /** The operator wants it stopped, and nothing of it runs. */
  | { readonly type: "dismissed" };

function refuse(state: VmState, event: VmEvent): never {
  switch (event.type) {
    case "started":
      throw new VmError("wrong_state", `the VM is ${state.at}`);
    case "asked":
      throw new VmError("wrong_state", `the VM is not running, it is ${state.at}`);
    case "dismissed":
      throw new VmError("wrong_state", `the VM is ${state.at}; stop it first`);
    case "ended":
      throw new Error(`a VM that is ${state.at} cannot end`);
    default:
      return assertNever(event);
  }
}

/**
 * The state after an event.
 * @throws {VmError} wrong_state: the operation does not fit the state
 */
export function nextState(state: VmState, event: VmEvent): VmState {
  switch (state.at) {
    case "stopped":
    case "exited":
      if (event.type === "started") return { at: "running", vm: event.vm };
      if (event.type === "dismissed") return { at: "stopped", ...(state.last && { last: state.last }) };
      return refuse(state, event);
    case "running":
      if (event.type === "asked") return { at: "stopping", vm: state.vm, killAt: event.killAt };
      if (event.type === "ended") return { at: "exited", last: event.end };
      return refuse(state, event);
    case "stopping": {
      // Asked again: the first limit holds, or a client that repeats itself would keep the VM alive.
      if (event.type === "asked") return state;
      // An end that was asked for is no boot error.
      if (event.type === "ended") {
        const { bootError: _, ...end } = event.end;
        return { at: "stopped", last: end };
      }
      return refuse(state, event);
    }
    default:
      return assertNever(state);
  }
}

const date = z.iso.datetime().transform((text) => new Date(text));
const SavedEnd = z.object({
  startedAt: date,
  exitedAt: date,
  code: z.int().nullable(),
  reason: z.string().exactOptional(),
  bootError: z.string().exactOptional(),
});

const SavedState = z.discriminatedUnion("at", [
  z.object({ at: z.literal("stopped"), last: SavedEnd.exactOptional() }),
  z.object({ at: z.literal("running"), startedAt: date }),
  z.object({ at: z.literal("stopping"), startedAt: date, killAt: date }),
  z.object({ at: z.literal("exited"), last: SavedEnd }),
]);

/** A state as `state.json` keeps it: a handle on a process cannot be written down. */
export type SavedState = z.output<typeof SavedState>;

/** The part of a state that outlives teepod. */
export function savedState(state: VmState): SavedState {
  switch (state.at) {
    case "stopped":
    case "exited":
      return state;
    case "running":
      return { at: "running", startedAt: state.vm.startedAt };
    case "stopping":
      return { at: "stopping", startedAt: state.vm.startedAt, killAt: state.killAt };
    default:
      return assertNever(state);
  }
}

/** @throws a ZodError or SyntaxError */
export function parseSavedState(text: string): SavedState {
  return SavedState.parse(JSON.parse(text));
}

/** What teepod finds when it starts. */
export type Recovered =
  | { readonly state: VmState }
  /** It ran when teepod ended and does not run any more. */
  | { readonly endedMeanwhile: { readonly startedAt: Date; readonly wasStopping: boolean } };

/**
 * Puts together what `state.json` says and what really runs. What runs wins: teepod may have been killed between
 * starting a VM and writing it down.
 */
export function recoverState(saved: SavedState | undefined, alive: RunningVm | undefined): Recovered {
  if (alive !== undefined) {
    if (saved?.at === "stopping") return { state: { at: "stopping", vm: alive, killAt: saved.killAt } };
    return { state: { at: "running", vm: alive } };
  }
  if (saved === undefined) return { state: { at: "stopped" } };
  if (saved.at === "running" || saved.at === "stopping") {
    return { endedMeanwhile: { startedAt: saved.startedAt, wasStopping: saved.at === "stopping" } };
  }
  return { state: saved };
}
