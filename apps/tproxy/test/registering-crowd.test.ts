import { parseAppId, parseInstanceId } from "@dstack/core";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { expect, it } from "vitest";
import { idOf, makeSite, start } from "./site.js";

const GUESTS = 100;
/** What it takes to look at the registry, as if there were many thousands of instances. */
const LOOK_MS = 20;
/** A tenth is for routes, three tenths for the tunnel's peers, and the rest for how it begins. */
const MOST_OF_THE_TIME = 0.5;

it("P4: a crowd that registers at once makes neither routes nor the tunnel's peers anew each time", async () => {
  await using site = await makeSite();
  await using server = await start(site);
  const { registry } = server;
  const list = registry.list.bind(registry);
  let looks = 0;
  registry.list = () => {
    const began = performance.now();
    while (performance.now() < began + LOOK_MS);
    looks += 1;
    return list();
  };
  const began = performance.now();
  const registrations = Array.from({ length: GUESTS }, (_, n) =>
    registry.register({
      appId: parseAppId(idOf("app")),
      instanceId: parseInstanceId(idOf(`guest ${n}`)),
      publicKey: generateKeyPair().publicKey,
      bootKey: n.toString(16).padStart(64, "0"),
      again: false,
    }),
  );
  await Promise.all(registrations);
  expect((looks * LOOK_MS) / (performance.now() - began)).toBeLessThan(MOST_OF_THE_TIME);
  expect(list()).toHaveLength(GUESTS);
});
