// Gives a registry the example's image, and prints its digest: `tsx push-example-image.ts <registry URL>`. A program of
// its own because the registry is in another network namespace than the test.
import { buildExampleImage, pushImage } from "@dstack/cli";
import { join } from "node:path";
import { checkout } from "./operator-site.js";

const [registry = ""] = process.argv.slice(2);
const image = await buildExampleImage(join(checkout, "examples", "hello"));
await pushImage(registry, "dstack/hello", image, AbortSignal.timeout(30_000));
process.stdout.write(image.digest);
