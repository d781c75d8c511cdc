import { expect, it } from "vitest";
import type { Backend, RouteTable } from "../src/index.js";
import { routesCommand } from "../src/native/commands.js";
import { APP, backend, routesTo } from "./apps.js";

const OTHER = "c".repeat(40);
const [one, two] = [backend("10.0.0.1", "d".repeat(40)), backend("10.0.0.2", "e".repeat(40))];

const table = (backends: readonly (readonly [string, readonly Backend[]])[]): RouteTable => ({
  ...routesTo(),
  backends: new Map(backends),
});
const before = table([
  [APP, [one, two]],
  [OTHER, [two]],
]);
/** Which of the ids an update tells of. */
const told = (next: RouteTable, from: RouteTable = before): string[] => {
  const command = routesCommand(next, from.backends).toString("hex");
  return [APP, OTHER].filter((id) => command.includes(`${id}0`));
};
const nothing = routesCommand(before, before.backends);

it("tells the engine only of routes that have changed", () => {
  const swapped = table([
    [APP, [two, one]],
    [OTHER, [two]],
  ]);
  expect(told(swapped)).toEqual([APP]);
  expect(told(before, table([]))).toEqual([APP, OTHER]);
});

it("tells nothing of a table made anew that says the same", () => {
  const anew = table(
    [...before.backends].map(([id, backends]) => [id, backends.map((each) => ({ ...each }))]),
  );
  expect(routesCommand(anew, before.backends)).toEqual(nothing);
});

it.each([
  ["address", { host: "10.0.0.9" }],
  ["instance", { instanceId: "f".repeat(40) }],
  ["app", { appId: "f".repeat(40) }],
  ["ports with a header", { proxyProtocolPorts: [80] }],
  ["public ports", { publicPorts: [80] }],
  ["public ports, of which there are none", { publicPorts: [] }],
])("tells of another %s", (_, change) => {
  const changed = table([
    [APP, [one, two]],
    [OTHER, [{ ...two, ...change }]],
  ]);
  expect(told(changed)).toEqual([OTHER]);
});

it("tells nothing of instances past those the engine tries", () => {
  const many = [one, two, one];
  const from = table([[APP, [...many, two]]]);
  expect(routesCommand(table([[APP, [...many, one]]]), from.backends)).toEqual(nothing);
});

it("tells which ids are gone, also by having no instance any more", () => {
  const gone = routesCommand(table([[APP, [one, two]]]), before.backends);
  expect(gone.length).toBe(nothing.length + 20);
  expect(gone.toString("hex")).toContain(OTHER);
  const empty = table([
    [APP, [one, two]],
    [OTHER, []],
  ]);
  expect(routesCommand(empty, before.backends)).toEqual(gone);
  expect(routesCommand(empty, empty.backends)).toEqual(nothing);
});
