import { AuditLog, State } from "@dstack/dashboard/web";
import { call } from "./api.js";
import type { AuditEntry, AuditPage } from "./wire.js";

/** Whether the log is what was written, and where it ends. */
function Chain({ page }: { page: AuditPage }) {
  if (page.broken !== "") {
    return (
      <p class="problem">
        This log was changed by somebody else, and says nothing any more: {page.broken}. Keep the file for
        whoever looks into it; tproxy changes nothing meanwhile, and does not start again with it.
      </p>
    );
  }
  return (
    <dl>
      <dt>Chain</dt>
      <dd>
        <State status="whole, as of now" mood="good" />
      </dd>
      <dt>Head</dt>
      <dd>
        {page.head_seq < 0 ? (
          "no entry yet"
        ) : (
          <>
            entry {page.head_seq}, <code>{page.head_hash}</code>
            <div class="hint">Whoever keeps this sees later whether the log was cut or made anew.</div>
          </>
        )}
      </dd>
    </dl>
  );
}

const INTRO = (
  <>
    Every change asked of this node stands here before it is made and again with its outcome, newest first;
    other nodes have logs of their own. It is <code>audit.log</code> in <code>state_dir</code>, append-only
    and hash-chained.
  </>
);

/** What was asked of this node, and what became of it. */
export function Audit() {
  return (
    <AuditLog<AuditEntry, AuditPage>
      load={(before) => call("GetAuditLog", before === undefined ? {} : { before })}
      intro={INTRO}
      subject="About"
      about={(entry) => entry.about}
      above={(newest) => <Chain page={newest} />}
    />
  );
}
