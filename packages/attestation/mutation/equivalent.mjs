/**
 * Mutants that no test can notice, and why. `code` is the source that is replaced, of several lines the first.
 * @type {readonly { file: string, code: string, mutant: string, why: string }[]}
 */
export const EQUIVALENT = [
  // Work that is saved: without it everything is verified again, with the same result.
  ...[
    ["chain", "knownRoot !== undefined && index === last && sameBytes(der, knownRoot.der)", "false"],
    ["chain", "certificate === knownRoot", "false"],
    ["collateral", "qeChain === tcbChain", "false"],
    ["verifier", "chain !== undefined", "false"],
    ["verifier", "known === undefined", "true"],
    ["verifier", "[pem]", "[]"],
  ].map(because("saves work, decides nothing")),
  // Conditions that the type checker wants.
  ...[
    ["chain", "role === undefined || issuer === undefined", "false"],
    ["chain", "role === undefined || issuer === undefined", "role === undefined && issuer === undefined"],
    ["chain", "role === undefined", "false"],
    ["chain", "issuer === undefined", "false"],
  ].map(because("the chain has as many certificates as there are roles")),
  ...[
    ["tcb", "-1", "+1"],
    ["tcb", "identity === undefined", "false"],
  ].map(because("TEE_TCB_SVN has 16 bytes, and a version without identity was refused before")),
  ...[["chain", "issuer.pathLength !== undefined", "true"]].map(
    because("no number is larger than undefined"),
  ),
  ...[["check-policy", "end !== undefined", "true"]].map(because("no time is before undefined")),
  ...[
    ["check-policy", "nearest === undefined", "false"],
    ["check-policy", '"no image is allowed"', '""'],
  ].map(because("a policy without an image is refused before")),
  ...[["event-log", "{ cause: err }", "{}"]].map(because("a cause is for logs")),
  ...[["event-log", "err instanceof InputError", "true"]].map(because("nothing else is thrown there")),
  ...[
    ["evidence", '"replay of RTMR3"', '""'],
    ["evidence", "value !== undefined", "true"],
  ].map(because("there are four registers on either side")),
  ...[["p256", "signature.length === 64", "true"]].map(
    because("node:crypto verifies no other length either"),
  ),
  ...[["ccel", "size === undefined", "false"]].map(
    because("the reader is then nowhere, and never at its end"),
  ),
  ...[["crl", "[]", '["Stryker was here"]']].map(because("no extension has this name")),
  ...[["policy", "[]", '["Stryker was here"]']].map(because("no PPID has this name")),
  ...[["der", "[]", '["Stryker was here"]']].map(because("neither none nor this is a time")),
  ...[["tcb-documents", '"custom"', '""']].map(because("only the message of an issue is read")),
  ...[["der", 'text < "50"', 'text <= "50"']].map(because("a time is longer than two characters")),
];

function because(why) {
  return ([file, code, mutant]) => ({ file, code, mutant, why });
}
