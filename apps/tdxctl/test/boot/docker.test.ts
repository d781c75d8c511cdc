import { utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { parseAppCompose } from "../../src/boot/app-compose.js";
import { dockerClientConfig, dockerDaemonConfig, projectName } from "../../src/boot/docker.js";

const parse = (change: object): ReturnType<typeof parseAppCompose> =>
  parseAppCompose(
    utf8(
      JSON.stringify({ runner: "docker-compose", docker_compose_file: "x", features: ["kms"], ...change }),
    ),
  );

describe("dockerDaemonConfig", () => {
  it("keeps everything on the encrypted disk, with a registry mirror where the host offers one", () => {
    expect(JSON.parse(dockerDaemonConfig(undefined))).toMatchObject({ "data-root": "/data/docker" });
    expect(dockerDaemonConfig(undefined)).not.toContain("registry");
    expect(JSON.parse(dockerDaemonConfig("http://10.0.2.2:5500"))).toMatchObject({
      "registry-mirrors": ["http://10.0.2.2:5500"],
      "insecure-registries": ["10.0.2.2:5500"],
    });
    expect(dockerDaemonConfig("https://mirror.example")).not.toContain("insecure");
  });
});

describe("dockerClientConfig", () => {
  const login = { registry: "registry.example", username: "me", tokenKey: "TOKEN" };

  it("carries the token of the variable that the compose document names", () => {
    const config = JSON.parse(dockerClientConfig(login, { TOKEN: "secret" }) ?? "") as unknown;
    expect(config).toEqual({
      auths: { "registry.example": { auth: Buffer.from("me:secret").toString("base64") } },
    });
    expect(dockerClientConfig(undefined, {})).toBeUndefined();
  });

  it("says which variable is missing", () => {
    expect(() => dockerClientConfig(login, {})).toThrow("docker_config.token_key names TOKEN");
  });
});

describe("parseAppCompose", () => {
  it("reads what the boot acts on", () => {
    const compose = parse({
      name: "My App",
      features: ["kms", "tproxy-net"],
      docker_config: { registry: "r.example", username: "u", token_key: "T" },
      allowed_envs: ["T"],
      proxy_protocol_ports: [8443],
      public_ports: [8443, 80],
      unknown: 1,
    });
    expect(compose).toMatchObject({
      name: "My App",
      usesTproxy: true,
      login: { registry: "r.example", username: "u", tokenKey: "T" },
      allowedEnvs: ["T"],
      proxyProtocolPorts: [8443],
      publicPorts: [8443, 80],
    });
    expect(parse({ docker_config: { registry: "", username: "", token_key: "" } }).login).toBeUndefined();
  });

  it.each([
    ["a port that is none", { proxy_protocol_ports: [0] }, "proxy_protocol_ports"],
    ["a public port that is none", { public_ports: [65536] }, "public_ports"],
    ["another runner", { runner: "bash" }, "docker-compose"],
    ["no compose file", { docker_compose_file: undefined }, "docker_compose_file"],
    ["no KMS", { features: [] }, '"kms"'],
  ])("refuses %s with a clear sentence", (_what, change, message) => {
    expect(() => parse(change)).toThrow(message);
  });

  it("G1: refuses a document that is not JSON", () => {
    expect(() => parseAppCompose(utf8("services: {}"))).toThrow("app-compose.json is not JSON in UTF-8");
  });
});

describe("projectName", () => {
  it.each([
    ["hello", "hello"],
    ["My App!", "my-app"],
    ["../../x", "app"],
    ["", "app"],
    ["--rm", "rm"],
  ])("makes of %j the project %j", (name, project) => {
    expect(projectName(name)).toBe(project);
  });
});
