import { describe, expect, it } from "vitest";
import { appIdOfCompose, utf8 } from "@dstack/core";
import { parseNewVm } from "../../src/vm/new-vm.js";
import type { VmRequest } from "../../src/vm/new-vm.js";
import { COMPOSE } from "../helpers/testpod.js";

const rules = {
  limits: { maxVcpu: 4, maxMemoryMb: 4096, maxDiskGb: 50 },
  ports: {
    enabled: true,
    ranges: [
      { protocol: "tcp", from: 8000, to: 8100 },
      { protocol: "udp", from: 53, to: 53 },
    ],
  },
} as const;

const good: VmRequest = {
  name: "hello",
  image: "dstack-0.1.0",
  composeFile: COMPOSE,
  vcpu: 1,
  memory: 1024,
  diskSize: 10,
  ports: [],
  encryptedEnv: new Uint8Array(),
};

function compose(changes: Record<string, unknown>): string {
  return JSON.stringify({ ...(JSON.parse(COMPOSE) as object), ...changes });
}

describe("a request for a VM", () => {
  it("gets its app id from the exact bytes of the compose document", () => {
    expect(parseNewVm(good, rules).appId).toBe(appIdOfCompose(utf8(COMPOSE)));
    expect(parseNewVm({ ...good, composeFile: `${COMPOSE}\n` }, rules).appId).not.toBe(
      appIdOfCompose(utf8(COMPOSE)),
    );
  });

  it("may name the app it belongs to", () => {
    const appId = "ab".repeat(20);
    expect(parseNewVm({ ...good, appId }, rules)).toMatchObject({ appId, appIdGiven: true });
    expect(parseNewVm({ ...good, appId: "" }, rules)).toMatchObject({ appIdGiven: false });
  });

  const wrong: [string, Partial<VmRequest>, string][] = [
    ["no name", { name: "" }, "name must be 1 to 63 letters"],
    ["T1: a name that is a path", { name: "../../etc/cron.d/x" }, "name must be 1 to 63 letters"],
    ["T2: a name that looks like an option", { name: "-device" }, "name must be 1 to 63 letters"],
    ["T2: a name with a comma", { name: "a,process=b" }, "name must be 1 to 63 letters"],
    ["a name with a line break", { name: "a\nb" }, "name must be 1 to 63 letters"],
    ["no image", { image: "" }, "image is missing"],
    ["no compose document", { composeFile: "" }, "compose_file is empty"],
    ["a docker-compose file", { composeFile: "services:\n  web: {}\n" }, "this is not JSON"],
    ["JSON that is no object", { composeFile: "[]" }, "a JSON object"],
    ["another JSON document", { composeFile: '{"name":"x"}' }, '"manifest_version", "runner"'],
    [
      "no docker compose file in it",
      { composeFile: compose({ docker_compose_file: " " }) },
      "docker_compose_file",
    ],
    ["a huge document", { composeFile: compose({ pad: "x".repeat(300_000) }) }, "larger than 262144 bytes"],
    ["no CPUs", { vcpu: 0 }, "vcpu must be between 1 and 4"],
    ["too many CPUs", { vcpu: 5 }, "vcpu must be between 1 and 4"],
    ["too little memory", { memory: 16 }, "memory must be between 64 and 4096 MB"],
    ["too much memory", { memory: 4097 }, "memory must be between 64 and 4096 MB"],
    ["no disk", { diskSize: 0 }, "disk_size must be between 1 and 50 GB"],
    ["too large a disk", { diskSize: 51 }, "disk_size must be between 1 and 50 GB"],
    ["an app id that is none", { appId: "../../x" }, "app id must be 40 lower-case hex digits"],
    ["an environment too short", { encryptedEnv: new Uint8Array(20) }, "encrypted_env is too short"],
    [
      "T5: a port outside the ranges",
      { ports: [{ protocol: "tcp", hostPort: 22, vmPort: 22 }] },
      "not in a range",
    ],
    [
      "T5: a port of the other protocol",
      { ports: [{ protocol: "udp", hostPort: 8000, vmPort: 1 }] },
      "not in a range",
    ],
    ["an unknown protocol", { ports: [{ protocol: "sctp", hostPort: 8000, vmPort: 1 }] }, '"tcp" or "udp"'],
    ["no guest port", { ports: [{ protocol: "tcp", hostPort: 8000, vmPort: 0 }] }, "between 1 and 65535"],
    [
      "T5: one port twice",
      { ports: [1, 2].map((vmPort) => ({ protocol: "tcp", hostPort: 8000, vmPort })) },
      "tcp port 8000 is mapped twice",
    ],
  ];
  for (const [name, change, message] of wrong) {
    it(`is refused: ${name}`, () => {
      expect(() => parseNewVm({ ...good, ...change }, rules)).toThrow(message);
    });
  }

  it("T5: has no ports where mapping is switched off", () => {
    const ports = [{ protocol: "tcp", hostPort: 8000, vmPort: 80 }];
    expect(parseNewVm({ ...good, ports }, rules).ports).toHaveLength(1);
    expect(() =>
      parseNewVm({ ...good, ports }, { ...rules, ports: { ...rules.ports, enabled: false } }),
    ).toThrow("port mapping is not enabled");
  });
});
