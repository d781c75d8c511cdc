import { expect, it } from "vitest";
import { run } from "../soak/many-connections.js";

it("P4: takes little memory for connections that are idle, and for clients that write slowly", async () => {
  const { idleBytes, writerBytes, carried } = await run({ idle: 1_000, writers: 500 });
  expect(idleBytes).toBeLessThan(4_096);
  expect(writerBytes).toBeLessThan(16_384); // what has come of a ClientHello is kept
  expect(carried).toBe(500);
}, 60_000);
