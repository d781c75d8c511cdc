import type { Chapter } from "./chapter.js";
import { cuseDevice } from "./cuse-device.js";
import { kernelModule } from "./kernel-module.js";
import { noDevice } from "./no-device.js";

/** In the order they run: each adds to what the VM has. */
export const chapters: readonly Chapter[] = [noDevice, cuseDevice, kernelModule];
