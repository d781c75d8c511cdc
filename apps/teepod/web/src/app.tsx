import type { ComponentType } from "preact";
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { endSession, signedIn } from "./api.js";
import { List } from "./list.js";
import { connection, hello, restarted, vms } from "./live.js";
import { Login } from "./login.js";
import { Problem } from "./parts.js";
import { route } from "./route.js";
import type { Route } from "./route.js";

/** Pages that come when they are first opened: the first view stays small. */
const PAGES: { readonly [P in Exclude<Route["page"], "list">]: () => Promise<ComponentType> } = {
  vm: async () => (await import("./vm/page.js")).VmPage,
  logs: async () => (await import("./logs/page.js")).Logs,
  deploy: async () => (await import("./deploy/page.js")).Deploy,
  upgrade: async () => (await import("./upgrade/page.js")).Upgrade,
  images: async () => (await import("./images.js")).Images,
  audit: async () => (await import("./audit.js")).Audit,
};

const loaded = signal<Partial<Record<Route["page"], ComponentType>>>({});
const loadProblem = signal("");

async function load(page: Exclude<Route["page"], "list">): Promise<void> {
  try {
    const component = await PAGES[page]();
    loaded.value = { ...loaded.value, [page]: component };
    loadProblem.value = "";
  } catch {
    loadProblem.value = "This part of the page could not be loaded. Load the page again when teepod answers.";
  }
}

function Later({ page }: { page: Exclude<Route["page"], "list"> }) {
  const Page = loaded.value[page];
  useEffect(() => {
    if (Page === undefined) void load(page);
  }, [page, Page]);
  if (Page !== undefined) return <Page />;
  return <Problem text={loadProblem.value} />;
}

/** What is wrong with what the page shows, if anything. */
function Banners() {
  return (
    <div class="banners" aria-live="polite">
      {connection.value === "lost" && (
        <p class="banner warn">
          The connection to teepod is lost. What you see may be old; this page tries to reach it again.
        </p>
      )}
      {connection.value === "live" && restarted.value && (
        <p class="banner">
          teepod was started again. This page is connected to it and shows what is there now.
          <button type="button" class="link" onClick={() => (restarted.value = false)}>
            Dismiss
          </button>
        </p>
      )}
      {hello.value?.host.simulated === true && (
        <p class="banner warn">
          Development images run on a simulated TDX platform here: nothing in them is protected.
        </p>
      )}
    </div>
  );
}

async function logOut(): Promise<void> {
  await endSession();
  location.reload();
}

/** The way to other teepods; each asks for a token of its own. */
function OtherHosts() {
  const hosts = hello.value?.host.other_hosts ?? [];
  if (hosts.length === 0) return null;
  return (
    <nav aria-label="Other hosts">
      <span class="quiet">Other hosts:</span>
      {hosts.map(({ name, url }) => (
        <a key={url} href={url} rel="noreferrer">
          {name}
        </a>
      ))}
    </nav>
  );
}

/** What this teepod is. */
function Footer() {
  const host = hello.value?.host;
  return (
    <footer class="quiet">{host !== undefined && `teepod ${host.version}, VMs by ${host.hypervisor}`}</footer>
  );
}

function Header() {
  const { page } = route.value;
  const link = (target: Route["page"], href: string, text: string) => (
    <a href={href} aria-current={page === target ? "page" : undefined}>
      {text}
    </a>
  );
  const you = hello.value?.you;
  return (
    <header>
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      <nav aria-label="Main">
        {link("list", "#/", "VMs")}
        {link("deploy", "#/deploy", "Deploy")}
        {link("images", "#/images", "Images")}
        {link("audit", "#/audit", "Audit")}
      </nav>
      <OtherHosts />
      <span class="who">
        {you !== undefined && `${you.name} (${you.role}) on ${location.host}`}
        <button type="button" class="link" onClick={() => void logOut()}>
          Log out
        </button>
      </span>
    </header>
  );
}

/** The address after the `#` is the page's; the link must not change it. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

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

export function App() {
  const title = titleOf(route.value);
  useEffect(() => {
    document.title = title;
  }, [title]);
  if (signedIn.value === "no") return <Login />;
  if (hello.value === undefined) {
    return (
      <main>
        <Banners />
        <p class="quiet">Connecting to teepod…</p>
      </main>
    );
  }
  const { page } = route.value;
  return (
    <>
      <Header />
      <main id="main" tabIndex={-1}>
        <Banners />
        {page === "list" ? <List /> : <Later key={page} page={page} />}
      </main>
      <Footer />
    </>
  );
}
