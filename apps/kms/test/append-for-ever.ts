// Appends until it is killed; prints the number of every entry that append acknowledged.
import { CertLog } from "../src/cert-log/cert-log.js";

const log = await CertLog.open(process.argv[2] ?? "");
for (;;) {
  const { seq } = await log.append({ kind: "app-ca", subject: "killed", certificate: "A".repeat(4000) });
  process.stdout.write(`${seq}\n`);
}
