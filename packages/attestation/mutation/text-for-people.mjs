// Which mutants are not made: changed texts that only people read. Error codes are compared by every test; sentences,
// and the labels that go into them, change no verdict.

/** Functions that make an error of a sentence. */
const ERRORS = new Set(["fail", "malformed", "invalid", "error", "outOfDate", "unusable", "refuse"]);
/** Classes of errors: a code first, then the sentence and what a log should hold. */
const ERROR_CLASSES = new Set(["QuoteError", "EvidenceError", "PolicyError"]);
/** Functions whose last argument is what a thing is called in an error. */
const LABELLED = new Set([
  ...[
    "bytes",
    "u8",
    "u16",
    "u32",
    "expectEnd",
    "register",
    "fromHex",
    "DerReader",
    "readSigned",
    "readDocument",
  ],
  ...["readChain", "decodePem", "readCrl", "readCertificate", "readCertificationData", "requireNotRevoked"],
  ...[
    "requireSameRoot",
    "requireSigned",
    "certificatePeriod",
    "enclaveLevel",
    "firstReached",
    "signer",
    "hexOf",
  ],
]);
/** Nodes of the tree of checks: a name, for a failure a code, then sentences. */
const NODES = new Map([
  ["passed", 0],
  ["info", 0],
  ["skipped", 0],
  ["failed", 2],
]);

const isText = (node) => node.type === "StringLiteral" || node.type === "TemplateLiteral";
/** Of a function or a method, private or not. */
const nameOf = ({ callee }) => callee?.property?.id?.name ?? callee?.property?.name ?? callee?.name;

function isForPeople(node, parent) {
  if (parent.type === "ObjectProperty") return isText(node) && ["what", "error"].includes(parent.key.name);
  if (parent.type !== "CallExpression" && parent.type !== "NewExpression") return false;
  const at = parent.arguments.indexOf(node);
  if (at === -1) return false;
  const name = nameOf(parent);
  if (ERROR_CLASSES.has(name)) return at > 0;
  if (name === "InputError") return true;
  if (NODES.has(name)) return at >= NODES.get(name);
  if (!isText(node)) return false;
  return ERRORS.has(name) || (LABELLED.has(name) && at === parent.arguments.length - 1);
}

export const strykerPlugins = [
  {
    kind: "Ignore",
    name: "text-for-people",
    value: {
      shouldIgnore: ({ node, parent }) =>
        parent && isForPeople(node, parent) ? "text for people" : undefined,
    },
  },
];
