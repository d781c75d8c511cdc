import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { Stage } from "@dstack/dashboard/testing";
import { FileStore } from "@dstack/store";
import type { Store } from "@dstack/store";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import type { Tproxy } from "../../src/index.js";
import { TOKEN, adminClient, adminSite, adminUrl } from "../admin-site.js";
import { startApp } from "../app.js";
import { MemoryWireGuard } from "../memory-wireguard.js";
import { BASE, idOf, register, start, writePair } from "../site.js";
import type { Site } from "../site.js";
import { startTappdSocket } from "../tappd-socket.js";

const WEB = new URL("../../web/", import.meta.url);

/** A store as several nodes share it, in which another node stands. */
async function sharedStore(site: Site, other: { name: string; endpoint: string }): Promise<Store> {
  await mkdir(site.config.state_dir, { recursive: true });
  const store = await FileStore.open(join(site.config.state_dir, "store.jsonl"), "node-1");
  const node = {
    public_key: generateKeyPair().publicKey,
    ip: "10.78.0.1",
    endpoint: other.endpoint,
    client_range: "10.78.0.0/24",
    draining: false,
    removed: false,
  };
  await store.commit({ set: { nodes: JSON.stringify({ [other.name]: node }) } });
  return store;
}

const inCluster = (site: Site, changes: object): Site["config"] => ({
  ...site.config,
  node: "node-1",
  store: "etcd",
  etcd: { endpoints: ["http://127.0.0.1:1"], prefix: "/test/" },
  ...changes,
});

/** Some instances as an operator may find them: heard now and long ago, one drained. */
async function fill(server: Tproxy, wireguard: MemoryWireGuard): Promise<void> {
  const now = Math.floor(Date.now() / 1000);
  const guests = [
    ["shop", "one", 12, 18_400_000, 912_000_000],
    ["shop", "two", 47, 3_200_000, 77_100_000],
    ["wiki", "three", 9_300, 120_000, 4_096],
    ["mail", "four", 95, 650_000, 2_210_000],
  ] as const;
  for (const [app, instance, age, received, sent] of guests) {
    const { publicKey } = generateKeyPair();
    wireguard.setHandshake(publicKey, now - age);
    wireguard.setTraffic(publicKey, received, sent);
    await register(server, { app, instance }, publicKey);
  }
  await adminClient(server).drainInstance({ id: idOf("four") });
}

