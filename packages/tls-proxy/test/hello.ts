import { randomBytes } from "node:crypto";

export interface HelloShape {
  readonly serverName?: string | Uint8Array;
  readonly alpn?: readonly string[];
  /** Bytes of padding extension in front of the name. */
  readonly padding?: number;
  /** Further extensions in front of the name: type and content. */
  readonly before?: readonly (readonly [number, Uint8Array])[];
  readonly after?: readonly (readonly [number, Uint8Array])[];
}

const u8 = (n: number): Buffer => Buffer.from([n]);
const u16 = (n: number): Buffer => Buffer.from([n >> 8, n & 255]);
const vector = (size: 1 | 2, content: Uint8Array): Buffer =>
  Buffer.concat([size === 1 ? u8(content.length) : u16(content.length), content]);
const extension = (type: number, content: Uint8Array): Buffer =>
  Buffer.concat([u16(type), vector(2, content)]);

export function serverNameExtension(...names: (string | Uint8Array)[]): Buffer {
  const entries = names.map((name) =>
    Buffer.concat([u8(0), vector(2, Buffer.from(name as string, "latin1"))]),
  );
  return vector(2, Buffer.concat(entries));
}

/** A ClientHello message, without record header. */
export function helloMessage(shape: HelloShape = {}): Buffer {
  const extensions = [
    ...(shape.padding === undefined ? [] : [extension(21, Buffer.alloc(shape.padding))]),
    ...(shape.before ?? []).map(([type, content]) => extension(type, content)),
    ...(shape.serverName === undefined ? [] : [extension(0, serverNameExtension(shape.serverName))]),
    ...(shape.alpn === undefined
      ? []
      : [extension(16, vector(2, Buffer.concat(shape.alpn.map((p) => vector(1, Buffer.from(p))))))]),
    ...(shape.after ?? []).map(([type, content]) => extension(type, content)),
  ];
  return messageOf(
    Buffer.concat([
      u16(0x0303),
      randomBytes(32),
      vector(1, randomBytes(32)),
      vector(2, Buffer.from("130113021303", "hex")),
      vector(1, u8(0)),
      vector(2, Buffer.concat(extensions)),
    ]),
  );
}

export function messageOf(body: Uint8Array, type = 1): Buffer {
  return Buffer.concat([u8(type), u8(body.length >> 16), u16(body.length & 0xffff), body]);
}

/** Puts a handshake message into records of at most `fragment` bytes. */
export function records(message: Uint8Array, fragment = 2 ** 14): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += fragment) {
    parts.push(Buffer.from([22, 3, 1]), vector(2, message.subarray(at, at + fragment)));
  }
  return Buffer.concat(parts);
}
