export { runBoot } from "./boot/run-boot.js";
export type { BootOptions, BootResult } from "./boot/run-boot.js";
export { BootError } from "./boot/step.js";
export type { StepName } from "./boot/step.js";
export type {
  ComposeProject,
  DataDisk,
  GuestPaths,
  GuestSystem,
  ProgressLine,
  TappdListeners,
} from "./boot/guest-system.js";
export { readShare } from "./boot/share.js";
export type { RawShare } from "./boot/share.js";
