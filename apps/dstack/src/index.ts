/** For tests that need a container's image without a registry beyond this machine. */
export { buildExampleImage, pushImage } from "./local/example-image.js";
