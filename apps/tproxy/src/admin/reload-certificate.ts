import type { AdminContext, AdminHandler } from "./admin-context.js";

/** `TproxyAdmin.ReloadCertificate`. What does not fit is refused, and the old one stays (P6). */
export const reloadCertificate =
  ({ certificates }: AdminContext): AdminHandler<"reloadCertificate"> =>
  async () => ({ refusal: (await certificates.reload()) ?? "" });
