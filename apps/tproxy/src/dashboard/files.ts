import type { PageFiles } from "@dstack/dashboard";

/**
 * The page. Empty here: scripts/bundle.mjs builds `web/` and puts its files in place of this module, so that the
 * program is one file with its page inside.
 */
export async function pageFiles(): Promise<PageFiles> {
  return new Map();
}
