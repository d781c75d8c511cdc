import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import {
  APP,
  BASE,
  backend,
  closeOf,
  connectTcp,
  connectThrough,
  readAll,
  realHello,
  routesTo,
  sessionOf,
  startApp,
  wildcard,
} from "../apps.js";
import type { DataPlane } from "../../src/index.js";
import { closedPort } from "../../../core/test/support/ports.js";
import { makeCertificate } from "../certificates.js";
import { records } from "../hello.js";
import { certificate, checked, echo, answerAfterEnd, expectWholeExchange, resuming } from "./common.js";
import type { Start } from "./common.js";

/** What is waited for comes in milliseconds, and on a machine that does much else in seconds. */
const PATIENCE = { timeout: 60_000, interval: 50 };

/** TLS that ends at the proxy. */
export function terminationContract(start: Start): void {
  describe("termination", () => {
    it.each(["TLSv1.2", "TLSv1.3"] as const)(
      "%s: plain bytes to the app, half-close both ways",
      async (version) => {
        await using app = await startApp(answerAfterEnd);
        await using plane = await start();
        const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`, {
          minVersion: version,
          maxVersion: version,
        });
        expect(client.getProtocol()).toBe(version);
        await expectWholeExchange(client);
      },
    );

    it("P1: takes a ClientHello in pieces, in two records, with its name in capitals", async () => {
      await using app = await startApp(answerAfterEnd);
      await using plane = await start();
      for (const cut of [
        (hello: Buffer) => [hello.subarray(0, 1), hello.subarray(1, 50), hello.subarray(50)],
        (hello: Buffer) => [records(hello.subarray(5), 77)],
      ]) {
        await expectWholeExchange(
          await connectThrough(plane, `${APP.toUpperCase()}-${app.port}.APP.Example.org`, { cut }),
        );
      }
    });

    it("refuses TLS 1.1", async () => {
      await using plane = await start();
      const attempt = connectThrough(plane, `${APP}-8080.${BASE}`, {
        minVersion: "TLSv1.1",
        maxVersion: "TLSv1.1",
        ciphers: "DEFAULT@SECLEVEL=0",
      });
      await expect(attempt).rejects.toThrow(/protocol version/);
    });

    it("P3: agrees on http/1.1, and where the name says g on h2, with those that speak nothing else", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const agreed = async (suffix: string, ALPNProtocols: string[]): Promise<string | false | null> => {
        const client = await connectThrough(plane, `${APP}-${app.port}${suffix}.${BASE}`, { ALPNProtocols });
        client.destroy();
        return client.alpnProtocol;
      };
      expect(await agreed("", ["h2", "http/1.1"])).toBe("http/1.1");
      expect(await agreed("", ["h2"])).toBe(false);
      expect(await agreed("g", ["h2"])).toBe("h2");
      expect(await agreed("g", ["grpc-exp", "h2"])).toBe("h2");
      expect(await agreed("g", [])).toBe(false);
      // A browser: it would send requests for other apps along, as the certificate is theirs, too.
      await expect(agreed("g", ["h2", "http/1.1"])).rejects.toThrow(/no application protocol/);
      await expect(agreed("g", ["http/1.1"])).rejects.toThrow(/no application protocol/);
    });

    it.each(["TLSv1.2", "TLSv1.3"] as const)("%s: resumes sessions", async (version) => {
      await using app = await startApp(echo);
      await using plane = await start();
      const options = { minVersion: version, maxVersion: version };
      const name = `${APP}-${app.port}.${BASE}`;
      const client = await connectThrough(plane, name, options);
      await expect.poll(() => sessionOf(client)).toBeDefined();
      client.destroy();
      const again = await connectThrough(plane, name, {
        ...options,
        ...resuming(client),
      });
      expect(again.isSessionReused()).toBe(true);
      again.write("still routed");
      expect(String((await once(again, "data"))[0])).toBe("still routed");
      again.destroy();
    });

    it("a certificate taken anew, the same too, brings new keys for sessions", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const name = `${APP}-${app.port}.${BASE}`;
      const client = await connectThrough(plane, name);
      await expect.poll(() => sessionOf(client)).toBeDefined();
      plane.setCertificates([certificate]);
      const isReused = async (): Promise<boolean> => {
        const again = await connectThrough(plane, name, resuming(client));
        const reused = again.isSessionReused();
        again.destroy();
        return reused;
      };
      await expect.poll(isReused).toBe(false);
      client.destroy();
    });

    it("P3: dials nobody before the handshake is done", async () => {
      await using app = await startApp(echo);
      await using plane = await start({ limits: { handshakeMs: 300 } });
      const socket = await connectTcp(plane);
      const began = performance.now();
      socket.write(await realHello(`${APP}-${app.port}.${BASE}`));
      await closeOf(socket);
      expect(performance.now() - began).toBeGreaterThan(290);
      expect(app.sockets).toEqual([]);
    });

    it("P6: serves a new certificate from now on and leaves open connections alone", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const name = `${APP}-${app.port}.${BASE}`;
      const old = await connectThrough(plane, name);
      const renewed = makeCertificate(`*.${BASE}`);
      plane.setCertificates([checked(renewed)]);
      // The engine takes it a moment later.
      const authorized = async (): Promise<boolean> => {
        const client = await connectThrough(plane, name, { ca: renewed.certPem });
        client.destroy();
        return client.authorized;
      };
      await expect.poll(authorized).toBe(true);
      old.write("still here");
      expect(String((await once(old, "data"))[0])).toBe("still here");
      old.destroy();
    });

    describe("several certificates", () => {
      const net = makeCertificate("*.APP.example.net", "app.example.net");
      const own = makeCertificate(`${APP}.${BASE}`);
      const baseDomains = [BASE, "app.example.net"];
      const certificates = [certificate, checked(net, ...baseDomains), checked(own)];
      const ca = [wildcard.certPem, net.certPem, own.certPem];
      const keyOf = ({ certPem }: typeof wildcard) => new X509Certificate(certPem).fingerprint256;
      const shownTo = async (
        plane: DataPlane,
        name: string,
        trusted: string | string[] = ca,
      ): Promise<string> => {
        const client = await connectThrough(plane, name, { ca: trusted });
        const { fingerprint256 } = client.getPeerCertificate();
        client.destroy();
        return fingerprint256;
      };
      const routes = { ...routesTo(backend()), baseDomains, allowedPorts: [{ from: 1, to: 65535 }] };

      it("P6: shows each name its own, a name itself before its parent's wildcard", async () => {
        await using plane = await start({ routes, certificates });
        expect(await shownTo(plane, `${APP}-81.${BASE}`)).toBe(keyOf(wildcard));
        expect(await shownTo(plane, `${APP}-81.app.example.net`)).toBe(keyOf(net));
        expect(await shownTo(plane, `${APP.toUpperCase()}-81.App.Example.NET`)).toBe(keyOf(net));
        expect(await shownTo(plane, `${APP}.${BASE}`)).toBe(keyOf(own));
        expect(await shownTo(plane, `${APP}.app.example.net`)).toBe(keyOf(net));
      });

      it("P6: changes one and leaves the other; a name without any is refused", async () => {
        await using plane = await start({ routes, certificates });
        const renewed = makeCertificate("*.app.example.net");
        plane.setCertificates([certificate, checked(renewed, ...baseDomains)]);
        const name = `${APP}-81.app.example.net`;
        await expect
          .poll(() => shownTo(plane, name, renewed.certPem).catch(String), PATIENCE)
          .toBe(keyOf(renewed));
        expect(await shownTo(plane, `${APP}-81.${BASE}`)).toBe(keyOf(wildcard));
        plane.setCertificates([certificate]);
        await expect
          .poll(() => shownTo(plane, name, renewed.certPem).catch(String), PATIENCE)
          .toMatch(/unrecognized name/);
        expect(await shownTo(plane, `${APP}-81.${BASE}`)).toBe(keyOf(wildcard));
      });

      it.each(["TLSv1.2", "TLSv1.3"] as const)(
        "%s: resumes no session under another certificate's name",
        async (version) => {
          await using app = await startApp(echo);
          await using plane = await start({ routes, certificates });
          const options = { ca, minVersion: version, maxVersion: version };
          const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`, options);
          await expect.poll(() => sessionOf(client), PATIENCE).toBeDefined();
          const again = await connectThrough(plane, `${APP}-${app.port}.app.example.net`, {
            ...options,
            ...resuming(client),
          });
          expect(again.isSessionReused()).toBe(false);
          expect(again.getPeerCertificate().fingerprint256).toBe(keyOf(net));
          again.destroy();
          client.destroy();
        },
      );
    });

    it("answers 502 to HTTP when the app's port is closed", async () => {
      await using closed = await closedPort();
      await using plane = await start();
      const client = await connectThrough(plane, `${APP}-${closed.port}.${BASE}`, {
        ALPNProtocols: ["http/1.1"],
      });
      expect(String(await readAll(client))).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    });
  });
}
