// The tests that mutants are run against, in one file: so a mutant costs one start, and the first failure ends it.
import "../test/attacks/identity.test.js";
import "../test/attacks/attestation-key.test.js";
import "../test/attacks/forged-evidence.test.js";
import "../test/attacks/event-log.test.js";
import "../test/attacks/whole-verdict.test.js";
import "../test/chain.test.js";
import "../test/crl.test.js";
import "../test/der.test.js";
import "../test/event-log.test.js";
import "../test/p256.test.js";
import "../test/parsers.test.js";
import "../test/policy.test.js";
import "../test/report-data.test.js";
import "../test/tcb.test.js";
import "../test/verifier.test.js";
import "../test/explain.test.js";
