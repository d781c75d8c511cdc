import { describe, expect, it } from "vitest";
import { toAppComposeText } from "../src/index.js";
import { parseSockets } from "../src/sockets.js";

describe("G7: sockets of an app-compose document", () => {
  it("reads names and scopes; a slash at the end of a prefix says nothing", () => {
    expect([...parseSockets({ worker: ["quote", "key:a/b/", "cert:"], "db-1": [] })]).toEqual([
      ["worker", [{ kind: "quote" }, { kind: "key", prefix: "a/b" }, { kind: "cert", prefix: "" }]],
      ["db-1", []],
    ]);
    expect(parseSockets(undefined).size).toBe(0);
  });

  it.each([
    [["quote"], /must map names/],
    [null, /must map names/],
    [{ "../x": [] }, /its name must be/],
    [{ "": [] }, /its name must be/],
    [{ Worker: [] }, /its name must be/],
    [{ [`${"a".repeat(33)}`]: [] }, /its name must be/],
    [{ a: "quote" }, /must have a list/],
    [{ a: Array.from({ length: 33 }, () => "quote") }, /must have a list/],
    [{ a: ["quotes"] }, /a scope must be/],
    [{ a: ["quote:x"] }, /a scope must be/],
    [{ a: ["key"] }, /a scope must be/],
    [{ a: [7] }, /a scope must be/],
    [{ a: ["key:x\n"] }, /a scope must be/],
    [{ a: ["key:/"] }, /"key:" is for all paths/],
    [{ a: [`key:${"x".repeat(256)}`] }, /a scope must be/],
    [Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`s${index}`, []])), /16 at most/],
  ])("refuses %j", (value, message) => {
    expect(() => parseSockets(value)).toThrow(message);
  });

  it("is looked at before a document is deployed, not when its CVM has booted", () => {
    const document = JSON.stringify({
      runner: "docker-compose",
      docker_compose_file: "services: { web: { image: x } }",
      sockets: { worker: ["everything"] },
    });
    const options = { name: "x", publicLogs: false, publicSysinfo: false, allowedEnvs: [] };
    expect(() => toAppComposeText(document, options)).toThrow(/socket "worker": a scope must be/);
  });
});
