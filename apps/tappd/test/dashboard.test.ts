import { createHash } from "node:crypto";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { PassThrough, Readable } from "node:stream";
import { ResourceStack } from "@dstack/daemon";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { EngineError } from "../src/index.js";
import type { ListedContainer } from "../src/index.js";
import { curl } from "./support/curl.js";
import { FakeEngine, frame } from "./support/fake-engine.js";
import { bootGuest } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

const PUBLIC = { public_logs: true, public_sysinfo: true, public_tcbinfo: true };
const EVIL = `"><script>alert("1")</script><img src=x onerror=alert(2)>&'`;
const ESCAPED = "&#34;&#62;&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;";
const PRIVATE_PAGES = [
  "/containers",
  "/containers/web",
  "/system",
  "/events",
  "/compose",
  "/app-compose.json",
];
const PAGES = ["/", "/containers", "/containers/web", "/system", "/events", "/compose"];
const HTML = ["-H", "Accept: text/html"] as const;

const WEB: ListedContainer = {
  Id: "ab".repeat(32),
  Names: ["/web"],
  Image: "nginx:1",
  ImageID: `sha256:${"0c".repeat(32)}`,
  Command: "nginx",
  Created: 1_700_000_000,
  State: "running",
  Status: "Up 2 minutes (healthy)",
  Labels: { "com.docker.compose.service": "front" },
};

const stack = new ResourceStack();
afterAll(() => stack[Symbol.asyncDispose]());

interface Running {
  guest: Guest;
  tlsPort: number;
  url: string;
}
async function start(compose: Record<string, unknown>, docker?: FakeEngine): Promise<Running> {
  const guest = stack.use(
    await bootGuest({ compose, parts: { sampleEveryMs: 20, ...(docker === undefined ? {} : { docker }) } }),
  );
  const { external } = await guest.start();
  return { guest, tlsPort: external.tlsPort, url: `http://127.0.0.1:${external.port}` };
}

let open: Running;
let closed: Running;
beforeAll(async () => {
  [open, closed] = await Promise.all([start({ ...PUBLIC, name: "my app" }), start({})]);
});
beforeEach(() => {
  for (const { engine } of [open.guest, closed.guest]) {
    engine.containers = [WEB];
    engine.digests.set(WEB.ImageID, [`nginx@sha256:${"dd".repeat(32)}`]);
    engine.queries = [];
    engine.setLog("web", frame(1, "one\n"), frame(2, "two\n"));
  }
});

const page = async (path: string, base = open.url): Promise<string> =>
  (await curl(...HTML, base + path)).text;

