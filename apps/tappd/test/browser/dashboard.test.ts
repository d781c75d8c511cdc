import { PassThrough } from "node:stream";
import { ResourceStack } from "@dstack/daemon";
import { Stage } from "@dstack/dashboard/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { frame } from "../support/fake-engine.js";
import { bootGuest } from "../support/tappd-fixture.js";
import type { Guest } from "../support/tappd-fixture.js";

const EVIL = `<img src=x onerror="document.title='broken'">`;

const COMPOSE = {
  docker_compose_file:
    "services:\n  web:\n    image: nginx@sha256:…\n    volumes:\n      - /var/run/tappd.sock:/var/run/tappd.sock\n",
  public_logs: true,
  public_sysinfo: true,
  public_tcbinfo: true,
};

describe("tappd's pages in a browser", () => {
  const stage = Stage.forTests({ names: ["*.app.test"] });
  const stack = new ResourceStack();
  let guest: Guest;
  let url: string;
  let closedUrl: string;
  beforeAll(async () => {
    guest = stack.use(await bootGuest({ compose: COMPOSE, parts: { sampleEveryMs: 50 } }));
    const closed = stack.use(await bootGuest());
    url = `http://${guest.appId}-8090.app.test:${(await guest.start()).external.port}`;
    closedUrl = `http://127.0.0.1:${(await closed.start()).external.port}`;
    fill(guest);
  });
  afterAll(() => stack[Symbol.asyncDispose]());

  const PAGES = (): readonly (readonly [name: string, address: string])[] => [
    ["overview", `${url}/`],
    ["containers", `${url}/containers`],
    ["log", `${url}/containers/hello-web-1?timestamps`],
    ["system", `${url}/system`],
    ["events", `${url}/events`],
    ["compose", `${url}/compose`],
    ["not-found", `${url}/nothing`],
    ["private", `${closedUrl}/containers`],
    ["all-private", `${closedUrl}/`],
  ];

  it("have no serious issue for axe-core, light and dark, on a desk and on a phone", async () => {
    await using tab = await stage.open(url);
    const { page } = tab;
    await page.goto(`${url}/system`);
    await expect.poll(async () => (await page.reload(), page.locator("polyline").count())).toBe(3);
    for (const [name, address] of PAGES()) {
      await page.goto(address);
      await stage.inspect(tab, `tappd-${name}`);
    }
    expect(tab.complaints).toEqual([]);
  });

  it("are used with the keyboard alone, and without script", async () => {
    await using tab = await stage.open(url, { javaScriptEnabled: false });
    const { page } = tab;
    const press = async (key: string, times = 1): Promise<void> => {
      for (let time = 0; time < times; time += 1) await page.keyboard.press(key);
    };
    await press("Tab");
    await press("Enter");
    expect(new URL(page.url()).hash).toBe("#content");
    await page.goto(url);
    await press("Tab", 3); // past "Skip to the content" and "Overview"
    await press("Enter");
    await page.getByRole("heading", { name: "hello-web-1" }).waitFor();
    await page.getByRole("link", { name: "Read the log of hello-web-1" }).focus();
    await press("Enter");
    await page.getByText("serving on port 80").waitFor();
  });

  it("T6: what a container writes and is called runs nothing", async () => {
    await using tab = await stage.open(`${url}/containers`);
    const { page } = tab;
    await page.getByText(EVIL).first().waitFor();
    await page.goto(`${url}/containers/hello-web-1`);
    await page.getByText(EVIL).first().waitFor();
    expect(await page.title()).toBe("Log of hello-web-1 · hello");
    expect(await page.locator("img").count()).toBe(0);
    expect(tab.complaints).toEqual([]);
  });

  it("shows a log that is followed as it is written, its end in sight", async () => {
    const source = new PassThrough();
    guest.engine.logs.set("follow", () => ({ hasTerminal: false, stream: source }));
    await using tab = await stage.open(url, { javaScriptEnabled: false });
    const { page } = tab;
    await page.goto(`${url}/containers/follow?follow`, { waitUntil: "commit" });
    for (let line = 0; line < 200; line += 1) source.write(frame(1, `line ${line}\n`));
    await expect.poll(() => page.locator("pre").textContent()).toContain("line 199");
    source.write(frame(1, "the newest line\n"));
    await expect.poll(() => page.locator("pre").textContent()).toContain("the newest line");
    const distance = await page.evaluate<number>("document.querySelector('.console').scrollTop");
    expect(Math.abs(distance)).toBeLessThan(2);
    source.end();
    await page.getByRole("link", { name: "Follow it again" }).waitFor();
  });
});

function fill({ engine }: Guest): void {
  const base = { Command: "/docker-entrypoint.sh nginx", Created: 1_770_000_000, State: "running" };
  engine.containers = [
    {
      ...base,
      Id: "ab".repeat(32),
      Names: ["/hello-web-1"],
      Image: "nginx:1.27",
      ImageID: `sha256:${"0c".repeat(32)}`,
      Status: "Up 2 minutes (healthy)",
      Labels: { "com.docker.compose.service": "web" },
    },
    {
      ...base,
      Id: "cd".repeat(32),
      Names: ["/hello-job-1"],
      Image: EVIL,
      ImageID: `sha256:${"0d".repeat(32)}`,
      State: "exited",
      Status: "Exited (1) 3 minutes ago",
    },
  ];
  engine.digests.set(`sha256:${"0c".repeat(32)}`, [`nginx@sha256:${"dd".repeat(32)}`]);
  engine.setLog(
    "hello-web-1",
    frame(1, "2026-03-01T11:59:01.123456789Z serving on port 80\n"),
    frame(1, `2026-03-01T11:59:05.000000000Z GET /${EVIL} 404\n`),
    frame(2, "2026-03-01T11:59:07.250000000Z warning: no certificate yet\n"),
  );
}
