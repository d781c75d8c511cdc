import { describe, expect, it } from "vitest";
import { Watch } from "../src/watch.js";

interface Thing {
  readonly id: string;
  readonly state: string;
}

/** A clock whose sleeps end when they are told to. */
function stepClock() {
  let wake: (() => void) | undefined;
  return {
    sleep: (_ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => {
        wake = resolve;
        signal.addEventListener("abort", () => resolve());
      }),
    step: () => wake?.(),
  };
}

describe("watching things that change without a word", () => {
  it("tells a newcomer nothing of the past: a look that is older than its own", async () => {
    const clock = stepClock();
    let things: readonly Thing[] = [{ id: "a", state: "running" }];
    const watch = new Watch<Thing>(
      async () => things,
      clock,
      1000,
      (err) => expect.fail(String(err)),
    );
    const end = new AbortController();
    const first = watch.follow(end.signal);
    await first.next();
    const told = first.next();
    clock.step();
    await told; // The look that all have now says that a is running.

    things = [{ id: "b", state: "running" }];
    const newcomer = watch.follow(end.signal);
    expect((await newcomer.next()).value).toEqual([{ type: "all", items: things }]);
    const next = newcomer.next();
    things = [{ id: "b", state: "stopped" }];
    clock.step();
    expect((await next).value).toEqual([{ type: "item", item: { id: "b", state: "stopped" } }]);
    end.abort();
    await Promise.all([first.return(undefined), newcomer.return(undefined)]);
  });
});
