import { create } from "@bufbuild/protobuf";
import { StructSchema } from "@bufbuild/protobuf/wkt";
import { InputError } from "@dstack/core";
import { dstackGuest, tappd, teepod, tproxy } from "@dstack/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { asciiJsonText, fromJson, toJson } from "../src/index.js";
import { assertJsonDialect } from "../src/json-write.js";

describe("E11: JSON requests of an attacker", () => {
  const path = (json: string): string => fromJson(tappd.DeriveKeyRequestSchema, json).path;

  it("E11: text that has no UTF-8 is refused, so that no two paths become one", () => {
    for (const half of ["\\ud800", "\\udc00", "a\\udfffb"]) {
      expect(() => path(`{"path":"${half}"}`)).toThrow(InputError);
    }
    expect(path('{"path":"\\ud83d\\udd11"}')).toBe("🔑");
    expect(() => fromJson(tappd.DeriveKeyRequestSchema, '{"alt_names":["\\ud800"]}')).toThrow(
      /alt_names\[0\]/,
    );
  });

  it("E11: prototype keys are no fields, and depth costs no stack", () => {
    expect(path('{"__proto__":{"path":"evil"},"constructor":{"path":"evil"}}')).toBe("");
    expect(path(`{"x":${"[".repeat(400_000)}${"]".repeat(400_000)},"path":"a"}`)).toBe("a");
    expect(() => path("[".repeat(900_000))).toThrow(InputError);
  });
});

describe("wire.md: JSON answers", () => {
  it("have the names of the .proto file and every field that is not optional", () => {
    expect(toJson(teepod.VmInfoSchema, create(teepod.VmInfoSchema))).toEqual({
      id: "",
      name: "",
      status: "",
      etag: "",
      uptime: "",
      app_id: "",
      configuration: null,
      app_port: 0,
    });
    expect(
      toJson(teepod.VmConfigurationSchema, create(teepod.VmConfigurationSchema, { diskSize: 20 })),
    ).toEqual({
      name: "",
      image: "",
      compose_file: "",
      vcpu: 0,
      memory: 0,
      disk_size: 20,
      ports: [],
      encrypted_env: "",
    });
    expect(toJson(teepod.StatusResponseSchema, create(teepod.StatusResponseSchema))).toEqual({
      vms: [],
      port_mapping_enabled: false,
    });
  });

  it("have optional fields where they are set, also to their default", () => {
    const info = create(teepod.VmInfoSchema, { appUrl: "", configuration: { appId: "a" } });
    expect(toJson(teepod.VmInfoSchema, info)).toMatchObject({ app_url: "", configuration: { app_id: "a" } });
  });

  it("have bytes as lower-case hex, with 0x only for the oldest clients", () => {
    const answer = create(tproxy.AcmeInfoResponseSchema, {
      histKeys: [Uint8Array.of(0xab, 1), new Uint8Array()],
    });
    expect(toJson(tproxy.AcmeInfoResponseSchema, answer)).toMatchObject({ hist_keys: ["ab01", ""] });
    expect(toJson(tproxy.AcmeInfoResponseSchema, answer, { hexPrefix: "0x" })).toMatchObject({
      hist_keys: ["0xab01", "0x"],
    });
  });

  it("have 64-bit integers as numbers, and never a rounded one", () => {
    const host = create(tproxy.HostInfoSchema, { latestHandshake: 1_733_000_000n });
    expect(toJson(tproxy.HostInfoSchema, host)).toMatchObject({ latest_handshake: 1_733_000_000 });
    const container = create(tappd.ContainerSchema, { created: -5n });
    expect(toJson(tappd.ContainerSchema, container)).toMatchObject({ created: -5 });
    const tooBig = create(tproxy.HostInfoSchema, { latestHandshake: 2n ** 53n });
    expect(() => toJson(tproxy.HostInfoSchema, tooBig)).toThrow(RangeError);
  });

  it("are pure ASCII on guest sockets and read back to the same text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const json = asciiJsonText({ text });
        expect(json).toMatch(/^[\x20-\x7e]*$/);
        expect(JSON.parse(json)).toEqual({ text });
      }),
    );
    expect(asciiJsonText("ü🔑\u007f")).toBe('"\\u00fc\\ud83d\\udd11\\u007f"');
  });
});

