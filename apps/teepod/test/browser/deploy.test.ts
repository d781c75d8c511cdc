import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { appIdOfCompose, utf8 } from "@dstack/core";
import { ResourceStack } from "@dstack/daemon";
import { CertificateAuthority, decryptEnv } from "@dstack/ra-tls";
import { PLAIN_HOST, Stage } from "@dstack/dashboard/testing";
import type { Tab } from "@dstack/dashboard/testing";
import { EnvKms } from "../helpers/env-kms.js";
import { eventually } from "../helpers/eventually.js";
import { FakeHypervisor } from "../helpers/fake-hypervisor.js";
import { writeImage } from "../helpers/images.js";
import { COMPOSE, OPERATOR, Site, VIEWER, client, vmRequest } from "../helpers/testpod.js";

const WEB = new URL("../../web/", import.meta.url);

const COMPOSE_FILE = "services:\n  web:\n    image: nginx@sha256:1\n    environment: [TOKEN]\n";

describe("deploying and changing VMs in the dashboard", () => {
  const stage = Stage.forTests({ web: WEB });

  /** A teepod, and a browser that knows it by a name over plain HTTP: no secure context. */
  async function dashboard(token = OPERATOR) {
    await using own = new ResourceStack();
    const site = own.use(await Site.make());
    const kms = await EnvKms.make();
    await writeFile(join(site.dir, "ca.pem"), kms.root.certPem);
    const hypervisor = new FakeHypervisor();
    const ports = { enabled: true, ranges: [{ protocol: "tcp", from: 20000, to: 20999 }] } as const;
    const config = site.config({ port_mapping: { ...ports, ranges: [...ports.ranges] } });
    const pod = own.use(await site.start(config, { hypervisor, page: stage.page, envKeys: kms }));
    const tab = own.use(await stage.open(`http://${PLAIN_HOST}:${pod.port}`));
    await tab.logIn(token);
    const resources = own.move();
    return {
      site,
      kms,
      hypervisor,
      pod,
      tab,
      page: tab.page,
      client: client(pod),
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  }

  type Dashboard = Awaited<ReturnType<typeof dashboard>>;

  async function fill({ tab }: Dashboard, compose: string, name = "hello"): Promise<void> {
    await tab.go("#/");
    await tab.go("#/deploy");
    await tab.page.getByLabel("Compose file", { exact: true }).fill(compose);
    await tab.page.getByLabel("Name", { exact: true }).fill(name);
    await tab.page.getByLabel("Memory (MB)").fill("64");
    await tab.page.getByLabel("Disk (GB)").fill("1");
  }

  const review = ({ page: p }: Dashboard) =>
    p.getByRole("button", { name: "Look at what will be sent" }).click();

  it("shows the exact bytes and the app id, then sends just them; secrets only the app can read", async () => {
    await using d = await dashboard();
    expect(await d.page.evaluate("isSecureContext")).toBe(false);
    await fill(d, COMPOSE_FILE);
    await d.page.getByRole("button", { name: "Add a secret" }).click();
    await d.page.getByLabel("Name", { exact: true }).nth(1).fill("TOKEN");
    await d.page.getByLabel("Value").fill("s3cret");
    await d.page.getByLabel("The containers' logs").check();
    await d.page.getByRole("button", { name: "Add a port" }).click();
    await d.page.getByLabel("Host port").fill("20080");
    await d.page.getByLabel("VM port").fill("80");
    await review(d);
    await d.page.getByText("Nothing has been sent yet.").waitFor();
    await d.page.getByText("tcp 20080 of the host to 80").waitFor();
    const text = (await d.page.getByRole("region", { name: "App-compose document" }).textContent()) ?? "";
    expect(text).not.toContain("s3cret");
    expect(JSON.parse(text)).toMatchObject({
      allowed_envs: ["TOKEN"],
      public_logs: true,
      public_sysinfo: false,
    });
    await d.page
      .getByText(appIdOfCompose(utf8(text)))
      .first()
      .waitFor();
    await d.page.getByText(d.kms.fingerprint).waitFor();
    const deploy = d.page.getByRole("button", { name: "Deploy", exact: true });
    expect(await deploy.isDisabled()).toBe(true);
    await d.page.getByLabel("This is my KMS").check();
    await deploy.click();
    await d.page.getByRole("heading", { name: /hello/ }).waitFor();
    const [vm] = (await d.client.status()).vms;
    expect(vm?.appId).toBe(appIdOfCompose(utf8(text)));
    expect(vm?.configuration).toMatchObject({ composeFile: text, vcpu: 1, memory: 64, diskSize: 1 });
    expect(vm?.configuration?.ports).toMatchObject([{ protocol: "tcp", hostPort: 20080, vmPort: 80 }]);
    expect(decryptEnv(d.kms.secret, vm?.configuration?.encryptedEnv ?? new Uint8Array())).toEqual([
      { key: "TOKEN", value: "s3cret" },
    ]);
    expect(d.tab.complaints).toEqual([]);
  });

  it("K7: encrypts to no key that the KMS has not signed", async () => {
    await using d = await dashboard();
    d.kms.signer = await CertificateAuthority.create({ commonName: "kms" });
    await fill(d, COMPOSE_FILE);
    await d.page.getByRole("button", { name: "Add a secret" }).click();
    await d.page.getByLabel("Name", { exact: true }).nth(1).fill("TOKEN");
    await review(d);
    await d.page.getByText("The key for secrets is not signed by the KMS").waitFor();
    expect(await d.page.getByRole("button", { name: "Deploy", exact: true }).isDisabled()).toBe(true);
  });

  it("says in words what is wrong with a compose file, and sends nothing", async () => {
    await using d = await dashboard();
    await fill(d, "");
    for (const [compose, words] of [
      ["services: [", "The compose file is not YAML"],
      ["just text", "The compose file has no services"],
      ["services:\n  web: {build: .}\n", "service web has build but no image"],
      [`services: {web: {image: x}}\n# ${"x".repeat(256 * 1024)}`, "The compose file is larger than 256 KiB"],
    ] as const) {
      await d.page.getByLabel("Compose file", { exact: true }).fill(compose);
      await review(d);
      await d.page.getByRole("alert").getByText(words, { exact: false }).waitFor();
    }
    const large = join(d.site.dir, "large.yaml");
    await writeFile(large, Buffer.alloc(10 * 2 ** 20, "a"));
    await d.page.getByLabel("Pick a compose file").setInputFiles(large);
    await d.page.getByText("large.yaml is larger than 256 KiB, which is the most a VM takes.").waitFor();
    const binary = { name: "app.bin", mimeType: "text/yaml", buffer: Buffer.from([0xff, 0xfe, 0x00]) };
    await d.page.getByLabel("Pick a compose file").setInputFiles(binary);
    await d.page.getByText("app.bin is not a text file in UTF-8.").waitFor();
    const good = { name: "docker-compose.yaml", mimeType: "text/yaml", buffer: Buffer.from(COMPOSE_FILE) };
    await d.page.getByLabel("Pick a compose file").setInputFiles(good);
    const box = d.page.getByLabel("Compose file", { exact: true });
    await eventually(
      "the picked file",
      async () => (await box.inputValue()).slice(0, 200),
      (text) => text === COMPOSE_FILE,
    );
    expect((await d.client.getAuditLog({})).entries.filter((e) => e.method !== "Login")).toEqual([]);
  });

  it("T1, T2, T4, T5: tells why there is no VM: no such image, a wrong name, QEMU, a port that is taken, no teepod", async () => {
    await using d = await dashboard();
    await writeImage(d.site.images, "tiny-0.0.2");
    await fill(d, COMPOSE_FILE);
    await d.page.getByLabel("Guest image").selectOption("tiny-0.0.2");
    await review(d);
    await rm(join(d.site.images, "tiny-0.0.2"), { recursive: true });
    const deploy = d.page.getByRole("button", { name: "Deploy", exact: true });
    await deploy.click();
    await d.page.getByText("There is no image of that name; there are tiny-0.0.1.").waitFor();

    await fill(d, COMPOSE_FILE, "<b>hello</b>");
    await review(d);
    expect(await d.page.getByText("Nothing has been sent yet.").isVisible()).toBe(false);

    d.hypervisor.failNext = "QEMU did not start: no memory";
    await fill(d, COMPOSE_FILE);
    await review(d);
    await deploy.click();
    await d.page.getByText("QEMU did not start: no memory.").waitFor();
    expect((await d.client.status()).vms).toEqual([]);

    await d.client.createVm(
      vmRequest({ name: "first", ports: [{ protocol: "tcp", hostPort: 20081, vmPort: 80 }] }),
    );
    await fill(d, COMPOSE_FILE);
    await d.page.getByRole("button", { name: "Add a port" }).click();
    await d.page.getByLabel("Host port").fill("20081");
    await d.page.getByLabel("VM port").fill("80");
    await review(d);
    await deploy.click();
    await d.page.getByText(/port 20081 belongs to the VM first/).waitFor();

    await d.pod[Symbol.asyncDispose]();
    await deploy.click();
    await d.page.getByText("teepod does not answer. It may be starting again").waitFor();
  });

  it("T3: gives a viewer no button that changes something", async () => {
    await using d = await dashboard(VIEWER);
    const { id } = await d.client.createVm(vmRequest());
    await d.tab.go(`#/vm/${id}`);
    await d.page.getByText("Your token may look at this VM but not change it.").waitFor();
    for (const name of ["Start", "Shut down", "Stop…", "Remove…", "Resize…"]) {
      expect([name, await d.page.getByRole("button", { name }).count()]).toEqual([name, 0]);
    }
  });

  it("upgrades with a diff and the command for the KMS; of two tabs the second is refused with the reason", async () => {
    await using d = await dashboard();
    const { id } = await d.client.createVm(vmRequest());
    const old = (await d.client.getInfo({ id })).info;
    await d.tab.go(`#/vm/${id}/upgrade`);
    const other = await d.tab.another();
    await other.go(`#/vm/${id}/upgrade`);
    const change = async (tab: Tab, image: string): Promise<void> => {
      const box = tab.page.getByLabel("New compose file");
      await box.fill(`services:\n  web:\n    image: ${image}\n`);
      await tab.page.getByRole("button", { name: "Look at what changes" }).click();
      await tab.page
        .getByRole("region", { name: "What changes" })
        .getByText(`+     image: ${image}`)
        .waitFor();
    };
    await change(d.tab, "one");
    await change(other, "two");
    const upgrade = (tab: Tab) => tab.page.getByRole("button", { name: "Upgrade", exact: true }).click();
    await upgrade(d.tab);
    await d.page.getByText(`./kms-allow-upgrade.sh ${old?.appId} `).waitFor();
    const [vm] = (await d.client.status()).vms;
    const upgraded = appIdOfCompose(utf8(vm?.configuration?.composeFile ?? ""));
    await d.page.getByText(`./kms-allow-upgrade.sh ${old?.appId} ${upgraded}`, { exact: true }).waitFor();
    expect(vm?.configuration?.composeFile).toContain("image: one");
    await upgrade(other);
    await other.page.getByText("Somebody else has changed this VM since you looked at it").waitFor();
    expect((await d.client.getInfo({ id })).info?.configuration?.composeFile).toContain("image: one");
    expect([...d.tab.complaints, ...other.complaints]).toEqual([]);
  });

  it("K2: what was done to one VM is not shown as another's", async () => {
    await using d = await dashboard();
    const [a, b] = [
      await d.client.createVm(vmRequest()),
      await d.client.createVm(vmRequest({ name: "other" })),
    ];
    await d.tab.go(`#/vm/${a?.id}/upgrade`);
    await d.page.getByLabel("New compose file").fill("services:\n  web:\n    image: one\n");
    await d.page.getByRole("button", { name: "Look at what changes" }).click();
    await d.page.getByRole("button", { name: "Upgrade", exact: true }).click();
    await d.page.getByText("./kms-allow-upgrade.sh").waitFor();
    await d.tab.go(`#/vm/${b?.id}/upgrade`);
    await d.page.getByLabel("New compose file").waitFor();
    expect(await d.page.getByText("./kms-allow-upgrade.sh").count()).toBe(0);
    expect(d.tab.complaints).toEqual([]);
  });

  it("K7: a secret that is left out asks for the others anew, for the app would not start", async () => {
    await using d = await dashboard();
    const document = JSON.stringify({ ...(JSON.parse(COMPOSE) as object), allowed_envs: ["A", "B"] });
    const { id } = await d.client.createVm(
      vmRequest({ composeFile: document, encryptedEnv: new Uint8Array(60) }),
    );
    await d.tab.go(`#/vm/${id}/upgrade`);
    await d.page.getByRole("button", { name: "Leave out secret 2" }).click();
    await d.page.getByRole("button", { name: "Look at what changes" }).click();
    await d.page.getByText("The new document leaves out B").waitFor();
    await d.page.getByLabel("Value", { exact: true }).fill("anew");
    await d.page.getByRole("button", { name: "Look at what changes" }).click();
    await d.page.getByText("Secrets that get a new value: A.").waitFor();
    // What such a document says of itself is not asked again.
    await d.page.getByRole("button", { name: "Back" }).click();
    expect(await d.page.getByRole("checkbox").count()).toBeGreaterThan(0);
    await d.page.getByLabel("New compose file").fill(document);
    await eventually(
      "no flags to choose",
      () => d.page.getByRole("checkbox").count(),
      (count) => count === 0,
    );
    expect(d.tab.complaints).toEqual([]);
  });

  it("K7: changes secrets alone as one bundle, from the lines of an env file, and says which are lost", async () => {
    await using d = await dashboard();
    const document = JSON.stringify({ ...(JSON.parse(COMPOSE) as object), allowed_envs: ["A", "B", "C"] });
    const { id } = await d.client.createVm(vmRequest({ composeFile: document }));
    await d.tab.go(`#/vm/${id}/upgrade`);
    await d.page.getByLabel("Name", { exact: true }).nth(2).waitFor();
    await d.page.evaluate(`{
      const clipboardData = new DataTransfer();
      clipboardData.setData("text", "A=one\\n# not this\\nB=two=2\\n");
      document.getElementById("secret-name-0")
        .dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }`);
    await d.page.getByRole("button", { name: "Look at what changes" }).click();
    await d.page.getByText("The secrets; the document stays as it is.").waitFor();
    await d.page.getByText("Without a value from now on: C.").waitFor();
    await d.page.getByLabel("This is my KMS").check();
    await d.page.getByRole("button", { name: "Upgrade", exact: true }).click();
    await d.page.getByText("The VM has its new configuration.").waitFor();
    const { configuration } = (await d.client.getInfo({ id })).info ?? {};
    expect(configuration?.composeFile).toBe(document);
    expect(decryptEnv(d.kms.secret, configuration?.encryptedEnv ?? new Uint8Array())).toEqual([
      { key: "A", value: "one" },
      { key: "B", value: "two=2" },
    ]);
    expect(d.tab.complaints).toEqual([]);
  });

  it("stops, resizes, clones and removes, the last only when the name was typed", async () => {
    await using d = await dashboard();
    const { id } = await d.client.createVm(vmRequest());
    await d.tab.go(`#/vm/${id}`);
    await d.page.getByRole("button", { name: "Shut down" }).click();
    await eventually(
      "the power button",
      () => d.hypervisor.vm(id).powerButtonPressed,
      (n) => n === 1,
    );
    await d.page.getByRole("button", { name: "Stop…" }).click();
    await d.page.getByRole("button", { name: "Stop it" }).click();
    await d.page.getByRole("heading", { name: /stopped/ }).waitFor();

    await d.page.getByRole("button", { name: "Resize…" }).click();
    await d.page.getByLabel("Memory (MB)").fill("128");
    await d.page.getByRole("button", { name: "Resize", exact: true }).click();
    await d.page.getByText("1 vCPU, 128 MB memory, 1 GB disk").waitFor();

    const download = d.page.waitForEvent("download");
    await d.page.getByRole("button", { name: "Download compose" }).click();
    const file = await (await download).createReadStream();
    expect((await file.toArray()).join("")).toBe(vmRequest().composeFile);

    // The list of images, which has not come yet, is not needed for what has its image already.
    let giveImages = (): void => undefined;
    const held = new Promise<void>((resolve) => (giveImages = resolve));
    await d.page.route(/ListImages/, async (route) => {
      await held;
      await route.continue();
    });
    await d.page.getByRole("link", { name: "Clone" }).click();
    await d.page.getByRole("heading", { name: "Clone hello" }).waitFor();
    await review(d);
    await d.page.getByRole("button", { name: "Deploy", exact: true }).waitFor();
    giveImages();
    await d.page.getByRole("button", { name: "Deploy", exact: true }).click();
    await d.page.getByRole("heading", { name: /hello-copy/ }).waitFor();
    expect((await d.client.status()).vms.map((vm) => vm.appId)).toEqual(
      Array.from({ length: 2 }, () => appIdOfCompose(utf8(vmRequest().composeFile))),
    );

    await d.tab.go(`#/vm/${id}`);
    await d.page.getByRole("button", { name: "Remove…" }).click();
    const remove = d.page.getByRole("button", { name: "Remove it" });
    expect(await remove.isDisabled()).toBe(true);
    await d.page.getByLabel(/Type hello to confirm/).fill("hello");
    await remove.click();
    await d.page.getByRole("heading", { name: "VMs" }).waitFor();
    expect((await d.client.status()).vms.map((vm) => vm.name)).toEqual(["hello-copy"]);

    await d.tab.go("#/audit");
    await d.page.getByRole("row", { name: /olga.*RemoveVm.*done/ }).waitFor();
    expect(d.tab.complaints).toEqual([]);
  });

  it("shows how a boot went, step by step, and where it failed", async () => {
    await using d = await dashboard();
    const { id } = await d.client.createVm(vmRequest());
    await d.tab.go(`#/vm/${id}`);
    await d.page.getByText("The guest has told no step yet.").waitFor();
    await d.hypervisor.vm(id).progress("kms", "start", "asking for keys");
    await d.page.getByRole("listitem").getByText("kms begins: asking for keys").waitFor();
    await d.hypervisor.vm(id).progress("kms", "error", "measurement is not allowed");
    await d.page.getByRole("listitem").getByText("kms failed: measurement is not allowed").waitFor();
  });
});
