// The simulated platform's service, which only the development image contains. NOT hardware.
// usage: simulator <file with the seed and the launch measurements> [socket]
import { InputError, readRegularFile } from "@dstack/core";
import { createLogger, runDaemon } from "@dstack/daemon";
import { startSimulatorService } from "@dstack/tdx-attest";
import { parseSimulatorFile } from "./simulator-file.js";

const MAX_FILE_BYTES = 1024 * 1024;

const log = createLogger({ name: "simulator" });

void runDaemon("simulator", async () => {
  const [file, socketPath] = process.argv.slice(2);
  if (file === undefined) throw new InputError("usage: simulator <file> [socket]");
  const { seed, launch } = parseSimulatorFile(await readRegularFile(file, MAX_FILE_BYTES));
  const service = await startSimulatorService({ seed, launch, socketPath });
  log.warn(
    { socket: service.socketPath, root: service.rootSha256 },
    "quotes of this machine are simulated and prove nothing about hardware",
  );
  return service;
});