describe("the overview", () => {
  it("shows who the app is, its certificates and how to check it from somewhere else", async () => {
    const { status, headers, text } = await curl(`${open.url}/`);
    expect([status, headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    const { appId, instanceId } = open.guest;
    for (const part of [appId, instanceId, "Upgraded app id", "not upgraded", "Key provider", "CN=KMS root"])
      expect(text).toContain(part);
    expect(text).toContain("A page that an app serves cannot prove itself");
    expect(text).toContain("dstack verify https://");
    const chain = await curl(`${open.url}/certificate.pem`);
    expect(chain.headers.get("content-disposition")).toBe('attachment; filename="certificate.pem"');
    expect(chain.text.match(/BEGIN CERTIFICATE/g)).toHaveLength(3);
  });

  it("names the address of the guest's own certificate as the visitor's name for it says, and no other text of his", async () => {
    const { appId } = open.guest;
    const command = async (host: string): Promise<string | undefined> =>
      /dstack verify (\S+)/.exec((await curl("-H", `Host: ${host}`, `${open.url}/`)).text)?.[1];
    const own = `https://${appId}-${open.tlsPort}s.app.example.org:8443/`;
    expect(await command(`${appId}-8090.app.example.org:8443`)).toBe(own);
    expect(await command(`${appId}.app.example.org:8443`)).toBe(own);
    for (const host of ["127.0.0.1:8090", `${appId}-8090.$(reboot)`, "x"])
      expect(await command(host)).toBe(`https://${appId}-${open.tlsPort}s.&#60;base`);
  });

  it("E2: says of every register in words what replaying the log gives", async () => {
    expect((await page("/")).match(/Equal: replaying/g)).toHaveLength(4);
    // A host that takes an event of the boot away from the log changes none of the registers.
    await using forged = await bootGuest({
      wrapProvider: (provider) => ({
        kind: provider.kind,
        getQuote: (reportData, signal) => provider.getQuote(reportData, signal),
        readRtmr: (index) => provider.readRtmr(index),
        extendRtmr: (index, digest) => provider.extendRtmr(index, digest),
        getReport: (reportData) => provider.getReport(reportData),
        bootEvents: async () => (await provider.bootEvents()).filter(({ imr }) => imr !== 1),
      }),
    });
    const { external } = await forged.start();
    const text = await page("/", `http://127.0.0.1:${external.port}`);
    expect(text.match(/Equal: replaying/g)).toHaveLength(3);
    expect(text).toMatch(/Not equal: replaying the log gives <code>0{96}<\/code>/);
  });

  it("E10: says on every page that the platform is simulated", async () => {
    for (const path of PAGES)
      expect([path, await page(path)]).toEqual([path, expect.stringContaining("Simulated platform")]);
  });
});

describe("pages that the compose document opens", () => {
  it("shows containers with state, health, service and digests", async () => {
    const text = await page("/containers");
    for (const part of [
      "running: Up 2 minutes",
      "healthy",
      "front",
      `nginx@sha256:${"dd".repeat(32)}`,
      WEB.ImageID,
    ])
      expect(text).toContain(part);
    expect(text).toContain('href="/containers/web"');
  });

  it("says what to do when there are no containers, and that the engine does not answer", async () => {
    open.guest.engine.containers = [];
    expect(await page("/containers")).toContain("There are no containers yet");
    class DeadEngine extends FakeEngine {
      override async listContainers(): Promise<never> {
        throw new EngineError("listing containers: the container engine does not answer");
      }
    }
    const dead = await start(PUBLIC, new DeadEngine());
    const { status, text } = await curl(`${dead.url}/containers`);
    expect([status, text.includes("the container engine does not answer")]).toEqual([503, true]);
    expect((await curl(`${dead.url}/`)).status).toBe(200);
  });

  it("shows the log's end, the channels apart, with links for the rest", async () => {
    const text = await page("/containers/web?tail=1000&timestamps");
    expect(text).toContain('<pre>\none\n<span class="stderr">two\n</span></pre>');
    expect(text).toContain('href="/logs/web?since=0&#38;text&#38;bare&#38;timestamps" download="web.log"');
    expect(open.guest.engine.queries[0]).toMatchObject({
      container: "web",
      query: { since: 0, tail: 1000, timestamps: true, follow: false },
    });
    open.guest.engine.setLog("web");
    expect(await page("/containers/web")).toContain("has not written anything yet");
  });

  it("follows a log as it is written", async () => {
    const source = new PassThrough();
    open.guest.engine.logs.set("web", () => ({ hasTerminal: false, stream: source }));
    const client = spawn("curl", ["--silent", "--no-buffer", `${open.url}/containers/web?follow`]);
    let text = "";
    client.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
    source.write(frame(1, "first\n"));
    await expect.poll(() => text).toMatch(/<pre>\nfirst\n$/);
    source.write(frame(1, "second\n"));
    await expect.poll(() => text).toMatch(/<pre>\nfirst\nsecond\n$/);
    source.end();
    await once(client, "close");
    expect(text).toContain('<a href="/containers/web?tail=100&#38;follow">Follow it again</a>');
    expect(text).toContain("</html>");
    client.kill();
  });

  it("E11: a reader who goes away ends the request to the engine", async () => {
    const source = new PassThrough();
    open.guest.engine.logs.set("web", () => ({ hasTerminal: false, stream: source }));
    const client = spawn("curl", ["--silent", "--no-buffer", `${open.url}/containers/web?follow`]);
    await once(client.stdout, "data");
    client.kill("SIGKILL");
    await expect.poll(() => source.destroyed).toBe(true);
  });

  it("E11: a log page holds no more than its newest part, and following ends", async () => {
    const many = (megabytes: number): Readable =>
      Readable.from(
        (function* () {
          for (let line = 0; line < megabytes * 1024; line += 1)
            yield frame(1, `${line} ${"x".repeat(1016)}\n`);
        })(),
        { objectMode: false },
      );
    open.guest.engine.logs.set("web", () => ({ hasTerminal: false, stream: many(2) }));
    const shown = await page("/containers/web?tail=5000");
    expect(shown.length).toBeLessThan(300_000);
    expect(shown).toContain("\n2047 xxx");
    expect(shown).toContain("What is older is left out here");
    open.guest.engine.logs.set("web", () => ({ hasTerminal: false, stream: many(6) }));
    const followed = await page("/containers/web?follow");
    expect(followed.length).toBeLessThan(4.3 * 2 ** 20);
    expect(followed).toContain("The log is followed no further.");
  });

  it("E11, P4: log pages count among the logs that a client reads at once", async () => {
    const sources: PassThrough[] = [];
    open.guest.engine.logs.set("web", () => {
      const stream = new PassThrough();
      sources.push(stream);
      return { hasTerminal: false, stream };
    });
    const clients = Array.from({ length: 4 }, () =>
      spawn("curl", ["--silent", "--no-buffer", `${open.url}/containers/web?follow`], { stdio: "ignore" }),
    );
    await expect.poll(() => sources.length).toBe(4);
    const { status, text } = await curl(`${open.url}/containers/web`);
    expect([status, text.includes("You are reading 4 logs already: end one of them first.")]).toEqual([
      429,
      true,
    ]);
    for (const source of sources) source.end();
    await Promise.all(clients.map((client) => once(client, "close")));
  });

  it("shows the machine, and its last minutes as a drawing with a sentence", async () => {
    await expect.poll(() => page("/system")).toMatch(/<polyline class="line" points="[\d,]+ [\d, ]+"/);
    const text = await page("/system");
    for (const part of ["Kernel", "Uptime", "Memory in use", "over 1 minute"]) expect(text).toContain(part);
    expect(text).toMatch(/role="img"\s+aria-label="Processor: \d+ % now, \d+ % at most within \d+ (s|min)"/);
  });

  it("loads itself again only when asked to", async () => {
    const plain = await curl(`${open.url}/system`);
    expect([plain.headers.get("refresh"), plain.text.includes("/system?refresh=10")]).toEqual([
      undefined,
      true,
    ]);
    const { headers, text } = await curl(`${open.url}/system?refresh=10`);
    expect([headers.get("refresh"), text.includes("Refreshed every 10 s")]).toEqual(["10", true]);
    for (const bad of ["1", "x", "0", "-5", "99999", "10;url=https://evil.example"])
      expect([bad, (await curl(`${open.url}/system?refresh=${bad}`)).status]).toEqual([bad, 400]);
  });

  it("shows the event log with readable payloads and whose events they are", async () => {
    const text = await page("/events");
    expect(text).toContain("system-ready");
    expect(text).toContain("&#34;name&#34;:&#34;kms&#34;");
    expect(text).toContain(open.guest.appId);
    expect(text.match(/is that of name and payload/g)?.length).toBeGreaterThanOrEqual(10);
    expect(text).not.toContain("is not that of name and payload");
    expect(text).not.toContain("by the app itself");
  });

  it("E3: an event of the app is told from those of the system, whatever it says", async () => {
    const guest = stack.use(await bootGuest({ compose: PUBLIC }));
    const { sockets, external } = await guest.start();
    const request = JSON.stringify({
      event: EVIL.replaceAll(":", ""),
      payload: Buffer.from(EVIL).toString("hex"),
    });
    await curl(
      "--unix-socket",
      sockets.dstack,
      "-H",
      "Content-Type: application/json",
      "-d",
      request,
      "http://x/EmitEvent",
    );
    const text = await page("/events", `http://127.0.0.1:${external.port}`);
    expect(text.match(/by the app itself/g)).toHaveLength(1);
    expect(text.split(ESCAPED)).toHaveLength(3);
    expect(text).not.toContain("<script");
    // The quote behind the page is made anew, so the new event is in it.
    expect(text.match(/Equal: replaying/g)).toHaveLength(4);
  });

  it("gives the compose document byte for byte, and its hash", async () => {
    const { composeText } = open.guest;
    const { text, headers } = await curl(`${open.url}/app-compose.json`);
    expect([text, headers.get("content-type")]).toEqual([composeText, "application/json; charset=utf-8"]);
    const hash = createHash("sha256").update(composeText).digest("hex");
    const shown = await page("/compose");
    expect(shown.split(hash)).toHaveLength(3);
    expect(shown).toContain("Equal.");
  });
});

describe("G8: private unless the compose document says public", () => {
  it.each(PRIVATE_PAGES)(
    "G8: %s is absent: no link leads to it, and it answers 403 with the reason",
    async (path) => {
      const { status, text } = await curl(...HTML, closed.url + path);
      expect(status).toBe(403);
      expect(text).toMatch(
        /This app (keeps its [a-z ]+ private|shows no event log here;.*) \(public_[a-z]+\)\./,
      );
      expect(closed.guest.engine.queries).toEqual([]);
      for (const secret of ["nginx", "Up 2 minutes", "Kernel", "manifest_version", "system-ready"])
        expect(text).not.toContain(secret);
      expect(await page("/", closed.url)).not.toContain(`href="${path}"`);
      expect((await curl(open.url + path)).status).toBe(200);
    },
  );

  it("G8: the overview names what is private and tells nothing of it", async () => {
    const text = await page("/", closed.url);
    for (const what of ["containers and their logs", "system information", "compose document"])
      expect(text).toContain(`This app keeps its ${what} private`);
    // Anyone has the log from the certificate: it is not called private.
    expect(text).toContain("This app shows no event log here; its certificate carries it");
    expect(await page("/certificate.pem", closed.url)).toContain("BEGIN CERTIFICATE");
    expect(text).not.toContain("nginx");
    expect(text).not.toContain("manifest_version");
  });

  it("G8: one flag does not open what another one guards", async () => {
    const opened: Record<string, readonly string[]> = {
      public_logs: ["/containers", "/containers/web"],
      public_sysinfo: ["/system"],
      public_tcbinfo: ["/events", "/compose", "/app-compose.json"],
    };
    for (const [flag, paths] of Object.entries(opened)) {
      const engine = new FakeEngine();
      engine.setLog("web");
      const { url } = await start({ [flag]: true }, engine);
      for (const path of PRIVATE_PAGES)
        expect([flag, path, (await curl(url + path)).status]).toEqual([
          flag,
          path,
          paths.includes(path) ? 200 : 403,
        ]);
    }
  });

  it("G8: what is private stays so whatever the method or spelling", async () => {
    for (const path of [
      ...PRIVATE_PAGES,
      "/%63ontainers",
      "/containers/%77eb",
      "/containers?refresh=10",
      "/system/",
    ])
      for (const method of ["HEAD", "POST", "OPTIONS"]) {
        const head = method === "HEAD" ? ["--head"] : [];
        const { status } = await curl("-X", method, ...head, closed.url + path);
        expect([400, 403, 404], `${method} ${path}`).toContain(status);
      }
    expect(closed.guest.engine.queries).toEqual([]);
  });
});

describe("T6: what the app, its images and its containers are called and write is text", () => {
  let evil: Running;
  beforeAll(async () => {
    evil = await start({ ...PUBLIC, name: EVIL, docker_compose_file: `# ${EVIL}` });
    evil.guest.engine.containers = [
      {
        ...WEB,
        Names: [`/${EVIL}`],
        Image: EVIL,
        ImageID: EVIL,
        Command: EVIL,
        State: EVIL,
        Status: EVIL,
        Labels: { "com.docker.compose.service": EVIL },
      },
    ];
    evil.guest.engine.digests.set(EVIL, [EVIL]);
  });
  beforeEach(() =>
    evil.guest.engine.setLog("web", frame(1, `${EVIL}\n</pre>${EVIL}\n`), frame(2, `</span>${EVIL}\n`)),
  );

  it.each([...PAGES, "/containers/web?follow", "/nothing", "/containers/%3Cscript%3E"])(
    "T6: %s has no script, names its style by hash, and shows hostile text as text",
    async (path) => {
      const { headers, text } = await curl(...HTML, evil.url + path);
      const policy = headers.get("content-security-policy") ?? "";
      expect(policy).toMatch(
        /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
      );
      const style = /<style>([^]*?)<\/style>/.exec(text)?.[1] ?? "";
      expect(policy).toContain(createHash("sha256").update(style).digest("base64"));
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(text).not.toMatch(/<script|<img|onerror=alert\(2\)>|javascript:|https?:\/\/(?!<|[0-9a-f]{40})/i);
      expect(text).toContain(ESCAPED);
      expect(text.match(/<\/pre>/g) ?? []).toHaveLength(text.match(/<pre[ >]/g)?.length ?? 0);
    },
  );

  it("T6: a link to a log is one path segment, whatever the container is called", async () => {
    const links = [...(await page("/containers", evil.url)).matchAll(/href="(\/containers\/[^"]*)"/g)];
    expect(links.map(([, link]) => link)).toEqual([
      `/containers/${encodeURIComponent(EVIL).replace("'", "&#39;")}`,
    ]);
  });

  it("T6: no link, frame, form or file leads anywhere else", async () => {
    for (const path of PAGES) {
      const text = await page(path, evil.url);
      for (const [, link] of text.matchAll(/(?:href|src|action)="([^"]*)"/g)) expect(link).toMatch(/^[/#]/);
      expect(text).not.toMatch(/<(form|iframe|object|embed|link|base)\b/);
    }
  });
});

describe("requests of all kinds", () => {
  it("HEAD has the headers of the page and no body, and lets the engine go", async () => {
    const source = new PassThrough();
    open.guest.engine.logs.set("web", () => ({ hasTerminal: false, stream: source }));
    for (const path of ["/", "/containers/web?follow"]) {
      const { status, headers, body } = await curl("--head", open.url + path);
      expect([path, status, body.length]).toEqual([path, 200, 0]);
      expect(headers.get("content-type")).toBe("text/html; charset=utf-8");
    }
    await expect.poll(() => source.destroyed).toBe(true);
  });

  it("a range is answered with the whole", async () => {
    const { status, headers, text } = await curl("-H", "Range: bytes=0-3", `${open.url}/app-compose.json`);
    expect([status, headers.get("accept-ranges"), text]).toEqual([200, "none", open.guest.composeText]);
  });

  it("a path that is no page says so: in a page to browsers, in JSON to programs", async () => {
    const browser = await curl(...HTML, `${open.url}/nothing/here`);
    expect([browser.status, browser.text.includes("There is no such page here.")]).toEqual([404, true]);
    const program = await curl(`${open.url}/nothing/here`);
    expect([program.status, program.text]).toEqual([404, '{"error":"not found"}']);
    const rpc = await curl(`${open.url}/prpc/Worker.Nothing?json`);
    expect([rpc.status, Object.keys(JSON.parse(rpc.text) as object)]).toEqual([404, ["error"]]);
  });

  it.each([
    ["/containers/nobody", 404, "No such container."],
    ["/containers/..%2f..%2finfo", 400, "This is not the name or id of a container."],
    ["/containers/web?tail=7", 400, "Tail must be one of 100, 1000, 5000."],
    ["/containers/web?tail=all", 400, "Tail must be one of"],
  ])("%s answers %d in words", async (path, status, sentence) => {
    const answer = await curl("--path-as-is", ...HTML, open.url + path);
    expect([answer.status, answer.text.includes(sentence)]).toEqual([status, true]);
  });
});
