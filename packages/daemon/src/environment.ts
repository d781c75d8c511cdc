import { parse } from "smol-toml";

/** A value as TOML would read it (`9080`, `true`, `["a"]`, `"quoted"`); text that is no TOML value is taken as it is. */
function readValue(text: string): unknown {
  if (text.includes("\n")) return text;
  try {
    return parse(`value = ${text}`)["value"];
  } catch {
    return text;
  }
}

/**
 * The configuration tree in environment variables: `KMS_PORT=1` gives `{port: 1}`, `KMS_CORE__ROOT_CA_KEY=k` gives
 * `{core: {root_ca_key: "k"}}`. A text that looks like a number or a boolean needs quotes to stay a text.
 */
export function environmentTree(
  prefix: string,
  values: Readonly<Record<string, string | undefined>>,
): Record<string, unknown> {
  const tree: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const [name, text] of Object.entries(values)) {
    if (text === undefined || !name.startsWith(`${prefix}_`)) continue;
    const path = name
      .slice(prefix.length + 1)
      .toLowerCase()
      .split("__");
    const leaf = path.pop();
    if (leaf === undefined) continue;
    let node = tree;
    for (const part of path) {
      node[part] ??= Object.create(null) as Record<string, unknown>;
      node = node[part] as Record<string, unknown>;
    }
    node[leaf] = readValue(text);
  }
  return tree;
}
