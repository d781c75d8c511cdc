import type { CertbotStatus } from "@dstack/acme";

/** A status for people; the last lines say what would block. */
export function statusText(status: CertbotStatus): string {
  const lines: string[] = [];
  const { certificate } = status;
  if (certificate !== undefined) {
    lines.push(`certificate  ${certificate.names.join(", ")}`);
    lines.push(`  issuer     ${certificate.issuer}`);
    lines.push(`  expires    ${certificate.notAfter} (${certificate.daysLeft} days left)`);
    lines.push(`  renewal    ${certificate.renewAt}`);
  }
  for (const { ca, uri } of status.accounts) lines.push(`account      ${ca}: ${uri ?? "none"}`);
  for (const { name, changes, foreign } of status.caa) {
    lines.push(
      `CAA          ${name}: ${changes.length === 0 ? "as wanted" : "differs; certbot set-caa would"}`,
    );
    for (const change of changes) lines.push(`  ${change}`);
    for (const record of foreign) lines.push(`  kept, not ours: ${record}`);
  }
  if (status.cluster !== undefined) {
    const { node, leader } = status.cluster;
    lines.push(`cluster      ${node}; ${leader === undefined ? "nobody" : leader} is at work on these names`);
  }
  if (status.problems.length === 0) lines.push("nothing is in the way of the next renewal");
  for (const problem of status.problems) lines.push(`PROBLEM      ${problem}`);
  return `${lines.join("\n")}\n`;
}
