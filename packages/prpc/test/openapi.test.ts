import { describe, expect, it } from "vitest";
import { serve, testKms, testTappd, testTeepod } from "./listener.js";

interface Document {
  openapi: string;
  paths: Record<string, Record<"get" | "post", Record<string, unknown>>>;
  components: { schemas: Record<string, { properties: Record<string, unknown> }> };
}

describe("wire.md: OpenAPI", () => {
  it("describes every method and alias of the listener, from the same descriptors", async () => {
    await using server = await serve([testKms(), testTappd, testTeepod()]);
    const answer = await server.fetch("/openapi.json", { method: "GET" });
    expect(answer.status).toBe(200);
    const { openapi, paths, components } = answer.json as Document;
    expect(openapi).toMatch(/^3\./);
    expect(Object.keys(paths)).toEqual(
      expect.arrayContaining(["/prpc/KMS.GetAppKey", "/prpc/Tappd.TdxQuote", "/prpc/Teepod.CreateVM"]),
    );
    expect(paths["/prpc/Tappd.TdxQuote"]?.post["requestBody"]).toMatchObject({
      content: {
        "application/json": { schema: { $ref: "#/components/schemas/tappd.TdxQuoteRequest" } },
        "application/octet-stream": {},
      },
    });
    expect(paths["/prpc/Tappd.RawQuote"]?.get["parameters"]).toMatchObject([
      { name: "report_data", in: "query" },
    ]);
    expect(components.schemas["teepod.VmConfiguration"]?.properties).toMatchObject({
      disk_size: { type: "integer" },
      ports: { type: "array", items: { $ref: "#/components/schemas/teepod.PortMapping" } },
    });
  });

  it("has no reference that leads nowhere", async () => {
    await using server = await serve([testTeepod()]);
    const { text, json } = await server.fetch("/openapi.json", { method: "GET" });
    const references = Array.from(text.matchAll(/#\/components\/schemas\/([\w.]+)/g), ([, name]) => name);
    expect(references.length).toBeGreaterThan(10);
    expect(Object.keys((json as Document).components.schemas)).toEqual(expect.arrayContaining(references));
  });
});
