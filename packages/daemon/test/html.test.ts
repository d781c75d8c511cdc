import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { html, pageHeaders, styleElement } from "../src/index.js";

describe("html", () => {
  it("T6: takes inserted values as text, in elements and in quoted attributes", () => {
    const evil = `<script>alert("1")</script>'&`;
    const page = html`<p title="${evil}">${evil}</p>`.text;
    expect(page).toBe(
      `<p title="&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;&#39;&#38;">` +
        `&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;&#39;&#38;</p>`,
    );
  });

  it("takes its own pieces as they are, lists of them too", () => {
    const items = [1, 2].map((n) => html`<li>${n}</li>`);
    expect(html`<b>${html`<i>${"&"}</i>`}</b>`.text).toBe("<b><i>&#38;</i></b>");
    expect(html`${items}`.text).toBe("<li>1</li><li>2</li>");
  });

  it("T6: a piece cannot be made of data", () => {
    const data = JSON.parse('{"text": "<script>"}') as never;
    expect(() => html`${data}`).toThrow();
  });
});

describe("pageHeaders", () => {
  it("T6: name the one style sheet by its hash and allow nothing else", () => {
    const css = "p{color:red}";
    const headers = pageHeaders(css);
    const inside = /<style>(.*)<\/style>/.exec(styleElement(css).text)?.[1] ?? "";
    const hash = createHash("sha256").update(inside).digest("base64");
    expect(headers["content-security-policy"]).toBe(
      `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    );
    expect(headers["x-content-type-options"]).toBe("nosniff");
  });
});
