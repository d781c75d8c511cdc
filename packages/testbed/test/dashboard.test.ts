import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ResourceStack } from "@dstack/daemon";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Stage } from "@dstack/dashboard/testing";
import { BASE_DOMAIN, TEEPOD_TOKEN, Testbed } from "../src/index.js";

const run = promisify(execFile);
const WEB = new URL("../../../apps/teepod/web/", import.meta.url);
const SCRIPTS = fileURLToPath(new URL("../../../scripts", import.meta.url));

const COMPOSE = "services:\n  web:\n    image: hello\n    environment: [GREETING]\n";

/** The daemons are the real ones; only the VM and the CPU's signature are stood in for. */
describe("an app's life in the dashboard", () => {
  const stage = Stage.forTests({ web: WEB, names: [`*.${BASE_DOMAIN}`] });
  const stack = new ResourceStack();
  let net: Testbed;
  beforeAll(async () => {
    net = stack.use(await Testbed.start({ page: stage.page }));
  });
  afterAll(() => stack[Symbol.asyncDispose]());

  it("log in, deploy, watch the boot, open the app, logs, upgrade refused, allow, upgraded, stop, remove", async () => {
    await using tab = await stage.open(net.teepodDaemon.url, { ignoreHTTPSErrors: true });
    const { page } = tab;
    const button = (name: string) => page.getByRole("button", { name, exact: true });
    const restart = async (): Promise<void> => {
      if (await button("Stop…").isEnabled()) {
        await button("Stop…").click();
        await button("Stop it").click();
      }
      await page.getByRole("heading", { name: /stopped|exited/ }).waitFor();
      await button("Start").click();
    };
    await tab.logIn(TEEPOD_TOKEN);
    await page.getByText("a simulated TDX platform").waitFor();

    await page.getByRole("link", { name: "Deploy a compose file" }).click();
    await page.getByLabel("Compose file", { exact: true }).fill(COMPOSE);
    await page.getByLabel("Name", { exact: true }).fill("hello");
    await button("Add a secret").click();
    await page.getByLabel("Name", { exact: true }).nth(1).fill("GREETING");
    await page.getByLabel("Value").fill("s3cret");
    await button("Look at what will be sent").click();
    // The key came from the real KMS through teepod, and its root's signature was checked.
    await page.getByLabel("This is my KMS").check();
    await button("Deploy").click();

    await page.getByText("✓ ready", { exact: true }).waitFor();
    const appLink = page.getByRole("link", { name: /^https:\/\/[0-9a-f]{40}\.app\.test/ });
    const opened = page.context().waitForEvent("page");
    await appLink.click();
    const app = await opened;
    await app.getByText("hello from hello").waitFor();
    await app.close();

    const address = page.url();
    await page.getByRole("link", { name: "Console" }).click();
    await page.getByRole("region", { name: "Console of the VM" }).getByText(/\S/).first().waitFor();

    await page.getByRole("link", { name: "Upgrade" }).click();
    await page.getByLabel("New compose file").fill(COMPOSE.replace("hello", "hello:2"));
    await button("Look at what changes").click();
    await page.getByRole("region", { name: "What changes" }).getByText("+     image: hello:2").waitFor();
    await button("Upgrade").click();
    const command = (await page.getByText(/^\.\/kms-allow-upgrade\.sh/).textContent()) ?? "";

    await page.goto(address);
    await restart();
    await page
      .locator(".problem")
      .getByText(/upgrade|not allowed/i)
      .waitFor();
    await run("sh", ["-c", command], {
      cwd: SCRIPTS,
      env: { ...process.env, KMS_UPGRADE_REGISTRY: net.path("kms", "upgrades") },
    });
    await restart();
    await page.getByText("✓ ready", { exact: true }).waitFor();
    expect((await net.teepod.status({})).vms).toMatchObject([
      { bootProgress: expect.stringMatching(/^ready/) },
    ]);

    await button("Stop…").click();
    await button("Stop it").click();
    await page.getByRole("heading", { name: /stopped/ }).waitFor();
    await button("Remove…").click();
    await page.getByLabel(/Type hello to confirm/).fill("hello");
    await button("Remove it").click();
    await page.getByText("There are no VMs on this host yet.").waitFor();
    expect(tab.complaints).toEqual([]);
  });
});
