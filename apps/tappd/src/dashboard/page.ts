import { Html, html, pageHeaders, styleElement } from "@dstack/daemon";
import type { FastifyReply } from "fastify";
import type { TappdContext } from "../context.js";
import { SECTIONS } from "./sections.js";
import { STYLE } from "./style.js";

/** Of every page: no script, one style sheet named by its hash, nothing from anywhere else (T6). */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  ...pageHeaders(STYLE),
  // A page is made anew for each request: there are no parts of it to continue with.
  "accept-ranges": "none",
};

export type PageContext = Pick<TappdContext, "compose" | "platform">;

export interface Page {
  readonly title: string;
  /** Path of the link in the navigation that leads here. */
  readonly current?: string;
}

/** Sends a whole page. */
export function sendPage(
  reply: FastifyReply,
  context: PageContext,
  page: Page & { readonly content: Html; readonly status?: number },
): FastifyReply {
  return pageReply(reply, page.status).send(layout(context, page, page.content).text);
}

/** A reply that is a page, whose text follows. */
export function pageReply(reply: FastifyReply, status = 200): FastifyReply {
  return reply.code(status).headers(PAGE_HEADERS).type("text/html; charset=utf-8");
}

/** Text that no value can hold: `<` of a value is escaped. */
const CONTENT = new Html("<!--content-->");

/** What stands before and after the content, for a page that is sent while it is made. */
export function pageAround(context: PageContext, page: Page): Around {
  return around((content) => layout(context, page, content));
}

/** The two halves of a piece of HTML. */
export interface Around {
  readonly before: string;
  readonly after: string;
}

/** @param piece is given what stands between the halves */
export function around(piece: (content: Html) => Html): Around {
  const [before = "", after = ""] = piece(CONTENT).text.split(CONTENT.text);
  return { before, after };
}

/** What the app calls itself. */
export const appTitle = ({ compose }: Pick<PageContext, "compose">): string =>
  compose.name === "" ? "dstack app" : compose.name;

const SIMULATED = html`<p class="banner warn" role="note">
  Simulated platform: the quotes of this VM prove nothing about hardware.
</p>`;

function layout(context: PageContext, page: Page, content: Html): Html {
  const app = appTitle(context);
  const links = [
    { path: "/", title: "Overview" },
    ...SECTIONS.filter(({ shows }) => shows.isPublic(context.compose)),
  ];
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${page.title === app ? app : `${page.title} · ${app}`}</title>
        ${styleElement(STYLE)}
      </head>
      <body>
        <a class="skip" href="#content">Skip to the content</a>
        <header>
          <span class="app"><bdi>${app}</bdi></span>
          <nav aria-label="Main">
            ${links.map(
              ({ path, title }) =>
                html`<a href="${path}" ${path === page.current ? CURRENT : ""}>${title}</a> `,
            )}
          </nav>
        </header>
        <main id="content" tabindex="-1">
          ${context.platform === "simulated" ? SIMULATED : ""}
          <h1><bdi>${page.title}</bdi></h1>
          ${content}
        </main>
        <footer>Served by the guest agent inside the CVM.</footer>
      </body>
    </html> `;
}

const CURRENT = new Html('aria-current="page"');
