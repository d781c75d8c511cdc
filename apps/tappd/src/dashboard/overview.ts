import { X509Certificate } from "node:crypto";
import { hex } from "@dstack/core";
import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import type { TappdContext } from "../context.js";
import { privateSentence } from "../app/public.js";
import type { Measured } from "../quote/measurements.js";
import { replayRegisters } from "../quote/replay.js";
import { codeEntry, entry, formatTime, sentence } from "./format.js";
import { replayResult } from "./registers.js";
import { SECTIONS } from "./sections.js";
import { attestedAddress } from "./verify-address.js";

/** What this app is, and how to check that from somewhere else. */
export function overview(context: TappdContext, measured: Measured, host: string): Html {
  return html`${verification(context, host)} ${identitySection(context)} ${measurements(measured)}
  ${certificates(context.appCertificate())} ${openings(context)}`;
}

function verification({ compose, identity, tlsPort }: TappdContext, host: string): Html {
  const address = attestedAddress(host, identity.appId, tlsPort());
  return html`<section aria-labelledby="verify">
    <h2 id="verify">Check it yourself</h2>
    <p>
      A page that an app serves cannot prove itself: another program could show the same. What counts is a
      quote that the processor signed, checked by a program of your own:
    </p>
    <pre class="command">dstack verify ${address} --compose app-compose.json --policy policy.toml</pre>
    <p class="quiet">
      The compose document comes from who wrote the
      app${compose.publicTcbinfo ? ", or from here once you have read it" : ""}; the policy names the images
      that you allow. The command compares both with the quote, and the quote with the key of the connection.
    </p>
  </section>`;
}

function identitySection({ identity }: TappdContext): Html {
  const { appId, upgradedAppId, keyProvider } = identity;
  return html`<section aria-labelledby="identity">
    <h2 id="identity">Identity</h2>
    <dl>
      ${codeEntry("App id", appId)} ${codeEntry("Instance id", identity.instanceId)}
      ${codeEntry("Compose hash", identity.composeHash)}
      ${entry(
        "Upgraded app id",
        html`<code>${upgradedAppId}</code>
          <span class="quiet"
            >${appId === upgradedAppId ? "the same: not upgraded" : "of the document that runs now"}</span
          >`,
      )}
      ${codeEntry("Root file system", identity.rootfsHash)}
      ${codeEntry("KMS root (SHA-256)", identity.caCertHash)}
      ${keyProvider === undefined ? entry("Key provider", "none told") : codeEntry("Key provider", keyProvider)}
    </dl>
  </section>`;
}

function measurements(measured: Measured): Html {
  const row = (name: string, value: string, result: Html): Html =>
    html`<tr>
      <th scope="row">${name}</th>
      <td class="wide"><code>${value}</code></td>
      <td>${result}</td>
    </tr> `;
  return html`<section aria-labelledby="measurements">
    <h2 id="measurements">Measurements</h2>
    <div class="scroll" role="region" aria-labelledby="measurements" tabindex="0">
      <table>
        <thead>
          <tr>
            <th scope="col">Register</th>
            <th scope="col">Value in the quote</th>
            <th scope="col">Replay of the event log</th>
          </tr>
        </thead>
        <tbody>
          ${row("MRTD", hex(measured.body.mrTd), html`No log: it is that of the firmware the VM started with.`)}
          ${replayRegisters(measured).map((register) => row(register.name, register.quoted, replayResult(register)))}
        </tbody>
      </table>
    </div>
  </section>`;
}

function certificates(chainPem: string): Html {
  const chain = chainPem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const items = chain.map((pem, index) => {
    const { subject, issuer, validFrom, validTo, fingerprint256 } = new X509Certificate(pem);
    const ends = html`${formatTime(Date.parse(validFrom))} to ${formatTime(Date.parse(validTo))}`;
    return html`<li>
      <dl>
        ${codeEntry("Subject", subject.replaceAll("\n", ", "))}
        ${codeEntry("Issuer", issuer.replaceAll("\n", ", "))} ${entry("Valid", ends)}
        ${codeEntry("SHA-256", fingerprint256.replaceAll(":", "").toLowerCase())}
        ${index === 0 ? entry("Carries", "the quote and the event log, over its own key (RA-TLS)") : ""}
      </dl>
    </li> `;
  });
  return html`<section aria-labelledby="certificates">
    <h2 id="certificates">Certificate chain</h2>
    <p>Of the TLS listener of this guest agent. <a href="/certificate.pem" download>Download</a></p>
    <ol>
      ${items}
    </ol>
  </section>`;
}

function openings({ compose }: TappdContext): Html {
  const items = SECTIONS.map(({ path, title, shows }) =>
    shows.isPublic(compose)
      ? html`<li><a href="${path}">${title}</a>: public (<code>${shows.key}</code>)</li> `
      : html`<li>${sentence(privateSentence(shows))}</li> `,
  );
  return html`<section aria-labelledby="public">
    <h2 id="public">What else this app shows</h2>
    <ul>
      ${items}
    </ul>
  </section>`;
}
