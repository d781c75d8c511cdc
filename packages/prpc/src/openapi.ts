import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import type { JsonValue } from "./json-write.js";
import type { MethodImpl, ServiceImpl } from "./service.js";

export interface OpenApiInfo {
  title?: string;
  version?: string;
  /** Path before `/<Service>.<Method>`; `/prpc` unless given. */
  prefix?: string;
}

type JsonObject = { [key: string]: JsonValue };

const SCALARS: Partial<Record<ScalarType, JsonObject>> = {
  [ScalarType.STRING]: { type: "string" },
  [ScalarType.BOOL]: { type: "boolean" },
  [ScalarType.BYTES]: { type: "string", pattern: "^(0x)?([0-9a-fA-F]{2})*$", description: "hex" },
  [ScalarType.INT32]: { type: "integer", format: "int32" },
  [ScalarType.UINT32]: { type: "integer", format: "int64", minimum: 0, maximum: 4294967295 },
  [ScalarType.INT64]: { type: "integer", format: "int64" },
  [ScalarType.UINT64]: { type: "integer", format: "int64", minimum: 0 },
};

function reference(schema: DescMessage): JsonObject {
  return { $ref: `#/components/schemas/${schema.typeName}` };
}

function fieldSchema(field: DescField): JsonObject {
  const one =
    field.message !== undefined
      ? reference(field.message)
      : ((field.scalar === undefined ? undefined : SCALARS[field.scalar]) ?? {
          type: "integer",
          format: "int64",
        });
  return field.fieldKind === "list" ? { type: "array", items: one } : one;
}

function collect(schema: DescMessage, into: JsonObject): void {
  if (Object.hasOwn(into, schema.typeName)) return;
  into[schema.typeName] = {
    type: "object",
    properties: Object.fromEntries(schema.fields.map((field) => [field.name, fieldSchema(field)])),
  };
  for (const field of schema.fields) if (field.message !== undefined) collect(field.message, into);
}

function content(schema: DescMessage): JsonObject {
  return {
    "application/json": { schema: reference(schema) },
    "application/octet-stream": {
      schema: { type: "string", format: "binary", description: `protobuf ${schema.typeName}` },
    },
  };
}

function operation(
  service: string,
  method: MethodImpl<never>,
  name: string,
  verb: "get" | "post",
): JsonObject {
  const { input, output } = method.desc;
  const parameters = input.fields
    .filter((field) => field.scalar !== undefined)
    .map((field) => ({ name: field.name, in: "query", schema: fieldSchema(field) }));
  return {
    operationId: `${service}.${name}${verb === "get" ? ".get" : ""}`,
    tags: [service],
    ...(name === method.desc.name ? {} : { description: `Alias of ${method.desc.name}.`, deprecated: true }),
    ...(verb === "get" ? { parameters } : { requestBody: { content: content(input) } }),
    responses: {
      "200": {
        description: output.name,
        content: verb === "get" ? { "application/json": { schema: reference(output) } } : content(output),
      },
      default: { description: "the call failed", content: { "application/json": { schema: ERROR } } },
    },
  };
}

const ERROR: JsonObject = { type: "object", properties: { error: { type: "string" } }, required: ["error"] };

/** The OpenAPI 3.0 document of services, from the same descriptors that route and encode their calls. */
export function openApiDocument(services: readonly ServiceImpl<never>[], info: OpenApiInfo = {}): JsonObject {
  const paths: JsonObject = {};
  const schemas: JsonObject = {};
  for (const { desc, methods } of services) {
    for (const [name, method] of methods) {
      collect(method.desc.input, schemas);
      collect(method.desc.output, schemas);
      paths[`${info.prefix ?? "/prpc"}/${desc.name}.${name}`] = {
        get: operation(desc.name, method, name, "get"),
        post: operation(desc.name, method, name, "post"),
      };
    }
  }
  const title = info.title ?? services.map(({ desc }) => desc.name).join(", ");
  return { openapi: "3.0.3", info: { title, version: info.version ?? "1" }, paths, components: { schemas } };
}
