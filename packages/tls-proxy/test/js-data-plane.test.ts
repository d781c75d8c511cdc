import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { createJsDataPlane } from "../src/index.js";
import { APP, BASE, backend, connectThrough, listenHere, routesTo, startApp, wildcard } from "./apps.js";
import { dataPlaneContract } from "./contract.js";
import { checkCertificate } from "../src/index.js";

describe("js data plane", () => {
  dataPlaneContract(createJsDataPlane);

  it("lets a test lead connections elsewhere", async () => {
    await using app = await startApp((socket) => void socket.end("from elsewhere"));
    const dialled: unknown[] = [];
    await using plane = await createJsDataPlane({
      listeners: listenHere,
      routes: routesTo(backend("10.0.3.2")),
      certificate: checkCertificate({ ...wildcard, baseDomains: [BASE], now: new Date() }),
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
