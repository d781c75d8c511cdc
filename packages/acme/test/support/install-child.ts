import { WorkDirectory } from "../../src/store/work-directory.js";

// Installs the certificate and key given in the environment.
const { WORK_DIR = "", CERT = "", KEY = "" } = process.env;
const dir = await WorkDirectory.open(WORK_DIR);
await dir.tidy();
await dir.install(CERT, KEY, Date.now());
