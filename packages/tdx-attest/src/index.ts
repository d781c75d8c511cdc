export { openQuoteProvider } from "./open-quote-provider.js";
export type { OpenOptions } from "./open-quote-provider.js";
export { DEFAULT_RUNTIME_LOG, MAX_RUNTIME_LOG_BYTES, RuntimeEventLog } from "./runtime-event-log.js";
export type { RuntimeEventLogOptions } from "./runtime-event-log.js";
export { DeviceError } from "./quote-provider.js";
export type { DeviceErrorCode, QuoteProvider, RtmrIndex } from "./quote-provider.js";
export { expectedMeasurements, readLaunch } from "./expected-measurements.js";
export type { TdxShape } from "./expected-measurements.js";

export { SimulatorClient } from "./simulator-client.js";
export { DEFAULT_SIMULATOR_SOCKET } from "./simulator-protocol.js";

// The simulated platform. NOT hardware: for tests, and for machines without TDX.
export { SimulatedPlatform } from "./simulated/platform.js";
export { startSimulatedPcs } from "./simulated/pcs.js";
export type { SimulatedPcs, SimulatedPcsOptions } from "./simulated/pcs.js";
export { startSimulatorService } from "./simulated/service.js";
export type { SimulatorService, SimulatorServiceOptions } from "./simulated/service.js";
export { SimulatorFileSchema } from "./wire-schemas.js";
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
