import { describe, expect, it } from "vitest";
import { appPort } from "../src/index.js";

const published = (...lines: string[]): string =>
  `services:\n  web:\n    image: x\n    ports:\n${lines.map((line) => `      - ${line}\n`).join("")}`;

describe("the port a browser opens an app at", () => {
  it.each([
    ["nothing published", "services:\n  web:\n    image: x\n", 80],
    ["80 among others", published('"8080:80"', '"80:3000"'), 80],
    ["another one only", published('"8080:80"'), 8080],
    ["the first of several", published('"9000:1/udp"', '"8081-8083:1-3"', '"7000:7000"'), 8081],
    ["an address", published('"0.0.0.0:8080:80/tcp"'), 8080],
    ["IPv6", published('"[::]:8080:80"'), 8080],
    ["loopback, which nobody outside reaches", published('"127.0.0.1:8080:80"', '"[::1]:8081:80"'), 80],
    ["one that Docker chooses", published('"80"', "3000"), 80],
    ["the long form", published("{ target: 80, published: 8080 }"), 8080],
    ["the long form, as text and a range", published('{ target: 80, published: "8080-8090" }'), 8080],
    [
      "the long form for UDP and loopback",
      published("{ target: 1, published: 2, protocol: udp }", '{ published: 3, host_ip: "127.0.0.1" }'),
      80,
    ],
    ["a variable", published('"${PORT}:80"'), 80],
    ["no port", published('"99999:80"', "null", "[1]"), 80],
    ["no services", "services: [1]\n", 80],
    ["no YAML", "a: [", 80],
    ["nothing", "", 80],
  ])("%s", (_, composeFile, port) => {
    expect(appPort(composeFile)).toBe(port);
  });

  it("a file that would take seconds, or all of the stack, counts as 80; one whose aliases make much of little is read", () => {
    expect(appPort(`services: ${"[".repeat(60_000)}`)).toBe(80);
    expect(appPort(`# ${"x".repeat(70_000)}\n${published('"8080:80"')}`)).toBe(80);
    const services = Array.from({ length: 99 }, (_, i) => `  a${i}: {ports: *p}`).join("\n");
    expect(appPort(`x: &p [${"'1:1',".repeat(9000)}]\nservices:\n${services}`)).toBe(1);
  });
});
