import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { expect, it } from "vitest";
import { startDataPlane } from "../src/data-plane.js";
import type { DataPlaneParts } from "../src/data-plane.js";

const listeners = [{ host: "127.0.0.1", port: 0 }];
const routes = { baseDomains: [], backends: new Map(), allowedPorts: [] };
const nobodyHears: DataPlaneParts = {
  onTrouble: (err) => expect.unreachable(err.message),
  onFallback: (err) => expect.unreachable(err.message),
};

it("takes the native engine where nobody has chosen, and the one in plain Node where that cannot run", async () => {
  const native = await startDataPlane(undefined, { listeners, routes }, nobodyHears);
  await native.plane.close();
  expect(native.engine).toBe("native");
  const why: string[] = [];
  const parts = {
    ...nobodyHears,
    command: ["/bin/false"],
    onFallback: (err: Error) => why.push(err.message),
  };
  const js = await startDataPlane(undefined, { listeners, routes }, parts);
  expect(js.plane.listeners[0]?.port).toBeGreaterThan(0);
  await js.plane.close();
  expect(js.engine).toBe("js");
  expect(why).toEqual([expect.stringMatching(/does not start/)]);
});

it("does not start with another engine than the configured one, nor where the port is taken", async () => {
  const broken = { ...nobodyHears, command: ["/bin/false"] };
  await expect(startDataPlane("native", { listeners, routes }, broken)).rejects.toThrow(/does not start/);
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const taken = [{ host: "127.0.0.1", port: (other.address() as AddressInfo).port }];
  await expect(startDataPlane(undefined, { listeners: taken, routes }, nobodyHears)).rejects.toThrow(
    /EADDRINUSE/,
  );
  other.close();
});
