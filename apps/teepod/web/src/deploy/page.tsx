import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Problem, useAnswer } from "@dstack/dashboard/web";
import type { AppDocument } from "../compose/document.js";
import { Draft } from "./draft.js";
import { DraftForm } from "./form.js";
import { ReviewDraft } from "./review-draft.js";
import { mayChange } from "../live.js";
import { route } from "../route.js";

/** Deploys a compose file into a new VM: fill in, look at exactly what will be sent, send. */
export function Deploy() {
  const current = route.value;
  const cloned = current.page === "deploy" ? current.clone : undefined;
  const image = current.page === "deploy" ? current.image : undefined;
  const fresh = useMemo(() => new Draft(), []);
  const { answer, problem } = useAnswer(
    async () => (cloned === undefined ? fresh : Draft.cloneOf(cloned)),
    [cloned],
  );
  const made = useSignal<AppDocument | undefined>(undefined);
  useEffect(() => {
    if (image !== undefined) fresh.image.value = image;
  }, [image]);
  const draft = answer.value;
  return (
    <>
      <h1>{draft?.cloneOf === undefined ? "Deploy" : `Clone ${draft.cloneOf}`}</h1>
      {!mayChange.value && (
        <p class="banner warn">
          Your token may look but not change anything; an operator's token can deploy.
        </p>
      )}
      <Problem text={problem.value} />
      {draft !== undefined && (
        <div hidden={made.value !== undefined}>
          <DraftForm draft={draft} onMade={(document) => (made.value = document)} />
        </div>
      )}
      {draft !== undefined && made.value !== undefined && (
        <ReviewDraft draft={draft} made={made.value} onBack={() => (made.value = undefined)} />
      )}
    </>
  );
}
