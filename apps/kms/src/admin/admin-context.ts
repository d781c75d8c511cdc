import type { Challenges } from "@dstack/ra-rpc";
import type { KmsContext } from "../context.js";
import type { OnboardTokens } from "../onboard/tokens.js";

/** What the admin methods work with beyond what all methods do. */
export interface AdminContext extends KmsContext {
  /** Of the purpose `kms-onboard`. */
  readonly challenges: Challenges;
  readonly replicaComposeHashes: ReadonlySet<string>;
  readonly tokens: OnboardTokens;
}
