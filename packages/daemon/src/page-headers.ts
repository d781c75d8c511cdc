import { createHash } from "node:crypto";
import { Html } from "./html.js";

/** A style sheet in a page, one piece: the policy of {@link pageHeaders} names the hash of exactly this text. */
export function styleElement(css: string): Html {
  return new Html(`<style>${css}</style>`);
}

/** What every page's answers carry besides their policy. */
const COMMON = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
} as const;

const NOWHERE = ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"];

/**
 * Headers with which an answer runs no script, loads nothing, is not framed, is not kept, and is not taken for another
 * type than it says (T6).
 * @param css the page's one style sheet, as given to {@link styleElement}
 */
export function pageHeaders(css: string): Record<string, string> {
  const style = createHash("sha256").update(css).digest("base64");
  return {
    "content-security-policy": ["default-src 'none'", `style-src 'sha256-${style}'`, ...NOWHERE].join("; "),
    ...COMMON,
  };
}

/**
 * Headers for a page whose scripts, styles and requests are files and routes of its own server, and nothing else:
 * nothing inline, and no text becomes markup or script (T6).
 */
export function scriptPageHeaders(): Record<string, string> {
  return {
    "content-security-policy": [
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self'",
      "connect-src 'self'",
      ...NOWHERE,
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ].join("; "),
    ...COMMON,
  };
}
