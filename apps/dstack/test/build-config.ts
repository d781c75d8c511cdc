import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const EXAMPLE = fileURLToPath(new URL("../../../scripts/build-config.example.sh", import.meta.url));

/** The variables of `build-config.sh` as it is first written, as bash would have them in `/build`. */
export async function exampleEnv(): Promise<Record<string, string>> {
  const lines = (await readFile(EXAMPLE, "utf8")).matchAll(/^([A-Z_]+)=(.*)$/gm);
  const env: Record<string, string> = { PWD: "/build" };
  for (const [, name = "", value = ""] of lines) {
    env[name] = value.replaceAll(/\$\{?(\w+)\}?/g, (_, variable: string) => env[variable] ?? "");
  }
  delete env["PWD"];
  return env;
}
