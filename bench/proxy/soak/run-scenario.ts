// Runs one scenario and writes what it has shown to descriptor 3, as JSON. Arguments: its name, minutes.
import { writeSync } from "node:fs";
import { errorMessage } from "../../../packages/core/src/index.js";
import type { Finding } from "./scenario.js";
import { SCENARIOS } from "./scenarios.js";

const [name = "", minutes = "0"] = process.argv.slice(2);
const finding = await SCENARIOS.get(name)
  ?.run(Number(minutes))
  .catch((err: unknown): Finding => ({ passed: false, facts: errorMessage(err) }));
writeSync(3, JSON.stringify(finding));
