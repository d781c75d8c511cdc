import type { VmSummary } from "../../src/dashboard/vm-summary.js";

/** A link the page may carry: teepod makes them, but a link with a script in it would be one all the same. */
function safe(url: string | undefined): string | undefined {
  return url?.startsWith("https://") === true ? url : undefined;
}

/** tappd's dashboard in the VM, through the gateway. */
export function dashboardUrl(vm: Pick<VmSummary, "app_url">): string | undefined {
  return safe(vm.app_url);
}

/** The app, at the port its compose file publishes; 80 goes without saying. */
export function appUrl(vm: Pick<VmSummary, "app_url" | "app_port">): string | undefined {
  const port = vm.app_port === 80 ? "" : `-${vm.app_port}`;
  return safe(vm.app_url)?.replace(/^(https:\/\/[0-9a-f]{40})-\d+\./, `$1${port}.`);
}
