import { describe, expect, it } from "vitest";
import { parseDestination, parseServerName } from "../src/index.js";

const id = "3327603e03f5bd1f830812ca4a789277fc31f577";
const base = "app.example.org";

function destinationOf(text: string, passthroughOnly = false): unknown {
  const name = parseServerName(text);
  if (name === undefined) throw new Error("no name");
  return parseDestination(name, [base, "second.example.net"], passthroughOnly);
}

describe("parseDestination", () => {
  it.each([
    [`${id}.${base}`, 80, "terminate"],
    [`${id}-8080.${base}`, 8080, "terminate"],
    [`${id}s.${base}`, 443, "passthrough"],
    [`${id}-8443s.${base}`, 8443, "passthrough"],
    [`${id}g.${base}`, 80, "http2"],
    [`${id}-50051g.${base}`, 50051, "http2"],
    [`${id.toUpperCase()}-8443S.APP.example.org.`, 8443, "passthrough"],
    [`${id}-65535.second.example.net`, 65535, "terminate"],
  ])("%s goes to port %i, %s", (name, port, mode) => {
    expect(destinationOf(name)).toEqual({ kind: "app", id, port, mode });
  });

  it("means passthrough by every name where nothing is terminated", () => {
    expect(destinationOf(`${id}.${base}`, true)).toEqual({ kind: "app", id, port: 443, mode: "passthrough" });
    expect(destinationOf(`${id}-8080g.${base}`, true)).toMatchObject({ port: 8080, mode: "passthrough" });
  });

  it.each([
    base,
    `x.${base}`,
    `${id.slice(1)}.${base}`,
    `${id}0.${base}`,
    `${id}-0.${base}`,
    `${id}-080.${base}`,
    `${id}-65536.${base}`,
    `${id}-x.${base}`,
    `${id}sg.${base}`,
    `${id}-80x.${base}`,
    `a.${id}.${base}`,
  ])("P2: %s is ours but leads nowhere, and is never asked of DNS", (name) => {
    expect(destinationOf(name)).toEqual({ kind: "unknown" });
  });

  it.each(["shop.example.com", `${id}.example.org`, `${id}.notapp.example.org`, `x${base}`])(
    "%s is somebody's own domain",
    (name) => {
      expect(destinationOf(name)).toEqual({ kind: "custom", domain: name });
    },
  );
});
