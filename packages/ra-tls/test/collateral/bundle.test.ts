import { describe, expect, it } from "vitest";
import { bundledCollateral, formatCollateralBundle, parseCollateralBundle } from "../../src/index.js";
import { NOW, anchors, keys, platform, platformWith } from "./service.js";

const one = platform.collateral(NOW);
const two = platformWith({ fmspc: "FF53494D0001", ca: "processor" }).collateral(NOW);

describe("E8: collateral bundles for use without a network", () => {
  it("one platform is the nine fields themselves, several are an array", () => {
    expect(JSON.parse(formatCollateralBundle([one]))).toEqual(one);
    expect(parseCollateralBundle(formatCollateralBundle([one]))).toEqual([one]);
    expect(parseCollateralBundle(formatCollateralBundle([one, two]))).toEqual([one, two]);
  });

  it.each([
    "",
    "{}",
    "[]",
    "null",
    '"x"',
    `[${JSON.stringify(one)}, {}]`,
    JSON.stringify({ ...one, pck_crl: 1 }),
  ])("other text is refused: %.20s", (text) =>
    expect(() => parseCollateralBundle(text)).toThrow(/the collateral bundle is n/),
  );

  it("E11: refuses more platforms than 64", () => {
    expect(() => parseCollateralBundle(JSON.stringify(Array.from({ length: 65 }, () => one)))).toThrow(
      /bundle/,
    );
  });

  it("gives each platform its own", async () => {
    const source = bundledCollateral([one, two], anchors);
    expect(await source.get(keys, NOW)).toBe(one);
    expect(await source.get({ fmspc: "ff53494d0001", ca: "processor" }, NOW)).toBe(two);
    await expect(source.get({ ...keys, ca: "processor" }, NOW)).rejects.toMatchObject({
      code: "unknown_platform",
      message: expect.stringContaining("it has ff53494d0000-platform, ff53494d0001-processor"),
    });
  });

  it("E8: of two entries for one platform the earlier one does not count, wherever it stands", async () => {
    const earlier = platform.collateral(NOW - 86_400);
    for (const bundle of [
      [earlier, one],
      [one, earlier],
    ]) {
      expect(await bundledCollateral(bundle, anchors).get(keys, NOW)).toBe(one);
    }
  });

  it("an entry that nobody trusted has signed is as good as missing, and the error says why", async () => {
    const forged = { ...one, tcb_info: one.tcb_info.replace("UpToDate", "UpToDAte") };
    const source = bundledCollateral([forged, two], anchors);
    await expect(source.get(keys, NOW)).rejects.toThrow(/entries refused: the TCB info is not signed/);
    await expect(bundledCollateral([one], []).get(keys, NOW)).rejects.toThrow(/not one of the trusted roots/);
  });
});
