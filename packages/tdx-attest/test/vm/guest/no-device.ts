import assert from "node:assert/strict";
import { openQuoteProvider } from "../../../src/index.js";
import { nativeAddon } from "../../../src/linux/native-addon.js";
import { openLinuxProvider } from "../../../src/linux/provider.js";
import type { Chapter } from "./chapter.js";
import { LIMIT_MS, refused, someData } from "./helpers.js";

export const noDevice: Chapter = {
  title: "Linux 6.12 without a TDX device",
  start: async () => {},
  heal: () => {},
  assertions: {
    "has no provider, and the error names what is missing": () =>
      refused(
        openQuoteProvider(),
        "no_device",
        /neither \/dev\/tdx_guest .* nor \/run\/dstack\/simulator\.sock/,
      ),

    "has no way to quotes without configfs-tsm and a vsock port": () =>
      refused(openLinuxProvider(), "no_device", /no way to quotes: .*\(Linux 6\.7/),

    "says ENOENT for a report and for an extend": async () => {
      const expected = { code: "ENOENT", syscall: "open", path: "/dev/tdx_guest" };
      await assert.rejects(nativeAddon().getReport("/dev/tdx_guest", someData(), LIMIT_MS), expected);
      await assert.rejects(
        nativeAddon().extendRtmr("/dev/tdx_guest", 3, new Uint8Array(48), LIMIT_MS),
        expected,
      );
    },

    "says that a device which is no TDX device cannot do it": async () => {
      const provider = await openLinuxProvider({ device: "/dev/null", qgsPort: 4050 });
      await refused(provider.getReport(someData()), "unsupported", /ENOTTY/);
      await refused(provider.extendRtmr(3, new Uint8Array(48)), "unsupported", /ENOTTY/);
    },

    "says that the kernel has no vsock": async () => {
      await assert.rejects(nativeAddon().qgsRequest(2, 4050, new Uint8Array(8), LIMIT_MS, 100), {
        code: "EAFNOSUPPORT",
        syscall: "socket",
      });
    },
  },
};
