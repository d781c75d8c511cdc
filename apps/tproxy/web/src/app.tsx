import { Shell, later } from "@dstack/dashboard/web";
import type { ComponentType } from "preact";
import { Instances } from "./instances/page.js";
import { hello, site } from "./live.js";
import { route } from "./route.js";
import type { Route } from "./route.js";

const VIEWS: { readonly [P in Route["page"]]: ComponentType } = {
  instances: Instances,
  connections: later(async () => (await import("./connections.js")).Connections),
  nodes: later(async () => (await import("./nodes.js")).Nodes),
  certificate: later(async () => (await import("./certificate.js")).CertificatePage),
  audit: later(async () => (await import("./audit.js")).Audit),
};

const TITLES: { readonly [P in Route["page"]]: string } = {
  instances: "Instances",
  connections: "Connections",
  nodes: "Nodes",
  certificate: "Certificate",
  audit: "Audit",
};

const MENU = Object.entries(TITLES).map(([page, text]) => ({
  page,
  text,
  href: page === "instances" ? "#/" : `#/${page}`,
}));

/** Where this tproxy's tokens are. */
function Tokens() {
  return (
    <>
      The files of tokens stand under <code>[admin]</code> in tproxy's configuration file. On a machine where{" "}
      <code>dstack up</code> runs, the token is in <code>~/.dstack/tproxy.token</code>.
    </>
  );
}

function warnings(): string[] {
  const { certificate, store } = site.value ?? {};
  return [
    ...(hello.value?.warnings ?? []),
    ...(certificate?.refusal === undefined
      ? []
      : [`A new certificate is refused, and the old one stays in use: ${certificate.refusal}`]),
    ...(store?.trouble === undefined
      ? []
      : [`etcd cannot be reached (${store.trouble}): nobody can register, and what is shown may be old.`]),
  ];
}

export function App() {
  const { page } = route.value;
  const node = hello.value?.node;
  const domains = site.value?.base_domains.map((domain) => `*.${domain}`).join(", ") ?? "";
  return (
    <Shell
      page={page}
      view={VIEWS[page]}
      title={`${TITLES[page]} · tproxy`}
      menu={MENU}
      who={hello.value?.you}
      tokens={<Tokens />}
      warnings={warnings()}
      footer={node === undefined ? "" : `Node ${node}: ${domains}, port ${site.value?.external_port ?? ""}`}
    />
  );
}
