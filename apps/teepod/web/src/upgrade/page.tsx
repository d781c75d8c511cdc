import { isAppCompose, requireKeptNames } from "@dstack/app-compose";
import { useSignal } from "@preact/signals";
import { Problem, useAnswer, wordsOf } from "@dstack/dashboard/web";
import { ComposeInput } from "../compose/compose-input.js";
import type { AppDocument } from "../compose/document.js";
import { FlagFields } from "../compose/flags.js";
import { SecretFields, givenSecrets } from "../secrets/secret-fields.js";
import type { Secret } from "../secrets/secret-fields.js";
import { VmHeading } from "../vm/heading.js";
import type { GetInfoResponse, VmInfo } from "../wire.js";
import { Done } from "./done.js";
import { openDocument, upgradedDocument } from "./documents.js";
import { ReviewUpgrade } from "./review-upgrade.js";
import { call } from "../api.js";
import { vms } from "../live.js";
import { route } from "../route.js";

const SECRETS_HINT =
  "Empty keeps the secrets the VM has. Nobody can read those, so to change one give all of them: paste the lines of your env file into a name.";

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
      const document = upgradedDocument(old, compose.value, flags.value, names);
      if (vm.configuration.encrypted_env !== "" && given().length === 0) requireKeptNames(old, document.text);
      made.value = document;
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
        {!isAppCompose(compose.value) && <FlagFields flags={flags} />}
        <SecretFields rows={secrets} hint={SECRETS_HINT} />
        <Problem text={problem.value} />
        <p class="bar">
          <button type="submit" class="primary">
            Look at what changes
          </button>
        </p>
      </form>
      {made.value !== undefined && (
        <ReviewUpgrade
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
