import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { appIdOfCompose, utf8 } from "@dstack/core";
import { FakeHypervisor } from "./helpers/fake-hypervisor.js";
import { COMPOSE, OPERATOR, testpod } from "./helpers/testpod.js";

const run = promisify(execFile);
const AUTH = ["-H", `Authorization: Bearer ${OPERATOR}`];

async function curl(...args: string[]): Promise<unknown> {
  const { stdout } = await run("curl", ["-sS", ...args]);
  return stdout === "" ? undefined : (JSON.parse(stdout) as unknown);
}

/** The first release's calls, by the client they were written for: `curl -d` labels its body as a form. */
describe("curl, as the first release was used", () => {
  it("CreateVM, ListVms, StopVM, StartVM, UpgradeApp, RemoveVM", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    const base = `${pod.teepod.url}/prpc`;
    const call = (method: string, body: object) =>
      curl(...AUTH, "-X", "POST", `${base}/Teepod.${method}?json`, "-d", JSON.stringify(body));
    const vm = {
      name: "hello",
      image: "tiny-0.0.1",
      compose_file: COMPOSE,
      vcpu: 1,
      memory: 64,
      disk_size: 1,
    };
    const created = (await call("CreateVM", vm)) as { id: string };
    expect(created).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string });
    const listed = (await call("ListVms", {})) as { vms: object[] };
    expect(listed.vms).toMatchObject([
      {
        id: created.id,
        name: "hello",
        status: "running",
        app_id: appIdOfCompose(utf8(COMPOSE)),
        configuration: { compose_file: COMPOSE, disk_size: 1, encrypted_env: "", ports: [] },
      },
    ]);
    expect(await curl(...AUTH, `${base}/Teepod.ListVms`)).toMatchObject({
      vms: [{ id: created.id }],
      port_mapping_enabled: false,
    });
    expect(await curl(...AUTH, `${base}/Teepod.ListImages?json`)).toMatchObject({
      images: [{ name: "tiny-0.0.1" }],
    });
    expect(await call("StopVM", created)).toEqual({});
    expect(await call("StartVM", created)).toEqual({});
    const upgraded = COMPOSE.replace("hello", "hello2");
    expect(await call("UpgradeApp", { id: created.id, compose_file: upgraded })).toEqual({
      id: appIdOfCompose(utf8(upgraded)),
    });
    expect(await call("RemoveVM", created)).toEqual({ error: "the VM is running; stop it first" });
    await call("StopVM", created);
    expect(await call("RemoveVM", created)).toEqual({});
    expect(await call("CreateVM", { ...vm, compose_file: "services: {}" })).toEqual({
      error: "compose_file must be an app-compose document in JSON, and this is not JSON",
    });
    expect(await call("NoSuch", {})).toEqual({ error: "unknown method Teepod.NoSuch" });
  });

  it("without a token: refused", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    const url = `${pod.teepod.url}/prpc/Teepod.Status`;
    expect(await curl(url)).toEqual({ error: "a bearer token is needed" });
    expect(await curl(...AUTH, url)).toMatchObject({ vms: [] });
  });
});
