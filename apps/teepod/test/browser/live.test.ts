import { describe, expect, it } from "vitest";
import { Stage } from "@dstack/dashboard/testing";
import { freePort } from "../../../../packages/core/test/support/ports.js";
import { eventually } from "../helpers/eventually.js";
import { FakeHypervisor } from "../helpers/fake-hypervisor.js";
import { writeImage } from "../helpers/images.js";
import { COMPOSE, OPERATOR, Site, VIEWER, client, vmRequest } from "../helpers/testpod.js";

const WEB = new URL("../../web/", import.meta.url);

describe("the dashboard", () => {
  const stage = Stage.forTests({ web: WEB });

  it("needs less than 20 KB of script for its first view", () => {
    expect(stage.firstViewBytes()).toBeLessThan(20_000);
  });

  it("T3: lets nobody in with a wrong token, and the right one stays out of reach of scripts", async () => {
    await using site = await Site.make();
    await using pod = await site.start(site.config(), { hypervisor: new FakeHypervisor(), page: stage.page });
    await using tab = await stage.open(pod.url);
    await tab.page.getByLabel("Access token").fill("wrong-token-0123456789");
    await tab.page.getByRole("button", { name: "Log in" }).click();
    await tab.page.getByText("This token is not known here.").waitFor();
    await tab.logIn(OPERATOR);
    await tab.page.getByText("olga (operator)").waitFor();
    await tab.page.getByText("There are no VMs on this host yet.").waitFor();
    expect(await tab.page.evaluate("document.cookie + JSON.stringify(localStorage)")).not.toContain(
      "session",
    );
    const [cookie] = await tab.page.context().cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict" });
    await tab.page.reload();
    await tab.page.getByText("olga (operator)").waitFor();
    await tab.page.getByRole("button", { name: "Log out" }).click();
    await tab.page.getByLabel("Access token").waitFor();
    expect(tab.complaints).toEqual([]);
  });

  it("T3: a session that ends takes its open pages with it, and they say so", async () => {
    await using site = await Site.make();
    await using pod = await site.start(site.config(), { hypervisor: new FakeHypervisor(), page: stage.page });
    await client(pod).createVm(vmRequest());
    await using tab = await stage.open(pod.url);
    await tab.logIn(VIEWER);
    await tab.page.getByRole("row", { name: /hello/ }).waitFor();
    const other = await tab.another();
    await other.page.getByRole("button", { name: "Log out" }).click();
    await tab.page.getByText("Your session is over. Log in again to go on.").waitFor();
    expect(await tab.page.getByText("hello").count()).toBe(0);
  });

  it("shows VMs as they come, change and go, and says when it is cut off and when teepod was started again", async () => {
    await using site = await Site.make();
    const hypervisor = new FakeHypervisor();
    const first = await site.start(site.config({ port: await freePort() }), { hypervisor, page: stage.page });
    await using tab = await stage.open(first.url);
    await tab.logIn(VIEWER);
    await tab.page.getByText("an operator can deploy one").waitFor();
    const { id } = await client(first).createVm(vmRequest());
    const row = tab.page.getByRole("row", { name: /hello/ });
    await row.getByText("running").waitFor();
    await hypervisor.vm(id).progress("kms", "start", "asking for keys");
    await row.getByText("kms: asking for keys").waitFor();
    await hypervisor.vm(id).progress("kms", "error", "measurement is not allowed");
    await row.getByText("kms: measurement is not allowed").waitFor();

    await first[Symbol.asyncDispose]();
    await tab.page.getByText("The connection to teepod is lost.").waitFor();
    await using second = await site.start(site.config({ port: first.port }), {
      hypervisor,
      page: stage.page,
    });
    await tab.page.getByText("teepod was started again.").waitFor();
    await row.getByText("running").waitFor();
    await client(second).stopVm({ id });
    await row.getByText("stopped").waitFor();
    await client(second).removeVm({ id });
    await row.waitFor({ state: "detached" });
    expect(tab.complaints).toEqual([]);
  });

  it("links to each app where it is published, and to its dashboard", async () => {
    await using site = await Site.make();
    const config = site.config({ gateway: { base_domain: "app.example.org" } });
    await using pod = await site.start(config, { hypervisor: new FakeHypervisor(), page: stage.page });
    const published = "services:\n  web:\n    image: x\n    ports: ['8080:80']\n";
    const elsewhere = JSON.stringify({ ...(JSON.parse(COMPOSE) as object), docker_compose_file: published });
    await client(pod).createVm(vmRequest());
    await client(pod).createVm(vmRequest({ name: "elsewhere", composeFile: elsewhere }));
    const [first, second] = (await client(pod).status({})).vms.map(({ appId }) => appId);
    await using tab = await stage.open(pod.url);
    await tab.logIn(VIEWER);
    const link = (name: string) => tab.page.getByRole("link", { name, exact: true }).getAttribute("href");
    expect([
      await link("App of hello"),
      await link("App of elsewhere"),
      await link("Dashboard of elsewhere"),
    ]).toEqual([
      `https://${first}.app.example.org`,
      `https://${second}-8080.app.example.org`,
      `https://${second}-8090.app.example.org`,
    ]);
  });

  it("follows a console with colours, searches it, and goes on after a restart of teepod", async () => {
    await using site = await Site.make();
    const hypervisor = new FakeHypervisor();
    const first = await site.start(site.config({ port: await freePort() }), { hypervisor, page: stage.page });
    const { id } = await client(first).createVm(vmRequest());
    await using tab = await stage.open(first.url);
    await tab.logIn(VIEWER);
    await tab.page.getByRole("link", { name: "Logs of hello" }).click();
    await tab.page.getByText("The console is empty so far.").waitFor();
    await hypervisor.vm(id).print("one\r\n\u001b[1;31mtwo\u001b[0m\r\nthree\r\n");
    const output = tab.page.getByRole("region", { name: "Console of the VM" });
    await output.getByText("three").waitFor();
    expect(await output.getByText("two").getAttribute("class")).toBe("weight-bold fg-1");
    await tab.page.getByLabel("Search").fill("TWO");
    await output.getByText("three").waitFor({ state: "detached" });
    await tab.page.getByText("1 of 3 lines.").waitFor();
    await tab.page.getByLabel("Search").fill("");
    await first[Symbol.asyncDispose]();
    await tab.page.getByText("The connection is lost; trying to reach teepod again.").waitFor();
    await hypervisor.vm(id).print("while away\r\n");
    await using _second = await site.start(site.config({ port: first.port }), {
      hypervisor,
      page: stage.page,
    });
    await output.getByText("while away").waitFor();
    expect(tab.complaints).toEqual([]);
  });

  it("T6: shows what guests write as text, whatever it looks like", async () => {
    await using site = await Site.make();
    const hypervisor = new FakeHypervisor();
    await using pod = await site.start(site.config(), { hypervisor, page: stage.page });
    const { id } = await client(pod).createVm(vmRequest());
    const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
    await hypervisor.vm(id).progress("app", "error", evil);
    await hypervisor.vm(id).print(`${evil}\n\u001b]0;owned\u0007\u001b[31;x${evil}\n`);
    await writeImage(site.images, "evil-0.0.1", {
      metadata: { version: "<script>document.title=1</script>" },
    });
    await using tab = await stage.open(pod.url);
    await tab.logIn(OPERATOR);
    await tab.page.getByRole("row", { name: /hello/ }).getByText(evil).waitFor();
    await tab.go("#/images");
    await tab.page.getByText("version <script>document.title=1</script>, production").waitFor();
    await tab.go(`#/vm/${id}/logs`);
    await tab.page.getByRole("region", { name: "Console of the VM" }).getByText(evil).first().waitFor();
    await eventually(
      "the title",
      () => tab.page.title(),
      (title) => title === "hello · Console · teepod",
    );
    expect(tab.complaints).toEqual([]);
  });
});
