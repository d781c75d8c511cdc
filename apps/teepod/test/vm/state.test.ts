import { describe, expect, it } from "vitest";
import type { RunningVm } from "../../src/index.js";
import { nextState, parseSavedState, recoverState, savedState } from "../../src/vm/state.js";
import type { VmEvent, VmState } from "../../src/vm/state.js";

const startedAt = new Date("2026-01-01T00:00:00.000Z");
const exitedAt = new Date("2026-01-01T01:00:00.000Z");
const killAt = new Date("2026-01-01T02:00:00.000Z");
const vm: RunningVm = {
  startedAt,
  ended: new Promise(() => {}),
  powerDown: async () => {},
  kill: async () => {},
  detach: () => {},
  pause: undefined,
  resume: async () => {},
  deletedBytes: async () => 0,
};
const end = { startedAt, exitedAt, code: 0, bootError: "no key" };
const quiet = { startedAt, exitedAt, code: 0 };

const states: Record<string, VmState> = {
  stopped: { at: "stopped" },
  running: { at: "running", vm },
  stopping: { at: "stopping", vm, killAt },
  exited: { at: "exited", last: end },
};
const events: Record<string, VmEvent> = {
  started: { type: "started", vm },
  asked: { type: "asked", killAt: new Date(0) },
  ended: { type: "ended", end },
  dismissed: { type: "dismissed" },
};

/** Every pair of state and event: the next state, or the words of the refusal. */
const table: Record<string, Record<string, VmState | string>> = {
  stopped: {
    started: { at: "running", vm },
    asked: "the VM is not running, it is stopped",
    ended: "a VM that is stopped cannot end",
    dismissed: { at: "stopped" },
  },
  running: {
    started: "the VM is running",
    asked: { at: "stopping", vm, killAt: new Date(0) },
    ended: { at: "exited", last: end },
    dismissed: "the VM is running; stop it first",
  },
  stopping: {
    started: "the VM is stopping",
    asked: { at: "stopping", vm, killAt },
    ended: { at: "stopped", last: quiet },
    dismissed: "the VM is stopping; stop it first",
  },
  exited: {
    started: { at: "running", vm },
    asked: "the VM is not running, it is exited",
    ended: "a VM that is exited cannot end",
    dismissed: { at: "stopped", last: end },
  },
};

describe("VM states", () => {
  for (const [from, row] of Object.entries(table)) {
    for (const [event, expected] of Object.entries(row)) {
      it(`${from}, ${event}`, () => {
        const step = (): VmState => nextState(states[from] as VmState, events[event] as VmEvent);
        if (typeof expected === "string") expect(step).toThrow(expected);
        else expect(step()).toEqual(expected);
      });
    }
  }
});

describe("states on the disk", () => {
  for (const [name, state] of Object.entries(states)) {
    it(`${name} is written and read`, () => {
      const saved = savedState(state);
      expect(parseSavedState(JSON.stringify(saved))).toEqual(saved);
    });
  }

  it("what runs wins over what is written", () => {
    expect(recoverState(undefined, vm)).toEqual({ state: { at: "running", vm } });
    expect(recoverState({ at: "stopped" }, vm)).toEqual({ state: { at: "running", vm } });
    expect(recoverState({ at: "stopping", startedAt, killAt }, vm)).toEqual({
      state: { at: "stopping", vm, killAt },
    });
  });

  it("a VM that ended meanwhile is noticed", () => {
    expect(recoverState({ at: "running", startedAt }, undefined)).toEqual({
      endedMeanwhile: { startedAt, wasStopping: false },
    });
    expect(recoverState({ at: "stopping", startedAt, killAt }, undefined)).toEqual({
      endedMeanwhile: { startedAt, wasStopping: true },
    });
  });

  it("a VM that did not run stays as it was", () => {
    expect(recoverState({ at: "exited", last: end }, undefined)).toEqual({
      state: { at: "exited", last: end },
    });
    expect(recoverState(undefined, undefined)).toEqual({ state: { at: "stopped" } });
  });
});
