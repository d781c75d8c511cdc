import { AuditLog } from "@dstack/dashboard/web";
import type { AuditEntry, AuditPage } from "./wire.js";
import { call } from "./api.js";
import { vms } from "./live.js";
import { vmLink } from "./route.js";

/** The VM an entry is about: by its name as long as it is there. */
function About({ entry }: { entry: AuditEntry }) {
  const id = entry.method === "CreateVm" ? (entry.result ?? "") : entry.vm;
  const vm = vms.value?.find((candidate) => candidate.id === id);
  return vm === undefined ? <>{entry.vm}</> : <a href={vmLink(vm.id)}>{vm.name}</a>;
}

const INTRO = (
  <>
    Every change stands here before it is made and again with its outcome, newest first. teepod only ever
    appends to it: <code>audit.log</code> in its <code>run_path</code>.
  </>
);

/** What was asked of this teepod, and what became of it. */
export function Audit() {
  return (
    <AuditLog<AuditEntry, AuditPage>
      load={(before) => call("GetAuditLog", before === undefined ? {} : { before })}
      intro={INTRO}
      subject="VM"
      about={(entry) => <About entry={entry} />}
    />
  );
}
