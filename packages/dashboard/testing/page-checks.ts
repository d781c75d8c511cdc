import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import type { AxeResults } from "axe-core";
import type { PageFiles } from "../src/page.js";
import type { Tab } from "./browser.js";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** What is looked at on every page of a dashboard. */
export class PageChecks {
  private constructor(readonly axe: string) {}

  static async load(): Promise<PageChecks> {
    return new PageChecks(await readFile(AXE, "utf8"));
  }

  /** What axe-core finds serious: `<rule>: <elements>`. */
  async seriousIssues(tab: Tab): Promise<string[]> {
    await tab.page.evaluate(this.axe);
    const { violations } = await tab.page.evaluate<AxeResults>("axe.run({ resultTypes: ['violations'] })");
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  }

  /** Whether the page is as wide as the window: nothing has to be scrolled sideways. */
  fits(tab: Tab): Promise<boolean> {
    return tab.page.evaluate<boolean>("document.documentElement.scrollWidth <= innerWidth");
  }

  /** Bytes of script, compressed, that are loaded before anything is shown. */
  static firstViewBytes(page: PageFiles): number {
    const index = page.get("index.html")?.toString() ?? "";
    const scripts = [...index.matchAll(/(?:src|href)="\/(assets\/[^"]+\.js)"/g)].map(([, name = ""]) => name);
    if (scripts.length === 0) throw new Error("the page loads no script");
    return scripts.reduce((sum, name) => sum + gzipSync(page.get(name) ?? "").length, 0);
  }
}
