import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { checkCertificate, createJsDataPlane } from "../src/index.js";
import type { ConnectionReport } from "../src/index.js";
import { APP, BASE, backend, connectThrough, listenHere, routesTo, startApp, wildcard } from "./apps.js";
import { dataPlaneContract } from "./contract.js";

describe("js data plane", () => {
  dataPlaneContract(createJsDataPlane);

  it("reports an error of its own instead of hiding it, and goes on", async () => {
    const seen: ConnectionReport[] = [];
    const broken = {
      ...routesTo(backend()),
      get allowedPorts(): never {
        throw new Error("broken table");
      },
    };
    await using plane = await createJsDataPlane({
      listeners: listenHere,
      routes: broken,
      onConnection: (report) => seen.push(report),
    });
    await expect(connectThrough(plane, `${APP}-8080.${BASE}`)).rejects.toThrow();
    await expect.poll(() => seen[0]?.outcome).toBe("internal_error");
    expect(String(seen[0]?.error)).toContain("broken table");
    plane.setRoutes(routesTo());
    await expect(connectThrough(plane, `${APP}-8080.${BASE}`)).rejects.toThrow(/unrecognized name/);
  });

  it("lets a test lead connections elsewhere", async () => {
    await using app = await startApp((socket) => void socket.end("from elsewhere"));
    const dialled: unknown[] = [];
    await using plane = await createJsDataPlane({
      listeners: listenHere,
      routes: routesTo(backend("10.0.3.2")),
      certificates: [checkCertificate({ ...wildcard, baseDomains: [BASE], now: new Date() })],
      dial: (address) => {
        dialled.push(address);
        return connect({ port: app.port, host: "127.0.0.1", allowHalfOpen: true });
      },
    });
    const client = await connectThrough(plane, `${APP}-8080.${BASE}`);
    const chunks: string[] = [];
    for await (const chunk of client) chunks.push(String(chunk));
    expect(chunks.join("")).toBe("from elsewhere");
    expect(dialled).toEqual([{ host: "10.0.3.2", port: 8080 }]);
  });
});
