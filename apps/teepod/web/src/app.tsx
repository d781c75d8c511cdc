import { Shell, later } from "@dstack/dashboard/web";
import type { ComponentType } from "preact";
import { List } from "./list/page.js";
import { hello, vms } from "./live.js";
import { route } from "./route.js";
import type { Route } from "./route.js";

const VIEWS: { readonly [P in Route["page"]]: ComponentType } = {
  list: List,
  vm: later(async () => (await import("./vm/page.js")).VmPage),
  logs: later(async () => (await import("./logs/page.js")).Logs),
  deploy: later(async () => (await import("./deploy/page.js")).Deploy),
  upgrade: later(async () => (await import("./upgrade/page.js")).Upgrade),
  images: later(async () => (await import("./images.js")).Images),
  audit: later(async () => (await import("./audit.js")).Audit),
};

const MENU = [
  { page: "list", href: "#/", text: "VMs" },
  { page: "deploy", href: "#/deploy", text: "Deploy" },
  { page: "images", href: "#/images", text: "Images" },
  { page: "audit", href: "#/audit", text: "Audit" },
];

const TITLES = {
  list: "VMs",
  deploy: "Deploy",
  images: "Images",
  audit: "Audit log",
  vm: "Overview",
  logs: "Console",
  upgrade: "Upgrade",
} as const;

/** What the browser's tab and history call this page. */
function titleOf(current: Route): string {
  const vm = "id" in current ? vms.value?.find(({ id }) => id === current.id)?.name : undefined;
  return [vm, TITLES[current.page], "teepod"].filter((part) => part !== undefined).join(" · ");
}

/** The VM that a page is about, or that a deployment is a clone of. */
function subjectOf(current: Route): string | undefined {
  if ("id" in current) return current.id;
  return current.page === "deploy" ? current.clone : undefined;
}

const SIMULATED = "Development images run on a simulated TDX platform here: nothing in them is protected.";

/** Where this teepod's tokens are. */
function Tokens() {
  return (
    <>
      Tokens and their roles stand under <code>[[auth.tokens]]</code> in teepod's configuration file. On a
      machine where <code>dstack up</code> runs, the token is in <code>~/.dstack/teepod.token</code>.
    </>
  );
}

export function App() {
  const { page } = route.value;
  const { host, you } = hello.value ?? {};
  return (
    <Shell
      page={page}
      subject={subjectOf(route.value)}
      view={VIEWS[page]}
      title={titleOf(route.value)}
      menu={MENU}
      who={you === undefined ? undefined : `${you.name} (${you.role})`}
      tokens={<Tokens />}
      warnings={host?.simulated === true ? [SIMULATED] : []}
      footer={host === undefined ? "" : `teepod ${host.version}, VMs by ${host.hypervisor}`}
    />
  );
}
