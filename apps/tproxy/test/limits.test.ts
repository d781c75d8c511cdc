import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { describe, expect, it } from "vitest";
import { getText } from "./http.js";
import { makeSite, start } from "./site.js";

/** Far above what they are told; tests may be slow, and limits must not be their default of 5 s. */
const OTHERS = { hello_secs: 600, lookup_secs: 600 };

describe.each(["js", "native"] as const)("[proxy.limits] with engine = %j", (engine) => {
  const outcomes = async (url: string): Promise<string[]> => {
    const { text } = await getText(url, "/metrics");
    return [...text.matchAll(/^tproxy_connections_total\{outcome="(\w+)",mode="none"\} 1$/gm)].map(
      ([, outcome = ""]) => outcome,
    );
  };

  it("P4: first_byte_secs ends a connection that says nothing", async () => {
    await using site = await makeSite({ proxy: { engine, limits: { ...OTHERS, first_byte_secs: 0.2 } } });
    await using server = await start(site);
    const client = connect(server.proxyPort, "127.0.0.1").resume();
    await once(client, "close");
    await expect.poll(() => outcomes(server.url)).toEqual(["slow_hello"]);
  });

  it("P4: lookup_secs ends the wait for an answer about a custom domain", async () => {
    await using site = await makeSite({ proxy: { engine, limits: { ...OTHERS, lookup_secs: 0.2 } } });
    await using server = await start(site, { resolveTxt: () => new Promise(() => {}) });
    const client = connectTls({ port: server.proxyPort, host: "127.0.0.1", servername: "shop.example.com" });
    const [err] = (await once(client, "error")) as [NodeJS.ErrnoException];
    expect(err.message).toMatch(/unrecognized name/);
    await expect.poll(() => outcomes(server.url)).toEqual(["unknown_name"]);
  });
});
