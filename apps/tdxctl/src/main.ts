import { createProgram, run } from "./program.js";
import { systemContext } from "./system-context.js";

void run(createProgram(systemContext), process.argv).then((code) => {
  process.exitCode = code;
});
