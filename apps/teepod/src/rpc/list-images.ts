import type { EmptySchema, teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";
import { describeImage } from "../images/image.js";

/** The images a VM can be made of. */
export const listImages =
  ({ images }: TeepodContext): Handler<typeof EmptySchema, typeof teepod.ListImagesResponseSchema, Caller> =>
  async () => ({
    images: (await images.list()).map((image) => ({ name: image.name, description: describeImage(image) })),
  });
