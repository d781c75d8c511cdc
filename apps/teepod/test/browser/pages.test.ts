import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Stage } from "@dstack/dashboard/testing";
import { EnvKms } from "../helpers/env-kms.js";
import { eventually } from "../helpers/eventually.js";
import { FakeHypervisor } from "../helpers/fake-hypervisor.js";
import { OPERATOR, Site, client, testpod, vmRequest } from "../helpers/testpod.js";

const WEB = new URL("../../web/", import.meta.url);

const COMPOSE_FILE = "services:\n  web:\n    image: nginx@sha256:1\n    environment: [TOKEN]\n";

describe("every page of the dashboard", () => {
  const stage = Stage.forTests({ web: WEB });

  it("has no serious issue for axe-core, light and dark, on a desk and on a phone", async () => {
    const hypervisor = new FakeHypervisor();
    const kms = await EnvKms.make();
    await using site = await Site.make();
    await writeFile(join(site.dir, "ca.pem"), kms.root.certPem);
    const config = site.config({
      gateway: { base_domain: "app.example.org" },
      port_mapping: { enabled: true, ranges: [{ protocol: "tcp", from: 20000, to: 20999 }] },
    });
    await using pod = await site.start(config, { hypervisor, page: stage.page, envKeys: kms });
    const api = client(pod);
    await using tab = await stage.open(pod.url);
    const { page } = tab;
    const button = (name: string) => page.getByRole("button", { name, exact: true });
    await page.getByLabel("Access token").waitFor();
    await stage.inspect(tab, "login");
    await tab.logIn(OPERATOR);
    await page.getByText("There are no VMs on this host yet.").waitFor();
    await stage.inspect(tab, "no-vms");

    const { id } = await api.createVm(vmRequest({ name: "hello" }));
    const failed = await api.createVm(vmRequest({ name: "refused" }));
    for (const [step, state, message] of [
      ["share", "done", ""],
      ["attest", "start", "extending RTMR3"],
      ["attest", "done", ""],
      ["kms", "start", "asking for keys"],
      ["kms", "done", ""],
      ["disk", "done", "opened /dev/vdb"],
      ["ready", "done", ""],
    ] as const) {
      await hypervisor.vm(id).progress(step, state, message);
    }
    await hypervisor.vm(failed.id).progress("kms", "error", "no key: measurement is not allowed");
    await hypervisor
      .vm(id)
      .print(
        "[    0.000000] Linux version 6.1\n\u001b[32m[  OK  ]\u001b[0m Reached target dstack\n\u001b[31mError:\u001b[0m example\n",
      );
    const pages: readonly (readonly [string, string, string])[] = [
      ["list", "#/", "ready"],
      ["vm", `#/vm/${id}`, "ready"],
      ["failed", `#/vm/${failed.id}`, "kms failed"],
      ["console", `#/vm/${id}/logs`, "Reached target dstack"],
      ["upgrade", `#/vm/${id}/upgrade`, "New compose file"],
      ["images", "#/images", "tiny-0.0.1"],
      ["audit", "#/audit", "CreateVm"],
      ["nothing", "#/vm/nothing", "There is no VM of that id"],
    ];
    for (const [name, hash, text] of pages) {
      await tab.go(hash);
      await page.getByText(text).first().waitFor();
      await stage.inspect(tab, name);
    }

    await api.stopVm({ id: failed.id });
    for (const [vm, name] of [
      [id, "Stop…"],
      [failed.id, "Resize…"],
      [failed.id, "Remove…"],
    ] as const) {
      await tab.go(`#/vm/${vm}`);
      await button(name).click();
      await page.getByRole("dialog").waitFor();
      await stage.inspect(tab, `dialog-${name.replace("…", "").toLowerCase()}`);
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
    }

    await tab.go("#/deploy");
    await page.getByLabel("Compose file", { exact: true }).fill(COMPOSE_FILE);
    await page.getByLabel("Name", { exact: true }).fill("shop");
    await button("Add a secret").click();
    await page.getByLabel("Name", { exact: true }).nth(1).fill("TOKEN");
    await page.getByLabel("Value").fill("s3cret");
    await button("Add a port").click();
    await page.getByLabel("Host port").fill("20080");
    await page.getByLabel("VM port").fill("80");
    await stage.inspect(tab, "deploy");
    await button("Look at what will be sent").click();
    await page.getByLabel("This is my KMS").waitFor();
    await stage.inspect(tab, "deploy-review");

    await tab.go(`#/vm/${id}/upgrade`);
    await page.getByLabel("New compose file").fill("services:\n  web:\n    image: other\n");
    await button("Look at what changes").click();
    await page.getByRole("region", { name: "What changes" }).waitFor();
    await stage.inspect(tab, "upgrade-review");
    await button("Upgrade").click();
    await page.getByText(/^\.\/kms-allow-upgrade\.sh/).waitFor();
    await stage.inspect(tab, "upgrade-done");
    expect(tab.complaints).toEqual([]);
  });

  it("is used with the keyboard alone", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor(), page: stage.page });
    const { id } = await pod.client.createVm(vmRequest());
    await using tab = await stage.open(pod.teepod.url);
    const focused = () => tab.page.evaluate<string>("document.activeElement?.textContent ?? ''");
    const press = (key: string) => tab.page.keyboard.press(key);
    await tab.page.getByLabel("Access token").waitFor();
    await tab.page.keyboard.type(OPERATOR);
    await press("Enter");
    await tab.page.getByRole("row", { name: /hello/ }).waitFor();
    await press("Tab");
    expect(await focused()).toBe("Skip to the content");
    await press("Enter");
    await press("Tab"); // past the search
    await press("Tab");
    expect(await focused()).toBe("hello");
    await press("Enter");
    await tab.page.getByRole("heading", { name: /hello/ }).waitFor();
    await eventually(
      "title and focus",
      () => tab.page.evaluate<string>("`${document.title} ${document.activeElement?.id}`"),
      (now) => now === "hello · Overview · teepod main",
    );
    await tab.page.getByRole("button", { name: "Stop…" }).focus();
    await press("Enter");
    await tab.page.getByRole("dialog").waitFor();
    await press("Escape");
    await tab.page.getByRole("dialog").waitFor({ state: "detached" });
    expect((await pod.client.getInfo({ id })).info?.status).toBe("running");
    expect(tab.complaints).toEqual([]);
  });
});
