import { describe, expect, it } from "vitest";
import { createRegistry, silentLogger, startChecks, waitAfter } from "../src/index.js";

const HOUR = 3600_000;

describe("checks again and again", () => {
  it("health fails until the first one has ended, and then says what the last one said", async () => {
    let end: (outcome: string | Error | undefined) => void = () => {};
    const failures: number[] = [];
    let errors = 0;
    await using checks = await startChecks({
      name: "test",
      check: () =>
        new Promise((resolve, reject) => {
          end = (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome));
        }),
      onError: () => (errors += 1),
      wait(inARow) {
        failures.push(inARow);
        return 0;
      },
      registry: createRegistry(),
      metrics: { host: "127.0.0.1", port: 0 },
      log: silentLogger(),
    });
    const health = async (): Promise<unknown> =>
      (await fetch(`http://127.0.0.1:${checks.port}/healthz`)).json();
    expect(await health()).toMatchObject({ error: "the first check has not ended yet" });
    const said: [outcome: string | Error | undefined, health: object][] = [
      [new Error("DNS is down"), { status: "failing", error: "DNS is down" }],
      ["half of it is down", { status: "failing", error: "half of it is down" }],
      [undefined, { status: "ok" }],
      [new Error("down again"), { status: "failing", error: "down again" }],
    ];
    for (const [at, [outcome, expected]] of said.entries()) {
      end(outcome);
      await expect.poll(() => failures.length).toBe(at + 1);
      expect(await health()).toEqual(expected);
    }
    expect(failures).toEqual([1, 2, 0, 1]);
    expect(errors).toBe(2);
    expect(await (await fetch(`http://127.0.0.1:${checks.port}/metrics`)).text()).toContain("process_cpu");
    // It would wait for ever for the check under way, which takes no notice of its signal.
    end(undefined);
  });

  it("ends the check under way and the wait when it is disposed, and needs no listener", async () => {
    let stopped = false;
    const checks = await startChecks({
      name: "test",
      check: (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            stopped = true;
            reject(new Error("stopped"));
          });
        }),
      wait: () => HOUR,
      registry: createRegistry(),
      metrics: undefined,
      log: silentLogger(),
    });
    expect(checks.port).toBeUndefined();
    await checks[Symbol.asyncDispose]();
    expect(stopped).toBe(true);
    const waiting = await startChecks({
      name: "test",
      check: () => Promise.resolve(undefined),
      wait: () => HOUR,
      registry: createRegistry(),
      metrics: undefined,
      log: silentLogger(),
    });
    await waiting[Symbol.asyncDispose]();
  });

  it("waits the interval, less a little by chance; after failures sooner, up to half an hour", () => {
    expect(waitAfter(0, 12 * HOUR, 0)).toBe(12 * HOUR);
    expect(waitAfter(0, 12 * HOUR, 1)).toBe(0.9 * 12 * HOUR);
    expect([1, 2, 3, 20].map((failures) => waitAfter(failures, 12 * HOUR, 0))).toEqual([
      60_000, 120_000, 240_000, 1800_000,
    ]);
    expect(waitAfter(3, 90_000, 0)).toBe(90_000);
  });
});
