import { once } from "node:events";
import { connect } from "node:tls";
import { Stage } from "@dstack/dashboard/testing";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import { freePort } from "../../../../packages/core/test/support/ports.js";
import { TOKEN, adminClient, adminSite, adminUrl } from "../admin-site.js";
import { startApp } from "../app.js";
import { BASE, idOf, register, start } from "../site.js";

const WEB = new URL("../../web/", import.meta.url);
const [ONE, TWO] = [idOf("one"), idOf("two")];
const short = (id: string): string => id.slice(0, 12);

describe("the dashboard of tproxy", () => {
  const stage = Stage.forTests({ web: WEB });

  it("needs less than 20 KB of script for its first view", () => {
    expect(stage.firstViewBytes()).toBeLessThan(20_000);
  });

  it("log in, see, drain, resume, remove; tproxy is started again under the page", async () => {
    await using site = await adminSite({ port: await freePort() });
    await using app = await startApp();
    const first = await start(site, { page: stage.page, dial: app.dial });
    await register(first, { app: "shop", instance: "one" }, generateKeyPair().publicKey);
    await using tab = await stage.open(adminUrl(first));
    const row = (id: string) => tab.page.getByRole("row", { name: new RegExp(short(id)) });
    const button = (name: string) => tab.page.getByRole("button", { name, exact: true });

    await tab.page.getByLabel("Access token").fill("a-wrong-token-0123456789");
    await button("Log in").click();
    await tab.page.getByText("This token is not known here.").waitFor();
    await tab.logIn(TOKEN);
    await tab.page.getByText(`alice on 127.0.0.1:${first.adminPort}`).waitFor();
    await row(ONE).getByText("in use").waitFor();
    await row(ONE).getByText("10.77.0.2").waitFor();

    // It comes by itself.
    await register(first, { app: "shop", instance: "two" }, generateKeyPair().publicKey);
    await row(TWO).getByText("in use").waitFor();
    const visitor = connect({
      port: first.proxyPort,
      host: "127.0.0.1",
      servername: `${ONE}-80.${BASE}`,
      rejectUnauthorized: false,
    });
    await once(visitor, "data");
    await tab.page.getByRole("link", { name: `1 connections of ${short(ONE)}` }).click();
    await tab.page.getByRole("row", { name: /127\.0\.0\.1.*relaying/ }).waitFor();
    await tab.page.getByText("1 of 1 open").waitFor();
    await tab.page.getByLabel("Search").fill("elsewhere");
    await tab.page.getByText("No open connection has this in it.").waitFor();

    await tab.go("#/");
    await button(`Drain ${short(ONE)}`).click();
    await row(ONE).getByText("drained").waitFor();
    expect((await adminClient(first).listInstances({})).instances).toContainEqual(
      expect.objectContaining({ id: ONE, draining: true }),
    );
    await button(`Resume ${short(ONE)}`).click();
    await row(ONE).getByText("in use").waitFor();

    await button(`Remove ${short(ONE)}…`).click();
    const remove = button("Remove it");
    expect(await remove.isDisabled()).toBe(true);
    await tab.page.getByLabel(/^Type .* to confirm$/).fill(short(ONE));
    const ended = once(visitor.resume(), "close");
    visitor.on("error", () => {});
    await remove.click();
    await row(ONE).waitFor({ state: "detached" });
    await ended;

    await tab.page.getByRole("link", { name: "Nodes" }).click();
    await button("Drain tproxy").click();
    await tab.page
      .getByRole("row", { name: /tproxy/ })
      .getByText("drained")
      .waitFor();

    await first[Symbol.asyncDispose]();
    await tab.page.getByText("The connection to tproxy is lost.").waitFor();
    await using second = await start(site, { page: stage.page });
    await tab.page.getByText("tproxy was started again.").waitFor();
    await tab.page
      .getByRole("row", { name: /tproxy/ })
      .getByText("drained")
      .waitFor();
    await button("Resume tproxy").click();
    await tab.page
      .getByRole("row", { name: /tproxy/ })
      .getByText("up")
      .waitFor();
    await expect
      .poll(() => adminClient(second).listNodes({}))
      .toMatchObject({ nodes: [{ draining: false }] });

    await tab.page.getByRole("link", { name: "Audit" }).click();
    await tab.page.getByText("whole, as of now").waitFor();
    await tab.page.getByRole("row", { name: new RegExp(`alice.*RemoveInstance.*${ONE}.*done`) }).waitFor();
    expect(tab.complaints).toEqual([]);
  });

  it("T3: a session that ends takes its open pages with it, and they say so", async () => {
    await using site = await adminSite();
    await using server = await start(site, { page: stage.page });
    await register(server, { instance: "one" }, generateKeyPair().publicKey);
    await using tab = await stage.open(adminUrl(server));
    await tab.logIn(TOKEN);
    await tab.page.getByRole("row", { name: new RegExp(short(ONE)) }).waitFor();
    const [cookie] = await tab.page.context().cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict" });
    const other = await tab.another();
    await other.page.getByRole("button", { name: "Log out" }).click();
    await tab.page.getByText("Your session is over. Log in again to go on.").waitFor();
    expect(await tab.page.getByText(short(ONE)).count()).toBe(0);
  });
});
