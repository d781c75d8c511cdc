import { INTEL_ROOT, PolicyConfig, simulatedAnchor } from "@dstack/attestation";
import type { Policy, TrustAnchor } from "@dstack/attestation";
import {
  AttestationConfig,
  CollateralClient,
  bundledCollateral,
  parseCollateralBundle,
} from "@dstack/ra-tls";
import type { CollateralSource } from "@dstack/ra-tls";
import { parse as parseToml } from "smol-toml";
import { z } from "zod";
import { CliError } from "../output.js";
import { readTextFile } from "../read-file.js";
import { readGivenImage } from "./given-image.js";
import type { GivenImage } from "./given-image.js";

/** What somebody verifies by. */
export interface Trust {
  readonly anchors: readonly TrustAnchor[];
  readonly policy: Policy;
  /** An image that is allowed beside the policy's. */
  readonly image?: GivenImage;
  readonly collateral: CollateralSource;
  /** Unix seconds. */
  readonly now: number;
  /** `now` was given, it is not the time of the clock. */
  readonly atGivenTime: boolean;
}

export interface TrustOptions {
  /** TOML or JSON file of a policy, or with one in its section `attestation`. */
  readonly policy?: string | undefined;
  /** Directory of a guest image that is allowed beside the policy's. */
  readonly image?: string | undefined;
  /** That image on hardware: whatever ACPI tables the host has will do. */
  readonly anyAcpi?: boolean | undefined;
  /** PEM files of simulator roots to trust beside Intel's and the policy's. */
  readonly simulatedRoot: readonly string[];
  /** File with a collateral bundle; otherwise it is fetched. */
  readonly collateral?: string | undefined;
  readonly pccsUrl: string;
  /** ISO 8601. */
  readonly at?: string | undefined;
}

/**
 * @throws {InputError} a file that cannot be read or does not hold what it should
 * @throws {CliError}
 */
export async function loadTrust(options: TrustOptions): Promise<Trust> {
  const given = options.policy === undefined ? PolicyConfig.parse({}) : await readPolicy(options.policy);
  const roots = [...given.insecure_simulated_roots, ...options.simulatedRoot];
  const anchors = [INTEL_ROOT];
  for (const path of roots) anchors.push(simulatedAnchor(await readTextFile(path)));
  const image =
    options.image === undefined ? undefined : await readGivenImage(options.image, options.anyAcpi);
  return {
    anchors,
    policy: { ...given, insecure_simulated_roots: roots },
    ...(image === undefined ? {} : { image }),
    collateral: await collateralSource(options, anchors),
    now: options.at === undefined ? Math.floor(Date.now() / 1000) : readTime(options),
    atGivenTime: options.at !== undefined,
  };
}

async function readPolicy(path: string): Promise<Policy> {
  const text = await readTextFile(path);
  let value: unknown;
  try {
    value = path.endsWith(".json") ? JSON.parse(text) : parseToml(text);
  } catch (err) {
    const kind = path.endsWith(".json") ? "JSON" : "TOML";
    throw new CliError(`--policy ${path} is not ${kind}: ${(err as Error).message.split("\n")[0] ?? ""}`, 2);
  }
  // A daemon's configuration and what `dstack measure --policy` prints hold it in a section.
  const section = z.looseObject({ attestation: z.unknown() }).safeParse(value);
  if (section.success) refuseBeside(path, section.data);
  const parsed = AttestationConfig.safeParse(section.success ? section.data.attestation : value);
  if (parsed.success) return parsed.data;
  throw new CliError(`--policy ${path}: ${z.prettifyError(parsed.error)}`, 2);
}

/** A rule that slipped out of its section, as `[td]` for `[attestation.td]` does, would not be applied. */
function refuseBeside(path: string, file: Readonly<Record<string, unknown>>): void {
  const stray = Object.keys(file).find((key) => key in AttestationConfig.shape);
  if (stray === undefined) return;
  throw new CliError(
    `--policy ${path}: ${stray} stands beside the section attestation, where it is no rule; put it inside: ` +
      `attestation.${stray}`,
    2,
  );
}

async function collateralSource(
  { collateral, pccsUrl }: TrustOptions,
  anchors: readonly TrustAnchor[],
): Promise<CollateralSource> {
  if (collateral === undefined) return new CollateralClient({ url: pccsUrl, anchors });
  return bundledCollateral(parseCollateralBundle(await readTextFile(collateral)), anchors);
}

function readTime({ at, collateral }: TrustOptions): number {
  const seconds = Date.parse(at ?? "") / 1000;
  if (!Number.isInteger(seconds) || seconds < 0) {
    throw new CliError("--at must be a time such as 2026-01-31T12:00:00Z", 2);
  }
  if (collateral === undefined) {
    throw new CliError("--at needs --collateral: what is fetched is of today", 2);
  }
  return seconds;
}
