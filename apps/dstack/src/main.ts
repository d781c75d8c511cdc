import { errorCode } from "@dstack/core";
import { CommanderError } from "commander";
import { CliError, causeOf, explain } from "./output.js";
import { createProgram } from "./program.js";

// `dstack logs … | head`: a reader that has seen enough is no failure.
process.stdout.on("error", (err) => {
  if (errorCode(err) === "EPIPE") process.exit();
  throw err;
});

try {
  await createProgram().parseAsync();
} catch (thrown) {
  const err = causeOf(thrown);
  if (err instanceof CommanderError) {
    // Help and version end with 0; commander has printed what was wrong already.
    process.exitCode = err.exitCode === 0 ? 0 : 2;
  } else {
    process.stderr.write(`dstack: ${explain(err)}\n`);
    process.exitCode = err instanceof CliError ? err.exitCode : 1;
  }
}
