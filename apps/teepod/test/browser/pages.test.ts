import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ResourceStack } from "@dstack/daemon";
import { buildPage } from "@dstack/dashboard/build";
import type { PageFiles } from "@dstack/dashboard";
import type { Browser } from "@dstack/dashboard/testing";
import { PageChecks, Tab, startBrowser } from "@dstack/dashboard/testing";
import { eventually } from "../helpers/eventually.js";
import { FakeHypervisor } from "../helpers/fake-hypervisor.js";
import { OPERATOR, testpod, vmRequest } from "../helpers/testpod.js";

const WEB = new URL("../../web/", import.meta.url);

const PHONE = { width: 360, height: 740 };

/** Where the pictures of `docs/images` come from: `DSTACK_SCREENSHOTS=<directory>` makes them anew. */
const PICTURES = process.env["DSTACK_SCREENSHOTS"];

describe("every page of the dashboard", { timeout: 180_000 }, () => {
  const stack = new ResourceStack();
  let page: PageFiles;
  let browser: Browser;
  let checks: PageChecks;
  beforeAll(async () => {
    page = await buildPage(WEB);
    checks = await PageChecks.load();
    ({ browser } = stack.use(await startBrowser()));
  }, 120_000);
  afterAll(() => stack[Symbol.asyncDispose]());

  const seriousIssues = (tab: Tab): Promise<string[]> => checks.seriousIssues(tab);
  const fits = (tab: Tab): Promise<boolean> => checks.fits(tab);

  async function picture(tab: Tab, name: string): Promise<void> {
    if (PICTURES !== undefined) await tab.page.screenshot({ path: `${PICTURES}/${name}.png` });
  }

  for (const colorScheme of ["light", "dark"] as const) {
    it(`has no serious issue for axe-core, on a desk and on a phone, ${colorScheme}`, async () => {
      const hypervisor = new FakeHypervisor();
      await using pod = await testpod(
        { hypervisor, page },
        {
          config: {
            gateway: { base_domain: "app.example.org" },
            other_hosts: [{ name: "berlin-2", url: "https://berlin-2.example.org:9080" }],
            port_mapping: { enabled: true, ranges: [{ protocol: "tcp", from: 20000, to: 20999 }] },
          },
        },
      );
      await using tab = await Tab.open(browser, pod.teepod.url, {
        colorScheme,
        viewport: { width: 1100, height: 720 },
      });
      await tab.page.getByLabel("Access token").waitFor();
      expect(["login", await seriousIssues(tab)]).toEqual(["login", []]);
      await tab.logIn(OPERATOR);
      await tab.page.getByText("There are no VMs on this host yet.").waitFor();
      expect(["no VMs", await seriousIssues(tab)]).toEqual(["no VMs", []]);
      const other = tab.page.getByRole("navigation", { name: "Other hosts" }).getByRole("link");
      expect(await other.getAttribute("href")).toBe("https://berlin-2.example.org:9080");

      const { id } = await pod.client.createVm(vmRequest({ name: "hello" }));
      const failed = await pod.client.createVm(vmRequest({ name: "refused" }));
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
        ["deploy", "#/deploy", "Look at what will be sent"],
        ["images", "#/images", "tiny-0.0.1"],
        ["audit", "#/audit", "CreateVm"],
        ["nothing", "#/vm/nothing", "There is no VM of that id"],
      ];
      for (const [name, hash, text] of pages) {
        await tab.page.setViewportSize({ width: 1100, height: 720 });
        await tab.go(hash);
        await tab.page.getByText(text).first().waitFor();
        expect([name, await seriousIssues(tab)]).toEqual([name, []]);
        await picture(tab, `${name}-${colorScheme}`);
        await tab.page.setViewportSize(PHONE);
        expect([name, await fits(tab)]).toEqual([name, true]);
        // Colours are the same on both.
        if (colorScheme === "light") expect([name, await seriousIssues(tab)]).toEqual([name, []]);
        await picture(tab, `${name}-phone-${colorScheme}`);
      }
      await tab.page.setViewportSize({ width: 1100, height: 720 });
      await tab.go(`#/vm/${id}`);
      await tab.page.getByRole("button", { name: "Stop…" }).click();
      await tab.page.getByRole("dialog").waitFor();
      expect(["dialog", await seriousIssues(tab)]).toEqual(["dialog", []]);
      await picture(tab, `dialog-${colorScheme}`);
      await tab.page.keyboard.press("Escape");
      await pod.client.stopVm({ id: failed.id });
      await tab.go(`#/vm/${failed.id}`);
      for (const name of ["Resize…", "Remove…"]) {
        await tab.page.getByRole("button", { name }).click();
        await tab.page.getByRole("dialog").waitFor();
        expect([name, await seriousIssues(tab)]).toEqual([name, []]);
        await tab.page.keyboard.press("Escape");
        await tab.page.getByRole("dialog").waitFor({ state: "detached" });
      }
      await tab.go(`#/vm/${id}/upgrade`);
      await tab.page.getByLabel("New compose file").fill("services:\n  web:\n    image: other\n");
      await tab.page.getByRole("button", { name: "Look at what changes" }).click();
      await tab.page.getByRole("region", { name: "What changes" }).waitFor();
      expect(["review", await seriousIssues(tab)]).toEqual(["review", []]);
      expect(tab.complaints).toEqual([]);
    });
  }

  it("is used with the keyboard alone", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor(), page });
    const { id } = await pod.client.createVm(vmRequest());
    await using tab = await Tab.open(browser, pod.teepod.url);
    const focused = () => tab.page.evaluate<string>("document.activeElement?.textContent ?? ''");
    const press = (key: string) => tab.page.keyboard.press(key);
    await tab.page.getByLabel("Access token").waitFor();
    await tab.page.keyboard.type(OPERATOR);
    await press("Enter");
    await tab.page.getByRole("row", { name: /hello/ }).waitFor();
    await press("Tab");
    expect(await focused()).toBe("Skip to the content");
    await press("Enter");
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
