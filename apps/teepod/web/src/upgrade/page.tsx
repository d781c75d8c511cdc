import { useSignal } from "@preact/signals";
import { Problem, useAction, useAnswer, wordsOf } from "@dstack/dashboard/web";
import { ComposeInput } from "../compose/compose-input.js";
import type { AppDocument } from "../compose/document.js";
import { FlagFields } from "../compose/flags.js";
import { Preview } from "../compose/preview.js";
import { fetchEnvKey } from "../secrets/env-key.js";
import { KmsRoot, rememberConfirmed } from "../secrets/kms-root.js";
import { SecretFields, givenSecrets } from "../secrets/secret-fields.js";
import type { Secret } from "../secrets/secret-fields.js";
import { sealSecrets } from "../secrets/seal.js";
import { VmHeading } from "../vm/heading.js";
import type { GetInfoResponse, VmInfo } from "../wire.js";
import { Done } from "./done.js";
import { diffLines } from "./diff.js";
import { openDocument, readable, upgradedDocument } from "./documents.js";
import { call } from "../api.js";
import { mayChange, vms } from "../live.js";
import { route } from "../route.js";

const SECRETS_HINT =
  "Empty keeps the secrets the VM has. Whatever stands here replaces all of them, so give every one the new document needs.";

function Diff({ before, after }: { before: string; after: string }) {
  const lines = diffLines(before, after);
  return (
    <pre class="diff" tabIndex={0} role="region" aria-label="What changes">
      {lines.map((line, i) => (
        <div key={i} class={line.kind}>
          {line.kind === "added" ? "+ " : line.kind === "removed" ? "- " : "  "}
          {line.text}
        </div>
      ))}
    </pre>
  );
}

function Review(props: {
  vm: VmInfo;
  made: AppDocument;
  secrets: readonly Secret[];
  onBack: () => void;
  onDone: (upgradedAppId: string) => void;
}) {
  const { vm, made, secrets } = props;
  const { answer: key, problem: keyProblem } = useAnswer(
    async () => (secrets.length === 0 ? undefined : fetchEnvKey(vm.app_id)),
    [vm.app_id],
  );
  const confirmed = useSignal(false);
  const { run, busy, problem } = useAction();
  const ready = secrets.length === 0 || (key.value !== undefined && confirmed.value);
  const same = made.text === vm.configuration.compose_file;
  const upgrade = (): void =>
    run(async () => {
      if (key.value !== undefined) rememberConfirmed(key.value.fingerprint);
      const { id } = await call<{ id: string }>("UpgradeApp", {
        id: vm.id,
        compose_file: made.text,
        ...(key.value !== undefined && { encrypted_env: sealSecrets(key.value.publicKey, secrets) }),
        expected_etag: vm.etag,
      });
      props.onDone(id);
    });
  return (
    <>
      <p>Nothing has been sent yet.</p>
      <h2>What changes</h2>
      {same ? (
        <p>{secrets.length === 0 ? "Nothing." : "The secrets; the document stays as it is."}</p>
      ) : (
        <Diff before={readable(vm.configuration.compose_file)} after={readable(made.text)} />
      )}
      <Preview made={made} />
      <Problem text={keyProblem.value} />
      {key.value !== undefined && <KmsRoot fingerprint={key.value.fingerprint} confirmed={confirmed} />}
      <Problem text={problem.value} />
      <p class="bar">
        <button
          type="button"
          class="primary"
          disabled={!mayChange.value || busy.value || !ready || (same && secrets.length === 0)}
          onClick={upgrade}
        >
          Upgrade
        </button>
        <button type="button" disabled={busy.value} onClick={props.onBack}>
          Back
        </button>
      </p>
    </>
  );
}

function UpgradeForm({ vm, onDone }: { vm: VmInfo; onDone: (upgradedAppId: string) => void }) {
  const old = vm.configuration.compose_file;
  const opened = openDocument(old);
  const compose = useSignal(opened.compose);
  const flags = useSignal(opened.flags);
  const secrets = useSignal<readonly Secret[]>(opened.allowedEnvs.map((key) => ({ key, value: "" })));
  const made = useSignal<AppDocument | undefined>(undefined);
  const problem = useSignal("");
  /** Names without a value are only those the document allows already. */
  const given = (): readonly Secret[] => givenSecrets(secrets.value).filter(({ value }) => value !== "");
  const review = (event: Event): void => {
    event.preventDefault();
    try {
      const names = givenSecrets(secrets.value).map(({ key }) => key);
      made.value = upgradedDocument(old, compose.value, flags.value, names);
      problem.value = "";
      scrollTo(0, 0);
    } catch (err) {
      problem.value = wordsOf(err).replace(/^./, (first) => first.toUpperCase());
    }
  };
  return (
    <>
      <form onSubmit={review} hidden={made.value !== undefined}>
        <p>The VM keeps its app id and its disk. The upgrade applies when it is stopped and started.</p>
        <ComposeInput text={compose} label="New compose file" />
        <FlagFields flags={flags} />
        <SecretFields rows={secrets} hint={SECRETS_HINT} />
        <Problem text={problem.value} />
        <p class="bar">
          <button type="submit" class="primary">
            Look at what changes
          </button>
        </p>
      </form>
      {made.value !== undefined && (
        <Review
          vm={vm}
          made={made.value}
          secrets={given()}
          onBack={() => (made.value = undefined)}
          onDone={onDone}
        />
      )}
    </>
  );
}

/** Gives a VM another compose document. */
export function Upgrade() {
  const current = route.value;
  const id = current.page === "upgrade" ? current.id : "";
  const vm = vms.value?.find((candidate) => candidate.id === id);
  const { answer, problem } = useAnswer(() => call<GetInfoResponse>("GetInfo", { id }), [id]);
  const upgraded = useSignal<string | undefined>(undefined);
  const info = answer.value?.info;
  const changed =
    info !== undefined && vm !== undefined && vm.etag !== info.etag && upgraded.value === undefined;
  return (
    <>
      <VmHeading id={id} vm={vm} tab="upgrade" />
      <Problem text={problem.value} />
      {changed && (
        <p class="banner warn">
          Somebody has changed this VM since this page was opened, so an upgrade from here would be refused.{" "}
          <button type="button" class="link" onClick={() => location.reload()}>
            Load the page again
          </button>
        </p>
      )}
      {info === undefined || upgraded.value !== undefined ? null : (
        <UpgradeForm key={info.id} vm={info} onDone={(appId) => (upgraded.value = appId)} />
      )}
      {info !== undefined && upgraded.value !== undefined && (
        <Done vm={info} upgradedAppId={upgraded.value} />
      )}
    </>
  );
}
