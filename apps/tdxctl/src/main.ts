import { createProgram, run } from "./program.js";
import { systemContext } from "./system-context.js";

process.exitCode = await run(createProgram(systemContext), process.argv);
