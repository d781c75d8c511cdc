import { gzipSync } from "node:zlib";
import { ResourceStack } from "@dstack/daemon";
import type { Browser, BrowserContextOptions } from "playwright-core";
import { afterAll, beforeAll, expect } from "vitest";
import { buildPage } from "../build.mjs";
import type { PageFiles } from "../src/page.js";
import { seriousIssues } from "./axe.js";
import { Tab, startBrowser } from "./browser.js";

const DESK = { width: 1180, height: 720 };
const PHONE = { width: 360, height: 740 };

/** Where pictures for `docs/images` come from: `DSTACK_SCREENSHOTS=<directory>` makes them anew. */
const PICTURES = process.env["DSTACK_SCREENSHOTS"];

/** Wider than its window: the page, or a dialog over it, has to be scrolled sideways. */
const TOO_WIDE =
  "document.documentElement.scrollWidth > innerWidth || " +
  "[...document.querySelectorAll('dialog[open]')].some((dialog) => dialog.scrollWidth > dialog.clientWidth)";

export interface StageOptions {
  /** Directory of the page's sources; none for pages that are not built. */
  readonly web?: URL;
  /** Names of this machine for the browser, such as `*.app.test`. */
  readonly names?: readonly string[];
}

/** What the browser tests of a dashboard share: its built page and a browser. */
export class Stage {
  #page: PageFiles | undefined;
  #browser: Browser | undefined;

  async #open({ web, names = [] }: StageOptions, stack: ResourceStack): Promise<void> {
    if (web !== undefined) this.#page = await buildPage(web);
    ({ browser: this.#browser } = stack.use(await startBrowser(...names)));
  }

  /** A stage for the tests of the suite that calls this. */
  static forTests(options: StageOptions): Stage {
    const stage = new Stage();
    const stack = new ResourceStack();
    beforeAll(() => stage.#open(options, stack));
    afterAll(() => stack[Symbol.asyncDispose]());
    return stage;
  }

  get page(): PageFiles {
    if (this.#page === undefined) throw new Error("the page is not built before the first test");
    return this.#page;
  }

  /** A new browser, as wide as a desk's unless told otherwise. */
  async open(url: string, options: BrowserContextOptions = {}): Promise<Tab> {
    if (this.#browser === undefined) throw new Error("the browser is not there before the first test");
    return Tab.open(this.#browser, url, { viewport: DESK, ...options });
  }

  /**
   * Looks at what a tab shows: no serious issue for axe-core, light and dark, on a desk and on a phone, where nothing
   * has to be scrolled sideways either. Takes pictures of all four where they are wanted.
   */
  async inspect(tab: Tab, name: string): Promise<void> {
    const { page } = tab;
    for (const place of ["", "-phone"]) {
      await page.setViewportSize(place === "" ? DESK : PHONE);
      expect([`${name}${place}`, await page.evaluate(TOO_WIDE)]).toEqual([`${name}${place}`, false]);
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        const where = `${name}${place}-${colorScheme}`;
        // Colours are the same on both.
        if (place === "" || colorScheme === "light")
          expect([where, await seriousIssues(tab)]).toEqual([where, []]);
        if (PICTURES === undefined) continue;
        await page.evaluate("scrollTo(0, 0)");
        await page.screenshot({ path: `${PICTURES}/${where}.png` });
      }
    }
    await page.setViewportSize(DESK);
  }

  /** Bytes of script, compressed, that are loaded before anything is shown. */
  firstViewBytes(): number {
    const index = this.page.get("index.html")?.toString() ?? "";
    const scripts = [...index.matchAll(/(?:src|href)="\/(assets\/[^"]+\.js)"/g)].map(([, name = ""]) => name);
    if (scripts.length === 0) throw new Error("the page loads no script");
    return scripts.reduce((sum, name) => sum + gzipSync(this.page.get(name) ?? "").length, 0);
  }
}
