import { html, styleElement } from "@dstack/daemon";
import type { Evidence } from "./evidence.js";

export const STYLE =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}" +
  "code,pre{background:#8882;padding:.1em .3em;overflow-x:auto}dt{font-weight:600}";

/** What the files are and how to check them, for people. */
export function indexPage({ issuedAt }: Evidence, domains: readonly string[]): string {
  const command = `dstack verify https://${domains[0] ?? ""}/`;
  const page = html`<!doctype html>
    <html lang="en">
      <meta charset="utf-8" /><title>Evidence of ${domains.join(", ")}</title>
      <meta name="viewport" content="width=device-width" />${styleElement(STYLE)}
      <h1>Evidence</h1>
      <p>
        TLS for ${domains.join(", ")} ends inside a confidential VM. These files let anybody check it. Issued
        <time datetime="${issuedAt.toISOString()}">${issuedAt.toISOString()}</time>.
      </p>
      <dl>
        <dt><a href="quote.json">quote.json</a></dt>
        <dd>
          the quote of the VM and its event log: which app this is. Its report data is the SHA-256 of
          sha256sum.txt. With <code>?nonce=</code> and up to 64 bytes in hex it is made at once, over the
          nonce too.
        </dd>
        <dt><a href="sha256sum.txt">sha256sum.txt</a></dt>
        <dd>checksums of the two files below, and when they were issued.</dd>
        <dt><a href="cert.pem">cert.pem</a></dt>
        <dd>the certificate served here. Its key never left the VM.</dd>
        <dt><a href="acme-account.json">acme-account.json</a></dt>
        <dd>
          the account that ordered it. If the domain's CAA records name this account alone, no other
          certificate can be had.
        </dd>
      </dl>
      <p>To check all of it, DNS included:</p>
      <pre>${command}</pre>
    </html> `;
  return page.text;
}
