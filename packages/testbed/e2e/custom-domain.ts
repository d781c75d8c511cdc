import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { CertificateWorld } from "./certificate-world.js";
import type { Machine } from "./machine.js";

const DOMAIN = "shop.example.localhost";
const BOOT_LIMIT_S = 1_200;

/** This machine, as a guest sees it. */
const HOST = "10.0.2.2";

/** The document of apps/ingress/README.md, with a CA, an API and DNS of our own. */
function compose(ingress: string, app: string, world: CertificateWorld): string {
  const root = world.acmeRoot.trim().replaceAll("\n", "\n      ");
  return `services:
  ingress:
    image: ${ingress}
    ports:
      - "443:443"
    environment:
      - CLOUDFLARE_API_TOKEN=\${CLOUDFLARE_API_TOKEN}
      - DOMAIN=${DOMAIN}
      - GATEWAY_DOMAIN=_.app.localhost
      - CERTBOT_EMAIL=ops@example.com
      - SET_CAA=true
      - TARGET_ENDPOINT=http://app:80
      - CLOUDFLARE_API_URL=http://${HOST}:${world.cloudflarePort}
      - DNS_SERVERS=${HOST}
      - ACME_DIRECTORY_URL=https://${HOST}:${world.acmePort}/dir
      - ACME_CAA=pebble.letsencrypt.org
      - ACME_CA_FILE=/acme-root.pem
    configs:
      - source: acme-root
        target: /acme-root.pem
    volumes:
      - /var/run/tappd.sock:/var/run/tappd.sock
      - cert-data:/etc/letsencrypt
    restart: unless-stopped
  app:
    image: ${app}
    restart: unless-stopped
configs:
  acme-root:
    content: |
      ${root}
volumes:
  cert-data:
`;
}

/**
 * Deploys the ingress before the example app, and asks for it under its own domain through tproxy.
 * @param app `<repository>@<digest>` of the example
 * @param trusting options of `dstack verify`: platform and image
 */
export async function serveCustomDomain(
  machine: Machine,
  app: string,
  trusting: readonly string[],
): Promise<void> {
  await using world = await machine.start<CertificateWorld>("certificate-world");
  const ingress = await machine.pushImage(join("images", "out", "ingress", "oci"), "dstack/ingress");
  const dir = machine.home;
  const [composeFile, documentFile] = [join(dir, "shop.yaml"), join(dir, "shop.json")];
  await writeFile(composeFile, compose(ingress, app, world.said));
  const token = ["--env", `CLOUDFLARE_API_TOKEN=${world.said.cloudflareToken}`];
  const common = [composeFile, "--name", "shop", "--disk", "4", ...token];
  const dry = await machine.json<{ app_compose: string }>(["deploy", ...common, "--dry-run"]);
  await writeFile(documentFile, dry.app_compose);
  const limit = ["--wait", "--timeout", String(BOOT_LIMIT_S)];
  const { id } = await machine.json<{ id: string }>(["deploy", ...common, ...limit], {
    timeoutMs: (BOOT_LIMIT_S + 30) * 1000,
  });

  const url = `https://${DOMAIN}:${(await machine.state()).ports["proxy"]}`;
  const answer = await eventually(600_000, () => machine.curl(["-k", "--http2", `${url}/`]));
  expect(answer).toContain("hello from the CVM");
  expect(await machine.curl(["-k", `${url}/evidences/`])).toContain("<time datetime=");

  const verified = await machine.dstack([
    "verify",
    url,
    ...trusting,
    "--compose",
    documentFile,
    "--dns",
    "127.0.0.1",
  ]);
  expect(verified).toMatch(/^ok +CAA records: shop\.example\.localhost lets nobody issue but account/m);
  expect(verified).toContain("endpoint verified (simulated platform)");
  await machine.dstack(["rm", "--force", id], { timeoutMs: 300_000 });
}

async function eventually<T>(limitMs: number, attempt: () => Promise<T>): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    try {
      return await attempt();
    } catch (err) {
      if (Date.now() > end) throw err;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
