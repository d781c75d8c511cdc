import { expect, it } from "vitest";
import { Table } from "../src/table.js";

it("hears of another value of the same revision: another etcd counts from the beginning", () => {
  const table = new Table();
  const heard: string[] = [];
  table.replace(new Map([["a", { value: "1", revision: 2 }]]));
  table.onChange((keys) => heard.push(...keys));
  table.replace(new Map([["a", { value: "1", revision: 2 }]]));
  expect(heard).toEqual([]);
  table.replace(new Map([["a", { value: "2", revision: 2 }]]));
  expect(heard).toEqual(["a"]);
  expect(table.get("a")?.value).toBe("2");
});
