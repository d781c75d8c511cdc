import { afterAll, beforeAll, expect, it } from "vitest";
import type { Ingress } from "../src/index.js";
import { type Listening, startApp } from "./support.js";
import { SHOP, World } from "./world.js";

const ZONE = "delegated.test";
/** What the domain's owner sets up once, in a zone that the ingress has no rights for. */
const OWNERS = {
  [SHOP]: `shop.${ZONE}`,
  [`_dstack-app-address.${SHOP}`]: `address.${ZONE}`,
  [`_acme-challenge.${SHOP}`]: `challenge.${ZONE}`,
};

let world: World;
let app: Listening;
let environment: Record<string, string>;
beforeAll(async () => {
  world = await World.start(ZONE);
  app = await startApp((_, response) => response.end("app"));
  environment = { ...(await world.environment(app.port)), DELEGATION_ZONE: ZONE };
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

it("sets all records in a delegated zone, whose token has no rights for the domain's own", async () => {
  for (const [name, target] of Object.entries(OWNERS)) await world.dns.setAlias(name, target);
  await using ingress: Ingress = await world.ingress(environment);
  const rows = world.cloudflare.rows.map(({ type, name, content }) => [type, name, content]);
  const value = expect.stringMatching(/^0 issue(wild)? "pebble.letsencrypt.org;.*accounturi=/) as string;
  expect(rows).toEqual([
    ["CNAME", `shop.${ZONE}`, "_.gateway.test"],
    ["TXT", `address.${ZONE}`, `"${world.guest.appId}:${environment["PORT"]}"`],
    ["CAA", `shop.${ZONE}`, value],
    ["CAA", `shop.${ZONE}`, value],
  ]);
  const { code, out } = await world.verify(ingress.port);
  expect(code, out).toBe(0);
});

it("says which record is missing", async () => {
  await world.dns.setAlias(`_dstack-app-address.${SHOP}`, undefined);
  await using ingress = await world.ingress(environment);
  await expect(ingress.renew({ force: false })).rejects.toThrow(
    `Make this record once: _dstack-app-address.${SHOP} CNAME _dstack-app-address.${SHOP}.${ZONE}`,
  );
});
