import { sleep } from "@dstack/core";

/** Waits until a condition holds; the test fails with the last answer when it does not within the limit. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T> | T,
  holds: (value: T) => boolean,
  limitMs = 120_000,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const value = await look();
    if (holds(value)) return value;
    if (performance.now() > deadline)
      throw new Error(`${what} did not happen; last seen: ${JSON.stringify(value)}`);
    await sleep(20);
  }
}
