import { existsSync } from "node:fs";
import { ResourceStack } from "@dstack/daemon";
import { chromium } from "playwright-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";

/** A name of this machine that is no secure context to browsers, as most names over plain HTTP are none. */
export const PLAIN_HOST = "plain.test";

const CHROMIUM = "/usr/bin/chromium";

/** A browser tab that remembers what went wrong in it. */
export class Tab implements AsyncDisposable {
  /** Errors of scripts and refusals of the content security policy. */
  readonly complaints: string[] = [];

  private constructor(
    readonly page: Page,
    readonly url: string,
  ) {
    page.on("pageerror", (err) => this.complaints.push(err.message));
    page.on("console", (message) => {
      // Answers with an error status and lost connections are complained of as well; tests make those on purpose.
      if (message.type() === "error" && !/Failed to load resource|net::ERR/.test(message.text()))
        this.complaints.push(message.text());
    });
  }

  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Tab> {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(120_000);
    const tab = new Tab(await context.newPage(), url);
    await tab.page.goto(url);
    return tab;
  }

  /** Another tab of the same browser window: it shares the session. */
  async another(): Promise<Tab> {
    const tab = new Tab(await this.page.context().newPage(), this.url);
    await tab.page.goto(this.url);
    return tab;
  }

  async logIn(token: string): Promise<void> {
    await this.page.getByLabel("Access token").fill(token);
    await this.page.getByRole("button", { name: "Log in" }).click();
    await this.page.getByRole("navigation", { name: "Main" }).waitFor();
  }

  async go(hash: string): Promise<void> {
    await this.page.goto(`${this.url}/${hash}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.context().close();
  }
}

/**
 * Debian's Chromium; a test that needs it fails where it is missing.
 * @param names of this machine besides {@link PLAIN_HOST}, such as `*.app.test`
 */
export async function startBrowser(...names: string[]): Promise<AsyncDisposable & { browser: Browser }> {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is missing: scripts/setup installs it`);
  await using stack = new ResourceStack();
  const known = [PLAIN_HOST, ...names].map((name) => `MAP ${name} 127.0.0.1`).join(",");
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", `--host-resolver-rules=${known}`],
  });
  stack.defer(() => browser.close());
  const resources = stack.move();
  return { browser, [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose]() };
}
