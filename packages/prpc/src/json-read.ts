import type { DescField, DescMessage, MessageShape } from "@bufbuild/protobuf";
import { ScalarType, create } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { ReflectMessage } from "@bufbuild/protobuf/reflect";
import { InputError, fromHex } from "@dstack/core";

/** No message of ours nests deeper; a request that does is refused before it costs stack. */
const MAX_DEPTH = 32;

type Range = readonly [min: bigint, max: bigint];
const INT32: Range = [-(2n ** 31n), 2n ** 31n - 1n];
const UINT32: Range = [0n, 2n ** 32n - 1n];
const INT64: Range = [-(2n ** 63n), 2n ** 63n - 1n];
const UINT64: Range = [0n, 2n ** 64n - 1n];

function integer(value: unknown, name: string, [min, max]: Range): bigint {
  const isNumber = typeof value === "number" && Number.isSafeInteger(value);
  const isText = typeof value === "string" && /^-?[0-9]{1,20}$/.test(value);
  if (!isNumber && !isText) throw new InputError(`${name} must be an integer`);
  const number = BigInt(value);
  if (number < min || number > max) throw new InputError(`${name} must be between ${min} and ${max}`);
  return number;
}

function scalar(type: ScalarType | undefined, value: unknown, name: string): unknown {
  switch (type) {
    case ScalarType.STRING:
      if (typeof value !== "string") throw new InputError(`${name} must be a string`);
      // Half of a surrogate pair has no UTF-8: two different texts would become the same bytes.
      if (/\p{Cs}/u.test(value)) throw new InputError(`${name} must be Unicode text`);
      return value;
    case ScalarType.BOOL:
      if (typeof value !== "boolean") throw new InputError(`${name} must be true or false`);
      return value;
    case ScalarType.BYTES:
      if (typeof value !== "string") throw new InputError(`${name} must be a string of hex digits`);
      return fromHex(value, name);
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return Number(integer(value, name, INT32));
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return Number(integer(value, name, UINT32));
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return integer(value, name, INT64);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return integer(value, name, UINT64);
    default:
      throw new InputError(`${name} cannot be given in JSON`);
  }
}

function readField(
  message: ReflectMessage,
  field: DescField,
  value: unknown,
  path: string,
  depth: number,
): void {
  if (field.fieldKind === "message") {
    message.set(field, readMessage(field.message, value, path, depth + 1));
    return;
  }
  if (field.fieldKind === "list") {
    if (!Array.isArray(value)) throw new InputError(`${path} must be a list`);
    const list = message.get(field);
    for (const [index, item] of value.entries()) {
      const name = `${path}[${index}]`;
      list.add(
        field.message === undefined
          ? scalar(field.scalar, item, name)
          : readMessage(field.message, item, name, depth + 1),
      );
    }
    return;
  }
  message.set(field, scalar(field.scalar, value, path));
}

function readMessage(schema: DescMessage, value: unknown, path: string, depth: number): ReflectMessage {
  if (depth > MAX_DEPTH) throw new InputError(`${path} is nested too deeply`);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InputError(`${path === "" ? "request" : path} must be a JSON object`);
  }
  const message = reflect(schema, create(schema));
  for (const field of schema.fields) {
    // Own properties only: "constructor" and the like are inherited by every object.
    if (!Object.hasOwn(value, field.name)) continue;
    const given: unknown = (value as Record<string, unknown>)[field.name];
    if (given === null) continue;
    readField(message, field, given, path === "" ? field.name : `${path}.${field.name}`, depth);
  }
  return message;
}

/**
 * Reads a message from the JSON dialect of wire.md, given as text or as a parsed value. Unknown fields are ignored,
 * absent and `null` ones take their defaults, empty text is the empty message.
 * @throws {InputError} not JSON, not an object, or a field has the wrong type; the message names the field
 */
export function fromJson<D extends DescMessage>(schema: D, json: unknown): MessageShape<D> {
  let value = json;
  if (typeof json === "string") {
    try {
      value = json.trim() === "" ? {} : JSON.parse(json);
    } catch (err) {
      throw new InputError("request body is not valid JSON", { cause: err });
    }
  }
  return readMessage(schema, value ?? {}, "", 0).message as MessageShape<D>;
}

function queryScalar(type: ScalarType | undefined, text: string, name: string): unknown {
  if (type !== ScalarType.BOOL) return scalar(type, text, name);
  if (text === "" || text === "true" || text === "1") return true;
  if (text === "false" || text === "0") return false;
  throw new InputError(`${name} must be true or false`);
}

/**
 * Reads a message from the parameters of a GET call: scalar fields by name, a repeated scalar field by repeating its
 * name. Unknown parameters are ignored.
 * @throws {InputError} a value has the wrong type, a field is given twice, or the field is not a scalar
 */
export function fromQuery<D extends DescMessage>(schema: D, query: URLSearchParams): MessageShape<D> {
  const message = reflect(schema, create(schema));
  for (const field of schema.fields) {
    const values = query.getAll(field.name);
    const [first] = values;
    if (first === undefined) continue;
    if (field.scalar === undefined || field.fieldKind === "map") {
      throw new InputError(`${field.name} cannot be given as a query parameter`);
    }
    if (field.fieldKind === "list") {
      const list = message.get(field);
      for (const value of values) list.add(queryScalar(field.scalar, value, field.name));
      continue;
    }
    if (values.length > 1) throw new InputError(`${field.name} is given more than once`);
    message.set(field, queryScalar(field.scalar, first, field.name));
  }
  return message.message as MessageShape<D>;
}
