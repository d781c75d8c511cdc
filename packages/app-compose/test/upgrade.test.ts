import { describe, expect, it } from "vitest";
import { allowedEnvs, readable, requireKeptNames, upgradeAppComposeText } from "../src/index.js";

const yaml = (image: string): string => `services:\n  web:\n    image: ${image}\n`;
const FIELDS = {
  manifest_version: 1,
  name: "shop",
  runner: "docker-compose",
  docker_compose_file: yaml("one"),
  docker_config: { registry: "r.example", username: "u", token_key: "T" },
  features: ["kms"],
  public_logs: true,
  public_sysinfo: false,
  sockets: { worker: ["quote"] },
  public_ports: [80],
  proxy_protocol_ports: [8443],
  allowed_envs: ["A"],
  of_a_later_release: { x: [1] },
};
/** Not as JSON.stringify writes it. */
const DOCUMENT = JSON.stringify(FIELDS, undefined, 1);

describe("secrets that are kept as they are", () => {
  const allowing = (...names: string[]): string => JSON.stringify({ ...FIELDS, allowed_envs: names });

  it("K7: may set a name that the new document leaves out, so the others have to be given anew", () => {
    expect(() => requireKeptNames(allowing("A", "B"), allowing("A"))).toThrow(/leaves out B,.*anew \(A\)/);
    expect(() => requireKeptNames(allowing("A", "B"), allowing("A", "B", "C"))).not.toThrow();
    // None is given to a document that allows none.
    expect(() => requireKeptNames(allowing("A", "B"), allowing())).not.toThrow();
  });

  it("a document that says nothing of variables allows none, and neither does what is no document", () => {
    expect(allowedEnvs(allowing("A"))).toEqual(["A"]);
    for (const document of ['{"runner":"x"}', yaml("one"), "", "null", '"text"'])
      expect([document, allowedEnvs(document)]).toEqual([document, []]);
  });
});

describe("an upgrade with a plain compose file", () => {
  it("G5, G7, G8: changes the compose file, and nothing else that the document says", () => {
    const { text } = upgradeAppComposeText(DOCUMENT, yaml("two"), { allowedEnvs: ["A"] });
    expect(JSON.parse(text)).toEqual({ ...FIELDS, docker_compose_file: yaml("two") });
    expect(Object.keys(JSON.parse(text) as object)).toEqual(Object.keys(FIELDS));
  });

  it("is the same document byte for byte when nothing changes", () => {
    expect(upgradeAppComposeText(DOCUMENT, yaml("one"), { allowedEnvs: ["A"] }).text).toBe(DOCUMENT);
  });

  it("G8: changes what is public only as it is told, and adds no flag to say nothing", () => {
    const flags = { publicLogs: false, publicSysinfo: false, publicTcbinfo: false };
    const { text } = upgradeAppComposeText(DOCUMENT, yaml("one"), { flags, allowedEnvs: ["A", "B"] });
    expect(JSON.parse(text)).toEqual({ ...FIELDS, public_logs: false, allowed_envs: ["A", "B"] });
    const none = upgradeAppComposeText(DOCUMENT, yaml("one"), { allowedEnvs: [] });
    expect(JSON.parse(none.text)).not.toHaveProperty("allowed_envs");
  });

  it("takes an app-compose document byte for byte, and one for one that is none not at all", () => {
    const other = `{"docker_compose_file": ${JSON.stringify(yaml("two"))}, "runner":"docker-compose"}`;
    expect(upgradeAppComposeText(DOCUMENT, other, { allowedEnvs: [] }).text).toBe(other);
    expect(() => upgradeAppComposeText("", yaml("two"), { allowedEnvs: [] })).toThrow("not an app-compose");
    expect(() => upgradeAppComposeText(DOCUMENT, "services: {}", { allowedEnvs: [] })).toThrow("no services");
  });

  it("does not grow beyond what a VM takes", () => {
    const large = `${yaml("two")}# ${"x".repeat(250 * 1024)}`;
    const old = JSON.stringify({ ...FIELDS, notes: "y".repeat(10 * 1024) });
    expect(() => upgradeAppComposeText(old, large, { allowedEnvs: [] })).toThrow("larger than 256 KiB");
  });

  it("shows its fields apart from the lines of the compose file", () => {
    expect(readable(DOCUMENT).split("docker_compose_file:\n")[1]).toBe(yaml("one"));
  });
});
