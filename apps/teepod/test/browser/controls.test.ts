import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { ResourceStack } from "@dstack/daemon";
import { PLAIN_HOST, Stage } from "@dstack/dashboard/testing";
import { FakeHypervisor } from "../helpers/fake-hypervisor.js";
import { OPERATOR, Site, client, vmRequest } from "../helpers/testpod.js";

const WEB = new URL("../../web/", import.meta.url);

describe("the smaller controls of the dashboard", () => {
  const stage = Stage.forTests({ web: WEB });

  async function dashboard(host = "127.0.0.1") {
    await using own = new ResourceStack();
    const site = own.use(await Site.make());
    const hypervisor = new FakeHypervisor();
    const pod = own.use(await site.start(site.config(), { hypervisor, page: stage.page }));
    const tab = own.use(await stage.open(`http://${host}:${pod.port}`));
    await tab.logIn(OPERATOR);
    const resources = own.move();
    return {
      hypervisor,
      tab,
      page: tab.page,
      client: client(pod),
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  }

  it("takes a compose file that is dropped, and says what is wrong with one that is too large or no text", async () => {
    await using d = await dashboard();
    await d.tab.go("#/deploy");
    const box = d.page.getByLabel("Compose file", { exact: true });
    await box.waitFor();
    const drop = (name: string, content: string): Promise<unknown> =>
      d.page.evaluate(`{
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([${content}], ${JSON.stringify(name)}));
        document.getElementById("compose")
          .dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
      }`);
    await drop("docker-compose.yaml", '"services: {}"');
    await expect.poll(() => box.inputValue()).toBe("services: {}");
    await drop("disk.img", "new Uint8Array(300 * 1024)");
    await d.page.getByText("disk.img is larger than 256 KiB").waitFor();
    await drop("photo.png", "new Uint8Array([0xff, 0xfe])");
    await d.page.getByText("photo.png is not a text file in UTF-8.").waitFor();
    expect(await box.inputValue()).toBe("services: {}");
    expect(d.tab.complaints).toEqual([]);
  });

  it("refuses to paste what no VM takes", async () => {
    await using d = await dashboard();
    await d.tab.go("#/deploy");
    const box = d.page.getByLabel("Compose file", { exact: true });
    await box.waitFor();
    await d.page.evaluate(`{
      const clipboardData = new DataTransfer();
      clipboardData.setData("text", "x".repeat(10 * 1024 * 1024));
      document.getElementById("compose")
        .dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }`);
    await d.page.getByText("What you pasted is larger than 256 KiB").waitFor();
    expect(await box.inputValue()).toBe("");
  });

  it("a console stops at Pause, goes on at Follow, and Download has the lines that are shown", async () => {
    await using d = await dashboard();
    const { id } = await d.client.createVm(vmRequest());
    await d.hypervisor.vm(id).print("one\r\n\u001b[31mtwo\u001b[0m\r\n");
    await d.tab.go(`#/vm/${id}/logs`);
    const output = d.page.getByRole("region", { name: "Console of the VM" });
    await output.getByText("two").waitFor();
    await d.page.getByRole("button", { name: "Pause" }).click();
    await d.page.getByText("Paused.").waitFor();
    await d.hypervisor.vm(id).print("three\r\n");
    await d.page.getByLabel("Search").fill("two");
    // The page looks for new VMs once a second; until then it has no name for the file.
    await d.page.getByRole("heading", { name: /hello/ }).waitFor();
    const saved = d.page.waitForEvent("download");
    await d.page.getByRole("button", { name: "Download" }).click();
    const download = await saved;
    expect(download.suggestedFilename()).toBe("hello.log");
    expect(await readFile(await download.path(), "utf8")).toBe("two\n");
    await d.page.getByLabel("Search").fill("");
    expect(await output.getByText("three").count()).toBe(0);
    await d.page.getByRole("button", { name: "Follow" }).click();
    await output.getByText("three").waitFor();
    expect(d.tab.complaints).toEqual([]);
  });

  it("copies the command that allows an upgrade, or selects it where a page may not copy", async () => {
    for (const [host, said] of [
      ["localhost", "Copied."],
      [PLAIN_HOST, "Selected: press Ctrl+C."],
    ] as const) {
      await using d = await dashboard(host);
      await d.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      const { id } = await d.client.createVm(vmRequest());
      await d.tab.go(`#/vm/${id}/upgrade`);
      await d.page.getByLabel("New compose file").fill("services:\n  web:\n    image: one\n");
      await d.page.getByRole("button", { name: "Look at what changes" }).click();
      await d.page.getByRole("button", { name: "Upgrade", exact: true }).click();
      await d.page.getByRole("button", { name: "Copy the command" }).click();
      await d.page.getByText(said).waitFor();
      const copied = await d.page.evaluate<string>(
        host === "localhost" ? "navigator.clipboard.readText()" : "getSelection().toString()",
      );
      expect(copied.trim()).toBe((await d.page.locator("#allow-command").textContent())?.trim());
    }
  });

  it("the audit log goes back to its first entry, page by page", async () => {
    await using d = await dashboard();
    const { id } = await d.client.createVm(vmRequest());
    for (let i = 0; i < 60; i++) await d.client.removeVm({ id: "none" }).catch(() => undefined);
    await d.tab.go("#/audit");
    await d.page.getByText("RemoveVm").first().waitFor();
    expect(await d.page.getByText("CreateVm").count()).toBe(0);
    await d.page.getByRole("button", { name: "Older entries" }).click();
    await d.page.getByText("CreateVm").first().waitFor();
    expect(await d.page.getByRole("button", { name: "Older entries" }).count()).toBe(0);
    expect(id).not.toBe("");
  });
});
