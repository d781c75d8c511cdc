import { goTo } from "@dstack/dashboard/web";
import type { AppDocument } from "../compose/document.js";
import { givenSecrets } from "../secrets/secret-fields.js";
import type { Draft } from "./draft.js";
import { call } from "../api.js";
import { portsText } from "../ports-text.js";
import { Review } from "../review.js";
import { vmLink } from "../route.js";

/** The VM a draft makes, before it is made. */
export function ReviewDraft({
  draft,
  made,
  onBack,
}: {
  draft: Draft;
  made: AppDocument;
  onBack: () => void;
}) {
  const secrets = givenSecrets(draft.secrets.value);
  const appId = draft.appId ?? made.appId;
  const deploy = async (sealed: string | undefined): Promise<void> => {
    const { id } = await call<{ id: string }>("CreateVm", {
      name: draft.name.value,
      image: draft.image.value,
      compose_file: made.text,
      ...draft.shape.value,
      ports: draft.ports.value,
      encrypted_env: sealed ?? draft.encryptedEnv,
      ...(draft.appId !== undefined && { app_id: draft.appId }),
    });
    goTo(vmLink(id));
  };
  const { vcpu, memory, disk_size: disk } = draft.shape.value;
  return (
    <Review {...{ appId, made, secrets, onBack }} action="Deploy" working="Starting the VM…" send={deploy}>
      <dl>
        <dt>App id</dt>
        <dd>
          <code>{appId}</code>
        </dd>
        <dt>VM</dt>
        <dd>
          {draft.name.value} with {draft.image.value}: {vcpu} vCPU, {memory} MB memory, {disk} GB disk
        </dd>
        {draft.ports.value.length > 0 && (
          <>
            <dt>Ports</dt>
            <dd>{portsText(draft.ports.value)}</dd>
          </>
        )}
        {secrets.length > 0 && (
          <>
            <dt>Secrets</dt>
            <dd>{secrets.map((secret) => secret.key).join(", ")}</dd>
          </>
        )}
      </dl>
    </Review>
  );
}
