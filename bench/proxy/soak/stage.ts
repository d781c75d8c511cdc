import { bundleHost } from "../contenders/ours.js";
import { Ends } from "../ends.js";
import { makeSite } from "../site.js";
import type { Site } from "../site.js";
import { withDirectory } from "./directory.js";

const APPS = 100;

export interface Stage {
  readonly site: Site;
  readonly ends: Ends;
}

/** Apps, a load generator, and the data plane's program, for as long as `work` goes on. */
export function onStage<T>(work: (stage: Stage) => Promise<T>): Promise<T> {
  return withDirectory(async (directory) => {
    const site = makeSite(directory, APPS);
    bundleHost(site);
    using ends = await Ends.start(directory, site.certPath, site.keyPath);
    return await work({ site, ends });
  });
}
