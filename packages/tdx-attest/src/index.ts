export { DeviceError } from "./quote-provider.js";
export type { DeviceErrorCode, QuoteProvider, RtmrIndex } from "./quote-provider.js";

// The simulated platform. NOT hardware: for tests, and for machines without TDX.
export { SimulatedPlatform } from "./simulated/platform.js";
export { createSimulatedProvider } from "./simulated/provider.js";
export type { SimulatedProvider, SimulatedProviderParts } from "./simulated/provider.js";
export { bareLaunch, simulatedLaunch } from "./simulated/launch.js";
export type { LaunchInputs, LaunchMeasurements } from "./simulated/launch.js";
export { measureImage } from "./simulated/measure-image.js";
export type {
  CertificateChanges,
  CertificateRole,
  CrlChanges,
  SimulatedPlatformOptions,
} from "./simulated/platform.js";
export type { QuoteOptions } from "./simulated/quote-writer.js";
export type { SimulatedTd } from "./simulated/td-report.js";
