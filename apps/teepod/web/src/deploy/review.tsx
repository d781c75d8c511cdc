import { useSignal } from "@preact/signals";
import { Problem, goTo, useAction, useAnswer } from "@dstack/dashboard/web";
import type { AppDocument } from "../compose/document.js";
import { Preview } from "../compose/preview.js";
import { fetchEnvKey } from "../secrets/env-key.js";
import { KmsRoot, rememberConfirmed } from "../secrets/kms-root.js";
import { givenSecrets } from "../secrets/secret-fields.js";
import { sealSecrets } from "../secrets/seal.js";
import type { Draft } from "./draft.js";
import { call } from "../api.js";
import { mayChange } from "../live.js";
import { vmLink } from "../route.js";

/** What will be sent, and the button that sends it. */
export function Review({ draft, made, onBack }: { draft: Draft; made: AppDocument; onBack: () => void }) {
  const secrets = givenSecrets(draft.secrets.value);
  const appId = draft.appId ?? made.appId;
  const { answer: key, problem: keyProblem } = useAnswer(
    async () => (secrets.length === 0 ? undefined : fetchEnvKey(appId)),
    [appId],
  );
  const confirmed = useSignal(false);
  const { run, busy, problem } = useAction();
  const ready = secrets.length === 0 || (key.value !== undefined && confirmed.value);
  const deploy = (): void =>
    run(async () => {
      if (key.value !== undefined) rememberConfirmed(key.value.fingerprint);
      const { id } = await call<{ id: string }>("CreateVm", {
        name: draft.name.value,
        image: draft.image.value,
        compose_file: made.text,
        ...draft.shape.value,
        ports: draft.ports.value,
        encrypted_env:
          key.value === undefined ? draft.encryptedEnv : sealSecrets(key.value.publicKey, secrets),
        ...(draft.appId !== undefined && { app_id: draft.appId }),
      });
      goTo(vmLink(id));
    });
  const { vcpu, memory, disk_size: disk } = draft.shape.value;
  return (
    <>
      <p>Nothing has been sent yet.</p>
      <dl>
        <dt>App id</dt>
        <dd>
          <code>{appId}</code>
        </dd>
        <dt>VM</dt>
        <dd>
          {draft.name.value} with {draft.image.value}: {vcpu} vCPU, {memory} MB memory, {disk} GB disk
        </dd>
        {secrets.length > 0 && (
          <>
            <dt>Secrets</dt>
            <dd>{secrets.map((secret) => secret.key).join(", ")}</dd>
          </>
        )}
      </dl>
      <Preview made={made} />
      <Problem text={keyProblem.value} />
      {key.value !== undefined && <KmsRoot fingerprint={key.value.fingerprint} confirmed={confirmed} />}
      <Problem text={problem.value} />
      <p class="bar">
        <button
          type="button"
          class="primary"
          disabled={!mayChange.value || busy.value || !ready}
          onClick={deploy}
        >
          {busy.value ? "Starting the VM…" : "Deploy"}
        </button>
        <button type="button" disabled={busy.value} onClick={onBack}>
          Back
        </button>
      </p>
    </>
  );
}
