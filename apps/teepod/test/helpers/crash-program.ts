import { changesMade } from "./crash-point.js";
import { readFile } from "node:fs/promises";
import { FakeHypervisor } from "./fake-hypervisor.js";
import { COMPOSE, client, vmRequest } from "./testpod.js";
import { TeepodConfig, startTeepod } from "../../src/index.js";
import { silentLogger } from "@dstack/daemon";

// Lives through a VM's whole life and says what it was told is done: `crash-program <config.json>`.

const say = (text: string): void => void process.stdout.write(`${text}\n`);

const config = TeepodConfig.parse(JSON.parse(await readFile(process.argv[2] ?? "", "utf8")));
const pod = await startTeepod(config, { log: silentLogger(), hypervisor: new FakeHypervisor() });
const api = client(pod);
const { id } = await api.createVm(vmRequest({ encryptedEnv: new Uint8Array(80).fill(7) }));
say(`created ${id}`);
await api.stopVm({ id });
await api.upgradeApp({ id, composeFile: COMPOSE.replace("image: hello", "image: hello:2") });
say("upgraded");
await api.resizeVm({ id, diskSize: 2 });
say("resized");
await api.startVm({ id });
await api.stopVm({ id });
await api.removeVm({ id });
say("removed");
say(`changes ${changesMade()}`);
process.exit(0);
