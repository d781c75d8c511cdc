import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import type { TappdContext } from "../context.js";

/** The compose document, and what to compare its hash with. */
export function composePage({ compose, identity }: Pick<TappdContext, "compose" | "identity">): Html {
  const inner = dockerComposeOf(compose.text);
  return html`<p>
      The exact document that was measured. Its SHA-256 is the compose hash of the quote's event log; the
      first 40 digits are the id of an app that starts with it.
    </p>
    <dl>
      <dt>SHA-256 of the document</dt>
      <dd><code>${compose.hash}</code></dd>
      <dt>Measured</dt>
      <dd>
        <code>${identity.composeHash}</code><br />
        ${
          compose.hash === identity.composeHash
            ? html`<span class="good">Equal.</span>`
            : html`<span class="bad">Not equal.</span>`
        }
      </dd>
    </dl>
    <p>
      <a href="/app-compose.json" download>Download app-compose.json</a>, and compare on your own machine:
    </p>
    <pre class="command">sha256sum app-compose.json</pre>
    ${
      inner === undefined
        ? ""
        : html`<section aria-labelledby="services">
            <h2 id="services">The compose file in it</h2>
            <pre class="document" tabindex="0" role="region" aria-labelledby="services">${inner}</pre>
          </section>`
    }
    <section aria-labelledby="document">
      <h2 id="document">The exact document</h2>
      <pre class="document" tabindex="0" role="region" aria-labelledby="document">${compose.text}</pre>
    </section>`;
}

function dockerComposeOf(text: string): string | undefined {
  const document: unknown = JSON.parse(text);
  if (typeof document !== "object" || document === null || !("docker_compose_file" in document))
    return undefined;
  return typeof document.docker_compose_file === "string" ? document.docker_compose_file : undefined;
}
