import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { World } from "./support/world.js";

const signal = new AbortController().signal;
let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world[Symbol.asyncDispose]());

describe("credentials.json", () => {
  it.each([
    ["empty", () => ""],
    ["cut short", (text: string) => text.slice(0, -20)],
    ["of another form", () => '{"accounts":[]}'],
    [
      "with a damaged key",
      (text: string) => text.replace(/BEGIN PRIVATE KEY-----..../, "BEGIN PRIVATE KEY-----"),
    ],
    ["with an unknown field", (text: string) => text.replace("{", '{"surprise":1,')],
  ])("C2: %s: every command stops with an error, the CA is not asked, the file stays", async (_, damage) => {
    const options = await world.options();
    const certbot = await world.certbot(options);
    await certbot.init(signal);
    const path = join(options.workDir, "credentials.json");
    const damaged = damage(await readFile(path, "utf8"));
    await writeFile(path, damaged);
    world.ca.asked.length = 0;
    for (const run of [
      () => certbot.init(signal),
      () => certbot.renew({}, signal),
      () => certbot.renew({ force: true }, signal),
      () => certbot.setCaa(signal),
      () => certbot.rehearse(signal),
    ]) {
      await expect(run()).rejects.toMatchObject({ code: "corrupt" });
    }
    expect((await certbot.status(signal)).problems[0]).toMatch(
      /credentials\.json is damaged .*no new one is made/,
    );
    expect(world.ca.asked).toEqual([]);
    expect(await readFile(path, "utf8")).toBe(damaged);
  });

  it("C2: gone although certificates are there: only init makes a new account", async () => {
    const options = await world.options();
    const certbot = await world.certbot(options);
    await certbot.renew({}, signal);
    await rm(join(options.workDir, "credentials.json"));
    await expect(certbot.renew({}, signal)).rejects.toMatchObject({ code: "lost_account" });
    await expect(certbot.setCaa(signal)).rejects.toMatchObject({ code: "lost_account" });
    await certbot.init(signal);
    await expect(certbot.renew({}, signal)).resolves.toMatchObject({ renewed: false });
  });

  it("C2: a crash between the CA's registration and our note of it gives the same account again", async () => {
    const options = await world.options();
    world.ca.rewrite = (path, answer) => {
      if (path === "POST /sign-me-up") throw new Error("the answer is lost");
      return answer;
    };
    await expect((await world.certbot(options)).init(signal)).rejects.toMatchObject({ code: "unreachable" });
    world.ca.rewrite = undefined;
    const key = /"keyPem": ("[^"]+")/.exec(
      await readFile(join(options.workDir, "credentials.json"), "utf8"),
    )?.[1];
    await (await world.certbot(options)).init(signal);
    const after = await readFile(join(options.workDir, "credentials.json"), "utf8");
    expect(after).toContain(key);
    expect(after).toContain('"uri"');
  });
});
