import { once } from "node:events";
import { describe, expect, it } from "vitest";
import type { ConnectionReport } from "../../src/index.js";
import {
  APP,
  backend,
  BASE,
  connectThrough,
  INSTANCE,
  readAll,
  routesTo,
  startApp,
  startTlsApp,
} from "../apps.js";
import { alertBytes, echo, answerAfterEnd, expectWholeExchange, answerTo, helloFor } from "./common.js";
import type { Start } from "./common.js";

/** Which app a name leads to, and which of its instances. */
export function routesContract(start: Start): void {
  describe("routes", () => {
    it.each<[string, (id: string, port: number, base: string) => string]>([
      ["the id in capitals", (id, port, base) => `${id.toUpperCase()}-${port}.${base}`],
      ["a dot at its end", (id, port, base) => `${id}-${port}.${base}.`],
      ["a capital S", (id, port, base) => `${id}-${port}S.${base}.`],
      ["another of our base domains", (id, port) => `${id}-${port}s.apps.xn--bcher-kva.example`],
    ])("reaches an app by a name with %s", async (_, nameOf) => {
      await using app = await startApp((socket) => socket.once("data", () => socket.end("reached")));
      const baseDomains = [BASE, "apps.xn--bcher-kva.example"];
      await using plane = await start({
        listeners: [{ host: "127.0.0.1", port: 0, passthroughOnly: true }],
        routes: { ...routesTo(backend()), baseDomains },
      });
      for (const id of [APP, INSTANCE]) {
        expect(String(await answerTo(plane, helloFor(nameOf(id, app.port, BASE))))).toBe("reached");
      }
    });

    it.each([
      `${APP}-.${BASE}`,
      `${APP}-0.${BASE}`,
      `${APP}-08080.${BASE}`,
      `${APP}-65536.${BASE}`,
      `${APP}-8080sg.${BASE}`,
      `${APP}s8080.${BASE}`,
      `${APP.slice(1)}-8080.${BASE}`,
      `0x${APP}-8080.${BASE}`,
      `x.${APP}-8080.${BASE}`,
      `${APP}-8080.x.${BASE}`,
    ])("P3: %s is nobody's name, and nobody is asked for it", async (name) => {
      const asked: string[] = [];
      await using plane = await start({ lookup: async (domain) => void asked.push(domain) });
      expect(await answerTo(plane, helloFor(name))).toEqual(alertBytes("unrecognized_name"));
      expect(asked).toEqual([]);
    });

    it("P5: prefers the first instance and goes past dead ones", async () => {
      const seen: ConnectionReport[] = [];
      await using app = await startApp(echo, "127.66.0.3");
      // Nobody listens at the first two addresses.
      const routes = routesTo(...[1, 2, 3].map((n) => backend(`127.66.0.${n}`, String(n).repeat(40))));
      await using plane = await start({ routes, onConnection: (report) => seen.push(report) });
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
      client.write("hello");
      expect(String((await once(client, "data"))[0])).toBe("hello");
      await expect.poll(() => [...plane.stats().openByInstance]).toEqual([["3".repeat(40), 1]]);
      client.destroy();
      await expect.poll(() => seen.length).toBe(1);
      expect(seen[0]).toMatchObject({
        appId: APP,
        instanceId: "3".repeat(40),
        serverName: expect.any(String),
      });
    });

    it("P5: tries no more than three instances", async () => {
      await using app = await startApp(echo, "127.66.0.4");
      const routes = routesTo(...[1, 2, 3, 4].map((n) => backend(`127.66.0.${n}`, String(n).repeat(40))));
      await using plane = await start({ routes });
      const answer = await answerTo(plane, helloFor(`${APP}-${app.port}s.${BASE}`));
      expect(answer).toEqual(alertBytes("internal_error"));
    });

    it("reaches one instance by its own id", async () => {
      await using app = await startApp(echo, "127.0.0.2");
      const routes = routesTo(backend("127.0.0.1", "1".repeat(40)), backend("127.0.0.2", INSTANCE));
      await using plane = await start({ routes });
      const client = await connectThrough(plane, `${INSTANCE}-${app.port}.${BASE}`);
      client.write("hello");
      expect(String((await once(client, "data"))[0])).toBe("hello");
      client.destroy();
    });

    it("takes a new table for new connections and leaves open ones alone", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const name = `${APP}-${app.port}.${BASE}`;
      const open = await connectThrough(plane, name);
      plane.setRoutes(routesTo());
      await expect.poll(() => answerTo(plane, helloFor(name))).toEqual(alertBytes("unrecognized_name"));
      open.write("still here");
      expect(String((await once(open, "data"))[0])).toBe("still here");
      open.destroy();
    });

    it("asks where a custom domain leads, and passes it through", async () => {
      await using app = await startTlsApp(answerAfterEnd);
      const asked: string[] = [];
      await using plane = await start({
        lookup: (domain, source) => {
          asked.push(`${domain} for ${source}`);
          return Promise.resolve(domain === "shop.example.com" ? { id: APP, port: app.port } : undefined);
        },
      });
      for (const name of ["Shop.example.com", "shop.Example.com."]) {
        const client = await connectThrough(plane, name);
        expect(client.getPeerCertificate().subject.CN).toBe("app.internal");
        await expectWholeExchange(client);
      }
      expect(await answerTo(plane, helloFor("other.example.com"))).toEqual(alertBytes("unrecognized_name"));
      expect(await answerTo(plane, helloFor(`x.${BASE}`))).toEqual(alertBytes("unrecognized_name"));
      expect(await answerTo(plane, helloFor("xn--bcher-kva.example"))).toEqual(
        alertBytes("unrecognized_name"),
      );
      expect(asked).toEqual([
        "shop.example.com for 127.0.0.1",
        "shop.example.com for 127.0.0.1",
        "other.example.com for 127.0.0.1",
        "xn--bcher-kva.example for 127.0.0.1",
      ]);
    });

    it("P3: a custom domain leads to registered instances and allowed ports only", async () => {
      const answers = [
        { id: "0".repeat(40), port: 8080 },
        { id: APP, port: 22 },
        { id: APP, port: 8081 },
      ];
      const routes = routesTo({ ...backend(), publicPorts: [8080] });
      await using plane = await start({ routes, lookup: () => Promise.resolve(answers.shift()) });
      expect(await answerTo(plane, helloFor("c.example.com"))).toEqual(alertBytes("unrecognized_name"));
      expect(await answerTo(plane, helloFor("a.example.com"))).toEqual(alertBytes("unrecognized_name"));
      expect(await answerTo(plane, helloFor("b.example.com"))).toEqual(alertBytes("unrecognized_name"));
    });

    it.each([
      ["terminated", ""],
      ["passed through", "s"],
    ])("P3: dials an instance only on the ports it has opened: %s", async (_, suffix) => {
      const seen: ConnectionReport[] = [];
      await using open = await startApp(
        (socket) => socket.once("data", () => socket.end("reached")),
        "127.0.0.2",
      );
      await using closed = await startApp(echo, "127.0.0.1");
      // Instances of an app may differ: one of each version, while it is upgraded.
      const older = [1, 2, 3].map((n) => ({
        ...backend("127.0.0.1", String(n).repeat(40)),
        publicPorts: [8090],
      }));
      const routes = routesTo(...older, { ...backend("127.0.0.2"), publicPorts: [8090, open.port] });
      await using plane = await start({ routes, onConnection: (report) => seen.push(report) });
      const refusal = alertBytes("unrecognized_name");
      for (const [id, port] of [
        [APP, closed.port],
        [INSTANCE, closed.port],
        ["1".repeat(40), open.port],
      ] as const) {
        expect(await answerTo(plane, helloFor(`${id}-${port}${suffix}.${BASE}`))).toEqual(refusal);
      }
      await expect.poll(() => seen.map(({ outcome }) => outcome)).toEqual(Array(3).fill("port_not_allowed"));
      expect(closed.sockets).toEqual([]);
      for (const id of [APP, INSTANCE]) {
        const name = `${id}-${open.port}${suffix}.${BASE}`;
        if (suffix === "s") expect(String(await answerTo(plane, helloFor(name)))).toBe("reached");
        else {
          const client = await connectThrough(plane, name);
          client.write("hello");
          expect(String(await readAll(client))).toBe("reached");
          client.destroy();
        }
      }
    });

    it.each([
      ["fails", () => Promise.reject(new Error("no DNS"))],
      ["never answers", () => new Promise<undefined>(() => {})],
    ])("refuses a custom domain when the lookup %s", async (_, lookup) => {
      await using plane = await start({ lookup, limits: { lookupMs: 200 } });
      expect(await answerTo(plane, helloFor("a.example.com"))).toEqual(alertBytes("unrecognized_name"));
    });
  });
}
