import type { DescField, DescMessage, MessageShape } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { ReflectList, ReflectMessage } from "@bufbuild/protobuf/reflect";
import { hex } from "@dstack/core";

export interface JsonOptions {
  /** Put before every `bytes` value; the oldest clients' form is `0x`. */
  hexPrefix?: "" | "0x";
}

export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue };

function scalarToJson(value: unknown, field: DescField, options: JsonOptions): JsonValue {
  if (value instanceof Uint8Array) return (options.hexPrefix ?? "") + hex(value);
  if (typeof value === "bigint") {
    const number = Number(value);
    if (!Number.isSafeInteger(number))
      throw new RangeError(`${field.name} does not fit a JSON number: ${value}`);
    return number;
  }
  if (typeof value === "string" || typeof value === "boolean" || typeof value === "number") return value;
  throw new TypeError(`${field.name} has no JSON form`);
}

function listToJson(list: ReflectList, field: DescField, options: JsonOptions): JsonValue[] {
  return Array.from(list, (item) =>
    field.message === undefined
      ? scalarToJson(item, field, options)
      : messageToJson(item as ReflectMessage, options),
  );
}

/** Whether the field may be left out of an answer: `optional` in the .proto file, or a member of a oneof. */
function isOptional(field: DescField): boolean {
  return field.proto.proto3Optional || field.oneof !== undefined;
}

function messageToJson(message: ReflectMessage, options: JsonOptions): { [key: string]: JsonValue } {
  const json: { [key: string]: JsonValue } = {};
  for (const field of message.fields) {
    const set = message.isSet(field);
    if (!set && isOptional(field)) continue;
    if (field.fieldKind === "message") {
      json[field.name] = set ? messageToJson(message.get(field), options) : null;
    } else if (field.fieldKind === "list") {
      json[field.name] = listToJson(message.get(field), field, options);
    } else {
      json[field.name] = scalarToJson(message.get(field), field, options);
    }
  }
  return json;
}

/**
 * A message in the JSON dialect of wire.md: field names as in the .proto file, `bytes` as lower-case hex, 64-bit
 * integers as numbers, every field present except `optional` ones that are not set (a message field that is not set
 * is `null`).
 * @throws {RangeError} a 64-bit integer beyond 2^53
 */
export function toJson<D extends DescMessage>(
  schema: D,
  message: MessageShape<D>,
  options: JsonOptions = {},
): { [key: string]: JsonValue } {
  return messageToJson(reflect(schema, message), options);
}

/** JSON text of pure ASCII: everything above 0x7E becomes `\u` escapes, for readers that count characters as bytes. */
export function asciiJsonText(value: JsonValue): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function assertMessage(schema: DescMessage, seen: Set<DescMessage>): void {
  if (seen.has(schema)) return;
  seen.add(schema);
  for (const field of schema.fields) {
    const isEnum = field.enum !== undefined;
    const isFloat = field.scalar === ScalarType.FLOAT || field.scalar === ScalarType.DOUBLE;
    if (field.fieldKind === "map" || isEnum || isFloat) {
      throw new TypeError(
        `${schema.typeName}.${field.name}: maps, enums and floats are not part of the JSON dialect`,
      );
    }
    if (field.message !== undefined) assertMessage(field.message, seen);
  }
}

/** @throws {TypeError} a field of the message, at any depth, has a kind for which the dialect defines no form */
export function assertJsonDialect(schema: DescMessage): void {
  assertMessage(schema, new Set());
}
