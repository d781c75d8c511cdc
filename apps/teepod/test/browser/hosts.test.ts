import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { ResourceStack } from "@dstack/daemon";
import { Stage } from "@dstack/dashboard/testing";
import type { Tab } from "@dstack/dashboard/testing";
import { describe, expect, it } from "vitest";
import type { TeepodConfigInput } from "../../src/index.js";
import { FakeHypervisor } from "../helpers/fake-hypervisor.js";
import { OPERATOR, Site, VIEWER, client, testpod, vmRequest } from "../helpers/testpod.js";

const WEB = new URL("../../web/", import.meta.url);
const EVIL = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;

describe("the dashboard of several hosts", () => {
  const stage = Stage.forTests({ web: WEB });

  const row = ({ page }: Tab, name: RegExp) => page.getByRole("row", { name });
  const host = ({ page }: Tab, name: string) =>
    page.getByRole("region", { name: "Hosts" }).getByRole("listitem").filter({ hasText: name });

  /** A teepod that asks others with the viewer's token of all of them, and a file with another. */
  async function amsterdam(
    hosts: (files: { token: string; wrong: string }) => TeepodConfigInput["other_hosts"],
  ) {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    const files = { token: join(site.dir, "viewer.token"), wrong: join(site.dir, "wrong.token") };
    await writeFile(files.token, `${VIEWER}\n`);
    await writeFile(files.wrong, "a-token-of-yesterday\n");
    const parts = { hypervisor: new FakeHypervisor(), page: stage.page };
    const pod = stack.use(await site.start(site.config({ other_hosts: hosts(files) ?? [] }), parts));
    const resources = stack.move();
    return { pod, api: client(pod), [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose]() };
  }

  it("lists the VMs of all, with the state of each host; a host that goes keeps its rows, greyed, until it is back", async () => {
    await using berlinSite = await Site.make();
    const hypervisor = new FakeHypervisor();
    const parts = { hypervisor, page: stage.page };
    const berlin = await berlinSite.start(berlinSite.config(), parts);
    await using oslo = await testpod({ hypervisor: new FakeHypervisor(), page: stage.page });
    await using home = await amsterdam(({ token, wrong }) => [
      { name: "berlin-2", url: berlin.url, token_file: token },
      { name: "oslo-1", url: oslo.teepod.url, token_file: token },
      { name: "paris", url: oslo.teepod.url, token_file: wrong },
      { name: "zurich", url: "https://zurich.example.org:9080" },
    ]);
    await home.api.createVm(vmRequest({ name: "shop" }));
    const { id: wiki } = await client(berlin).createVm(vmRequest({ name: "wiki" }));
    const { id: mail } = await oslo.client.createVm(vmRequest({ name: "mail" }));
    await hypervisor.vm(wiki).progress("kms", "start", "asking for keys");

    await using tab = await stage.open(home.pod.url);
    await tab.logIn(VIEWER);
    await row(tab, /shop this host/).waitFor();
    await row(tab, /wiki berlin-2/)
      .getByText("kms: asking for keys")
      .waitFor();
    await row(tab, /mail oslo-1/)
      .getByText("running")
      .waitFor();
    await host(tab, "berlin-2").getByText("1 VM").waitFor();
    await host(tab, "paris").getByText("wrong token").waitFor();
    await host(tab, "paris").getByText("the token of token_file is not known there").waitFor();
    await host(tab, "zurich").getByText("not asked").waitFor();
    await stage.inspect(tab, "hosts");

    // What happens there comes by itself.
    await hypervisor.vm(wiki).progress("kms", "error", "measurement is not allowed");
    await row(tab, /wiki/).getByText("kms: measurement is not allowed").waitFor();

    await tab.page.getByLabel("Host", { exact: true }).selectOption("oslo-1");
    await row(tab, /shop/).waitFor({ state: "detached" });
    await tab.page.getByText("1 of 3 VMs").waitFor();
    await tab.page.getByLabel("Host", { exact: true }).selectOption("");
    await tab.page.getByLabel("Search").fill("SHOP");
    await row(tab, /mail/).waitFor({ state: "detached" });
    await tab.page.getByLabel("Search").fill("nowhere");
    await tab.page.getByText("No VM here has this in its name").waitFor();
    await tab.page.getByLabel("Search").fill("");
    await tab.page.getByLabel("Search").blur();

    await berlin[Symbol.asyncDispose]();
    await host(tab, "berlin-2")
      .getByText(/since .*no connection.*; 1 VM as of/)
      .waitFor();
    await row(tab, /wiki/)
      .getByText(/^as of /)
      .waitFor();
    expect(await row(tab, /wiki/).getAttribute("class")).toBe("old");
    expect(await row(tab, /mail/).getAttribute("class")).toBe("");
    await stage.inspect(tab, "hosts-one-gone");
    await using again = await berlinSite.start(
      berlinSite.config({ port: Number(new URL(berlin.url).port) }),
      parts,
    );
    await client(again).stopVm({ id: wiki });
    await row(tab, /wiki/).getByText("stopped").waitFor();
    expect(await row(tab, /wiki/).getAttribute("class")).toBe("");

    // What is done to a VM of another host is done there, by whoever that host knows.
    await row(tab, /mail/).getByRole("link", { name: "mail", exact: true }).click();
    await tab.page.waitForURL(`${oslo.teepod.url}/#/vm/${mail}`);
    await tab.logIn(OPERATOR);
    await tab.page.getByRole("button", { name: "Stop…" }).click();
    await tab.page.getByRole("button", { name: "Stop it" }).click();
    await tab.page.getByRole("heading", { name: /mail.*stopped/ }).waitFor();
    expect((await oslo.client.status()).vms).toMatchObject([{ name: "mail", status: "stopped" }]);
    expect(tab.complaints).toEqual([]);
  });

  it("T6: a hostile host brings nothing but its own rows, as text, and every link leads where the configuration says", async () => {
    const vm = {
      id: "0d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11",
      name: "lure",
      status: "exited",
      app_id: "ab".repeat(20),
      image: "tiny-0.0.1",
      boot_error: EVIL,
      app_url: "https://phish.example.org",
      url: "javascript:document.title='owned'",
      host: "this host",
      kind: "vm",
    };
    let list: unknown = { role: "viewer", vms: [vm], url: "javascript:document.title='owned'" };
    const server = createServer((_, answer) => answer.end(JSON.stringify(list)));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await using home = await amsterdam(({ token }) => [{ name: "hostile", url, token_file: token }]);
    await home.api.createVm(vmRequest({ name: "shop" }));
    await using tab = await stage.open(home.pod.url);
    await tab.logIn(OPERATOR);
    await row(tab, /lure hostile/)
      .getByText(EVIL)
      .waitFor();
    const links = await tab.page
      .getByRole("main")
      .getByRole("link")
      .evaluateAll((all) => all.map((link) => link.getAttribute("href")));
    expect(links.filter((href) => href?.startsWith("#/") !== true)).toEqual([
      url,
      `${url}/#/vm/${vm.id}`,
      `${url}/#/vm/${vm.id}/logs`,
    ]);
    await tab.go(`#/vm/${vm.id}`);
    await tab.page.getByText("There is no VM of that id on this host.").waitFor();
    await tab.go("#/");

    list = { role: "viewer", vms: Array.from({ length: 5000 }, () => vm) };
    await host(tab, "hostile").getByText("the answer is no list of VMs").waitFor();
    expect(await row(tab, /lure/).count()).toBe(1);
    await row(tab, /shop this host/)
      .getByText("running")
      .waitFor();
    expect(await tab.page.title()).toBe("VMs · teepod");
    expect(tab.complaints).toEqual([]);
    server.close();
    server.closeAllConnections();
  });
});
