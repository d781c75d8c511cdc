import { hex, sha256 } from "@dstack/core";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { packImage, pushImage } from "../src/local/example-image.js";

const tar = new Uint8Array(1024).fill(7);

describe("the example's container image", () => {
  it("has the same digest each time, and a manifest that names its parts by digest", () => {
    const image = packImage(tar, ["/hello"]);
    expect(packImage(tar, ["/hello"]).digest).toBe(image.digest);
    expect(packImage(tar, ["/other"]).digest).not.toBe(image.digest);
    const manifest: unknown = JSON.parse(new TextDecoder().decode(image.manifest));
    expect(manifest).toMatchObject({
      config: { digest: `sha256:${hex(sha256(image.config))}`, size: image.config.length },
      layers: [{ digest: `sha256:${hex(sha256(image.layer))}`, size: image.layer.length }],
    });
    expect(new Uint8Array(gunzipSync(image.layer))).toEqual(tar);
  });

  it("says with which status a registry refused", async () => {
    const server = createServer((request, response) => {
      response.statusCode = request.method === "HEAD" ? 404 : 507;
      response.end();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    try {
      const push = pushImage(
        `http://127.0.0.1:${port}`,
        "dstack/hello",
        packImage(tar, []),
        AbortSignal.timeout(5000),
      );
      await expect(push).rejects.toThrow("507");
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });
});
