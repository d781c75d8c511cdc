import type { ComponentChildren, ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { endSession, signedIn } from "./api.js";
import { connection, restarted } from "./live.js";
import { Login } from "./login.js";
import { PROGRAM } from "./program.js";

export interface ShellProps {
  /** Name of the page that is shown. */
  readonly page: string;
  /** What the page is about, where it can be about several: nothing of one is shown for another. */
  readonly subject?: string | undefined;
  /** Its content. */
  readonly view: ComponentType;
  /** What the browser's tab and history call it. */
  readonly title: string;
  readonly menu: readonly { readonly page: string; readonly href: string; readonly text: string }[];
  /** Who is logged in; undefined until the daemon has said so. */
  readonly who: string | undefined;
  /** Where tokens are found, for the login. */
  readonly tokens: ComponentChildren;
  /** What is wrong with what all pages show. */
  readonly warnings: readonly string[];
  readonly footer: string;
}

/** What is wrong with what the page shows, if anything. */
function Banners({ warnings }: Pick<ShellProps, "warnings">) {
  return (
    <div class="banners" aria-live="polite">
      {connection.value === "lost" && (
        <p class="banner warn">
          The connection to {PROGRAM} is lost. What you see may be old; this page tries to reach it again.
        </p>
      )}
      {connection.value === "live" && restarted.value && (
        <p class="banner">
          {PROGRAM} was started again. This page is connected to it and shows what is there now.
          <button type="button" class="link" onClick={() => (restarted.value = false)}>
            Dismiss
          </button>
        </p>
      )}
      {warnings.map((warning) => (
        <p key={warning} class="banner warn">
          {warning}
        </p>
      ))}
    </div>
  );
}

async function logOut(): Promise<void> {
  await endSession();
  location.reload();
}

/** The address after the `#` is the page's; the link must not change it. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function Header({ page, menu, who }: Pick<ShellProps, "page" | "menu" | "who">) {
  return (
    <header>
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      <nav aria-label="Main">
        {menu.map((entry) => (
          <a key={entry.page} href={entry.href} aria-current={page === entry.page ? "page" : undefined}>
            {entry.text}
          </a>
        ))}
      </nav>
      <span class="who">
        {who !== undefined && `${who} on ${location.host}`}
        <button type="button" class="link" onClick={() => void logOut()}>
          Log out
        </button>
      </span>
    </header>
  );
}

/** A dashboard: the login until somebody is logged in, then menu, banners and the page. */
export function Shell(props: ShellProps) {
  const { title, view: View } = props;
  useEffect(() => {
    document.title = title;
  }, [title]);
  if (signedIn.value === "no") return <Login tokens={props.tokens} />;
  if (props.who === undefined) {
    return (
      <main>
        <Banners warnings={[]} />
        <p class="quiet">Connecting to {PROGRAM}…</p>
      </main>
    );
  }
  return (
    <>
      <Header {...props} />
      <main id="main" tabIndex={-1}>
        <Banners warnings={props.warnings} />
        <View key={`${props.page} ${props.subject ?? ""}`} />
      </main>
      <footer class="quiet">{props.footer}</footer>
    </>
  );
}