describe("every page of tproxy's dashboard", () => {
  const stage = Stage.forTests({ web: WEB });

  it("has no serious issue for axe-core, light and dark, on a desk and on a phone", async () => {
    await using site = await adminSite();
    await using app = await startApp();
    await using tappd = await startTappdSocket(join(site.dir, "tappd.sock"), { app: "tproxy" });
    const account = {
      account_uri: "https://acme.example.org/acct/1",
      caa: [`${BASE} CAA 0 issue "ca.example"`],
    };
    const accountFile = join(site.dir, "acme-account.json");
    await writeFile(accountFile, JSON.stringify(account));
    const wireguard = new MemoryWireGuard();
    const config = inCluster(site, { tappd_socket: tappd.path, acme_account_file: accountFile });
    const store = await sharedStore(site, { name: "node-2", endpoint: "192.0.2.8:51820" });
    await using server = await start(
      { ...site, config },
      { page: stage.page, wireguard, store, dial: app.dial },
    );
    await using tab = await stage.open(adminUrl(server));
    const look = (name: string): Promise<void> => stage.inspect(tab, `tproxy-${name}`);
    await tab.page.getByLabel("Access token").waitFor();
    await look("login");
    await tab.logIn(TOKEN);
    await tab.page.getByText("No instance is registered here yet.").waitFor();
    await look("no-instances");

    await fill(server, wireguard);
    const visitor = connect({
      port: server.proxyPort,
      host: "127.0.0.1",
      servername: `${idOf("one")}-80.${BASE}`,
      rejectUnauthorized: false,
    });
    await once(visitor, "data");
    await tab.page.getByText("912 MB").waitFor();
    const pages: readonly (readonly [string, string, string])[] = [
      ["instances", "#/", "silent"],
      ["connections", "#/connections", "relaying"],
      ["nodes", "#/nodes", "192.0.2.8:51820"],
      ["certificate", "#/certificate", "verified by this node"],
      ["audit", "#/audit", "whole, as of now"],
    ];
    for (const [name, hash, text] of pages) {
      await tab.go(hash);
      await tab.page.getByText(text).first().waitFor();
      await look(name);
    }
    await tab.go("#/");
    await tab.page
      .getByRole("button", { name: /^Remove .*…$/ })
      .first()
      .click();
    await tab.page.getByRole("dialog").waitFor();
    await look("dialog-instance");
    await tab.page.keyboard.press("Escape");
    await tab.go("#/nodes");
    await tab.page.getByRole("button", { name: "Remove node-2…" }).click();
    await tab.page.getByRole("dialog").waitFor();
    await look("dialog-node");
    await tab.page.getByLabel("Type node-2 to confirm").fill("node-2");
    await tab.page.getByRole("button", { name: "Remove it" }).click();
    await tab.page
      .getByRole("row", { name: /node-2/ })
      .getByText("removed")
      .waitFor();
    visitor.destroy();
    expect(tab.complaints).toEqual([]);
  });

  it("T6: shows what others named as text, whatever it looks like", async () => {
    const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
    await using site = await adminSite();
    const account = { account_uri: `https://ca.test/${evil}`, caa: [evil] };
    const accountFile = join(site.dir, "acme-account.json");
    await writeFile(accountFile, JSON.stringify(account));
    const store = await sharedStore(site, { name: `n${evil}`, endpoint: evil });
    const config = inCluster(site, { acme_account_file: accountFile });
    await using server = await start({ ...site, config }, { page: stage.page, store });
    await expect(adminClient(server).drainNode({ name: `m${evil}` })).rejects.toMatchObject({
      code: "not_found",
    });
    await writePair(site.dir, "wildcard", "evil.example");
    await adminClient(server).reloadCertificate({});
    await using tab = await stage.open(adminUrl(server));
    await tab.logIn(TOKEN);
    await tab.go(`#/connections?search=${encodeURIComponent(evil)}`);
    await tab.page.getByText("No connection is open on this node.").waitFor();
    expect(await tab.page.getByLabel("Search").inputValue()).toBe(evil);
    await tab.go("#/nodes");
    await tab.page
      .getByRole("row", { name: new RegExp("onerror") })
      .getByText(`n${evil}`)
      .waitFor();
    await tab.go("#/certificate");
    await tab.page.getByText(evil, { exact: true }).waitFor();
    await tab.page.getByText("A new certificate is refused").waitFor();
    await tab.go("#/audit");
    await tab.page.getByRole("row", { name: /DrainNode.*onerror.*refused/ }).waitFor();
    await tab.go(`#/%E0%A4%A`);
    await tab.page.getByRole("heading", { name: "Instances" }).waitFor();
    expect(await tab.page.title()).toBe("Instances · tproxy");
    expect(tab.complaints).toEqual([]);
  });

  it("is used with the keyboard alone", async () => {
    await using site = await adminSite();
    await using server = await start(site, { page: stage.page });
    await register(server, { instance: "one" }, generateKeyPair().publicKey);
    await using tab = await stage.open(adminUrl(server));
    const focused = () =>
      tab.page.evaluate<string>(
        "document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? ''",
      );
    const press = (key: string) => tab.page.keyboard.press(key);
    await tab.page.getByLabel("Access token").waitFor();
    await tab.page.keyboard.type(TOKEN);
    await press("Enter");
    await tab.page.getByRole("row", { name: new RegExp(idOf("one").slice(0, 12)) }).waitFor();
    await press("Tab");
    expect(await focused()).toBe("Skip to the content");
    await press("Enter");
    for (const name of ["", `Drain ${idOf("one").slice(0, 12)}`, `Remove ${idOf("one").slice(0, 12)}…`]) {
      await press("Tab");
      expect(await focused()).toBe(name);
    }
    await press("Enter");
    await tab.page.getByRole("dialog").waitFor();
    await press("Escape");
    await tab.page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await adminClient(server).listInstances({})).toMatchObject({ instances: [{ draining: false }] });
    expect(tab.complaints).toEqual([]);
  });
});
