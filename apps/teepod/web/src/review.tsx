import { useSignal } from "@preact/signals";
import { Problem, useAction, useAnswer } from "@dstack/dashboard/web";
import type { ComponentChildren } from "preact";
import type { AppDocument } from "./compose/document.js";
import { Preview } from "./compose/preview.js";
import { mayChange } from "./live.js";
import { fetchEnvKey } from "./secrets/env-key.js";
import { KmsRoot, rememberConfirmed } from "./secrets/kms-root.js";
import { sealSecrets } from "./secrets/seal.js";
import type { Secret } from "./secrets/secret-fields.js";

interface ReviewProps {
  /** The app whose key secrets are sealed to. */
  readonly appId: string;
  readonly made: AppDocument;
  readonly secrets: readonly Secret[];
  /** What the button says, and while it works. */
  readonly action: string;
  readonly working?: string;
  /** There is nothing to send. */
  readonly idle?: boolean;
  /** @param sealed hex; undefined without secrets */
  readonly send: (sealed: string | undefined) => Promise<void>;
  readonly onBack: () => void;
  readonly children: ComponentChildren;
}

/**
 * What will be sent, whom the secrets are sealed to, and the button that seals and sends: of a new VM and of an
 * upgrade. Nothing goes out before a KMS root that signed the app's key is confirmed (K7).
 */
export function Review(props: ReviewProps) {
  const { appId, made, secrets, action } = props;
  const { answer: key, problem: keyProblem } = useAnswer(
    async () => (secrets.length === 0 ? undefined : fetchEnvKey(appId)),
    [appId],
  );
  const confirmed = useSignal(false);
  const { run, busy, problem } = useAction();
  const ready = secrets.length === 0 || (key.value !== undefined && confirmed.value);
  const send = (): void =>
    run(async () => {
      if (key.value === undefined) return props.send(undefined);
      rememberConfirmed(key.value.fingerprint);
      return props.send(sealSecrets(key.value.publicKey, secrets));
    });
  return (
    <>
      <p>Nothing has been sent yet.</p>
      {props.children}
      <Preview made={made} />
      <Problem text={keyProblem.value} />
      {key.value !== undefined && <KmsRoot fingerprint={key.value.fingerprint} confirmed={confirmed} />}
      <Problem text={problem.value} />
      <p class="bar">
        <button
          type="button"
          class="primary"
          disabled={!mayChange.value || busy.value || !ready || props.idle === true}
          onClick={send}
        >
          {busy.value ? (props.working ?? action) : action}
        </button>
        <button type="button" disabled={busy.value} onClick={props.onBack}>
          Back
        </button>
      </p>
    </>
  );
}
