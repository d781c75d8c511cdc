import { hex, sha256 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { MAX_COMPOSE_BYTES } from "@dstack/app-compose";
import { toAppCompose } from "../src/compose.js";

const options = { name: "hello", publicLogs: false, publicSysinfo: true, allowedEnvs: [] };
const yaml = "services:\n  web:\n    image: nginx\n";

describe("what becomes of a compose file", () => {
  it("wraps a docker-compose.yaml, whose text stays as it is", () => {
    const { text } = toAppCompose(yaml, options);
    expect(JSON.parse(text)).toEqual({
      manifest_version: 1,
      name: "hello",
      runner: "docker-compose",
      docker_compose_file: yaml,
      docker_config: { registry: "", username: "", token_key: "" },
      features: ["kms", "tproxy-net"],
      public_logs: false,
      public_sysinfo: true,
    });
  });

  it("G8: opens document and event log only when told to, and says nothing of them otherwise", () => {
    expect(toAppCompose(yaml, { ...options, publicTcbinfo: false }).text).toBe(
      toAppCompose(yaml, options).text,
    );
    expect(JSON.parse(toAppCompose(yaml, { ...options, publicTcbinfo: true }).text)).toMatchObject({
      public_tcbinfo: true,
    });
  });

  it("takes an app-compose document byte for byte, odd spacing included", () => {
    const compose = JSON.stringify(yaml);
    const document = `{"docker_compose_file":  ${compose},\n\n"name":"x", "runner":"docker-compose"}\n`;
    const { text, composeHash, appId } = toAppCompose(document, options);
    expect(text).toBe(document);
    expect(composeHash).toBe(hex(sha256(document)));
    expect(appId).toBe(composeHash.slice(0, 40));
  });

  it("names environment variables only when there are some", () => {
    expect(toAppCompose(yaml, options).text).not.toContain("allowed_envs");
    expect(JSON.parse(toAppCompose(yaml, { ...options, allowedEnvs: ["A"] }).text)).toMatchObject({
      allowed_envs: ["A"],
    });
  });

  it("takes variables only for a document that allows them", () => {
    const document = (allowed: string[]): string =>
      JSON.stringify({ runner: "docker-compose", docker_compose_file: yaml, allowed_envs: allowed });
    const allowedEnvs = ["A"];
    expect(toAppCompose(document(["A", "B"]), { ...options, allowedEnvs }).text).toBe(document(["A", "B"]));
    expect(() => toAppCompose(document(["B"]), { ...options, allowedEnvs })).toThrow("does not name A");
  });

  it.each([
    ["no services", "version: '3'\n", "has no services"],
    ["empty services", "services: {}\n", "has no services"],
    [
      "the first release's example as it stands there, not indented",
      "version: '3'\nservices:\nnginx:\n    image: nginx:latest\n    ports:\n    - \"8080:80\"\n",
      'has no services: nginx stands beside "services:", and has to be indented below it',
    ],
    ["not YAML", "services: [\n", "is not YAML"],
    ["plain text", "hello", "has no services"],
    ["a list of services", "services: [a, b]\n", "must map names to services"],
    ["a service that is text", "services:\n  web: nginx\n", "service web must be a mapping"],
    ["a service without an image", "services:\n  web: {}\n", "service web has no image"],
    [
      "an image that has to be built",
      "services:\n  web:\n    build: .\n",
      "push it to a registry, and name it",
    ],
    ["tabs", "services:\n\tweb:\n", /is not YAML: Tabs are not allowed as indentation at line 2, column 1$/],
    ["another runner", '{"runner":"bash","docker_compose_file":""}', 'needs "runner": "docker-compose"'],
    ["too long", `services:\n  a: ${"x".repeat(MAX_COMPOSE_BYTES)}`, "larger than 256 KiB"],
  ])("refuses %s", (_, text, message) => {
    expect(() => toAppCompose(text, options)).toThrow(message);
  });

  it.each([
    [
      "files beside the compose file",
      "volumes: [./html:/srv, data:/data, /var/run/tappd.sock:/s]",
      ["./html"],
    ],
    ["a file of variables", "env_file: .env", [".env"]],
    ["variables without a default", 'command: "$A ${B} ${C:-c} $$D"', ["A, B"]],
    ["nothing about a plain service", "restart: always", []],
  ])("tells about %s", (_, line, about) => {
    const { notices } = toAppCompose(`services:\n  web:\n    image: nginx\n    ${line}\n`, options);
    expect(notices).toHaveLength(about.length);
    for (const [i, part] of about.entries()) expect(notices[i]).toContain(part);
  });

  it("knows the variables that are given", () => {
    const text = "services:\n  web:\n    image: nginx\n    command: $A\n";
    expect(toAppCompose(text, { ...options, allowedEnvs: ["A"] }).notices).toEqual([]);
  });
});