describe("wire.md: JSON requests", () => {
  const read = (json: unknown) => fromJson(teepod.VmConfigurationSchema, json);

  it("take fields by the names of the .proto file and ignore what they do not know", () => {
    const text =
      '{"name":"a","disk_size":20,"diskSize":9,"nope":{"x":[1]},"__proto__":{"image":"evil"},"constructor":1}';
    expect(read(text)).toMatchObject({ name: "a", diskSize: 20, image: "" });
  });

  it("take proto3 defaults for absent and null fields", () => {
    expect(read({ vcpu: null, ports: null, name: null })).toEqual(create(teepod.VmConfigurationSchema));
    expect(read("null")).toEqual(create(teepod.VmConfigurationSchema));
    expect(read("")).toEqual(create(teepod.VmConfigurationSchema));
    expect(fromJson(teepod.ResizeVmRequestSchema, { id: "a" }).vcpu).toBeUndefined();
    expect(fromJson(teepod.ResizeVmRequestSchema, { id: "a", vcpu: 0 }).vcpu).toBe(0);
  });

  it("take bytes as hex in either case, with or without 0x", () => {
    const bytes = Uint8Array.of(0xab, 0xcd);
    for (const hex of ["abcd", "ABCD", "0xabcd", "0xAbCd"])
      expect(read({ encrypted_env: hex }).encryptedEnv).toEqual(bytes);
    expect(read({ encrypted_env: "" }).encryptedEnv).toEqual(new Uint8Array());
    for (const wrong of ["abc", "zz", "q80=", 7, ["ab"]])
      expect(() => read({ encrypted_env: wrong })).toThrow(InputError);
  });

  it("take integers as numbers or decimal text within the field's range", () => {
    const time = (value: unknown) =>
      fromJson(dstackGuest.GetTlsKeyRequestSchema, { not_before: value }).notBefore;
    expect(time(1_733_000_000)).toBe(1_733_000_000n);
    expect(time("18446744073709551615")).toBe(2n ** 64n - 1n);
    for (const wrong of [-1, 1.5, "1e3", "0x10", "", "18446744073709551616", true, 2 ** 53]) {
      expect(() => time(wrong), String(wrong)).toThrow(InputError);
    }
    expect(() => read({ vcpu: 2 ** 32 })).toThrow("vcpu must be between 0 and 4294967295");
  });

  it("name the field that is wrong, down to the element", () => {
    expect(() => read({ ports: [{ vm_port: 80 }, { vm_port: "x" }] })).toThrow(
      "ports[1].vm_port must be an integer",
    );
    expect(() => read({ ports: {} })).toThrow("ports must be a list");
    expect(() => read({ ports: ["80"] })).toThrow("ports[0] must be a JSON object");
    expect(() => read({ ports: [null] })).toThrow("ports[0] must be a JSON object");
    expect(() => read({ name: 1 })).toThrow("name must be a string");
    expect(() => fromJson(dstackGuest.GetTlsKeyRequestSchema, { usage_ra_tls: "true" })).toThrow(
      "usage_ra_tls must be true or false",
    );
  });

  it("survive any JSON value: an answer or an InputError", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          read(text);
        } catch (err) {
          expect(err).toBeInstanceOf(InputError);
        }
      }),
    );
  });

  it("read back what was written", () => {
    const message = create(teepod.VmConfigurationSchema, {
      name: "ü",
      vcpu: 4,
      ports: [{ protocol: "tcp", hostPort: 1, vmPort: 2 }],
      encryptedEnv: Uint8Array.of(0, 255),
      appId: "",
    });
    expect(read(JSON.stringify(toJson(teepod.VmConfigurationSchema, message)))).toEqual(message);
  });
});

it("a message with maps, enums or floats is refused when a service is implemented", () => {
  expect(() => assertJsonDialect(StructSchema)).toThrow("not part of the JSON dialect");
});
