import { runDaemon } from "@dstack/daemon";
import { readSettings } from "./settings/settings.js";
import { startIngress } from "./service.js";

await runDaemon("ingress", async (signal) => startIngress(readSettings(process.env), { signal }));
