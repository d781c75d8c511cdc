export { startTappd } from "./service.js";
export type { Tappd, TappdParts } from "./service.js";
export { TappdConfig } from "./config.js";
export { EngineError, NoSuchContainerError } from "./docker/engine.js";
export type { ContainerEngine, ContainerLog, ListedContainer } from "./docker/engine.js";
export type { LogQuery } from "./docker/log-query.js";
