import { diffLines, readable } from "@dstack/app-compose";
import type { AppDocument } from "../compose/document.js";
import type { Secret } from "../secrets/secret-fields.js";
import type { VmInfo } from "../wire.js";
import { openDocument } from "./documents.js";
import { call } from "../api.js";
import { Review } from "../review.js";

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

/** What an upgrade changes, before it is sent. */
export function ReviewUpgrade(props: {
  vm: VmInfo;
  made: AppDocument;
  secrets: readonly Secret[];
  onBack: () => void;
  onDone: (upgradedAppId: string) => void;
}) {
  const { vm, made, secrets, onBack } = props;
  const before = vm.configuration.compose_file;
  const same = made.text === before;
  const given = secrets.map(({ key }) => key);
  // One bundle replaces the other: nothing of the old one can be kept, for nobody here can read it.
  const lost =
    given.length === 0 ? [] : openDocument(made.text).allowedEnvs.filter((name) => !given.includes(name));
  const upgrade = async (sealed: string | undefined): Promise<void> => {
    await call("UpgradeApp", {
      id: vm.id,
      compose_file: made.text,
      ...(sealed !== undefined && { encrypted_env: sealed }),
      expected_etag: vm.etag,
    });
    props.onDone(made.appId);
  };
  return (
    <Review
      {...{ made, secrets, onBack }}
      appId={vm.app_id}
      action="Upgrade"
      idle={same && secrets.length === 0}
      send={upgrade}
    >
      <h2>What changes</h2>
      {same ? (
        <p>{secrets.length === 0 ? "Nothing." : "The secrets; the document stays as it is."}</p>
      ) : (
        <Diff before={readable(before)} after={readable(made.text)} />
      )}
      {given.length > 0 && <p>Secrets that get a new value: {given.join(", ")}.</p>}
      {lost.length > 0 && (
        <p class="banner warn">
          Without a value from now on: {lost.join(", ")}. What the VM has for{" "}
          {lost.length === 1 ? "it" : "them"} is replaced with the others, so go back and give it if the app
          needs it.
        </p>
      )}
    </Review>
  );
}
