import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Problem, useAnswer, wordsOf } from "@dstack/dashboard/web";
import { ComposeInput } from "../compose/compose-input.js";
import type { AppDocument } from "../compose/document.js";
import { FlagFields } from "../compose/flags.js";
import { SecretFields } from "../secrets/secret-fields.js";
import { ShapeFields } from "../shape-fields.js";
import type { ImageInfo } from "../wire.js";
import type { Draft } from "./draft.js";
import { PortFields } from "./ports.js";
import { call } from "../api.js";
import { hello } from "../live.js";

const SECRETS_HINT =
  "Variables of the compose file whose values only the VM is to know. They are encrypted here, in your browser; the document names them and holds no value.";

function ImageField({ draft }: { draft: Draft }) {
  const { answer, problem } = useAnswer(
    () => call<{ images: ImageInfo[] }>("ListImages"),
    [hello.value?.run],
  );
  const images = answer.value?.images ?? [];
  useEffect(() => {
    const [only] = images;
    if (draft.image.value === "" && only !== undefined) draft.image.value = only.name;
  }, [answer.value]);
  const chosen = draft.image.value;
  const isListed = images.some((image) => image.name === chosen);
  return (
    <div class="grow">
      <label for="image">Guest image</label>
      <select
        id="image"
        required
        value={chosen}
        onChange={(event) => (draft.image.value = event.currentTarget.value)}
      >
        {chosen !== "" && !isListed && (
          <option value={chosen}>
            {answer.value === undefined ? chosen : `${chosen} (not on this host)`}
          </option>
        )}
        {images.map((image) => (
          <option key={image.name} value={image.name}>
            {image.name}: {image.description}
          </option>
        ))}
      </select>
      {answer.value?.images.length === 0 && (
        <p class="hint">
          There are none on this host; <a href="#/images">Images</a> says how one is made.
        </p>
      )}
      <Problem text={problem.value} />
    </div>
  );
}

/** The fields of a draft; `onMade` gets the document when they make one. */
export function DraftForm({ draft, onMade }: { draft: Draft; onMade: (made: AppDocument) => void }) {
  const problem = useSignal("");
  const review = (event: Event): void => {
    event.preventDefault();
    try {
      const made = draft.document();
      problem.value = "";
      onMade(made);
      scrollTo(0, 0);
    } catch (err) {
      problem.value = capital(wordsOf(err));
    }
  };
  return (
    <form onSubmit={review}>
      <ComposeInput text={draft.compose} label="Compose file" />
      <div class="row">
        <div class="grow">
          <label for="name">Name</label>
          <input
            id="name"
            required
            pattern="[A-Za-z0-9][A-Za-z0-9._\-]{0,62}"
            title="1 to 63 letters, digits, dots, dashes or underscores, the first a letter or digit"
            autocomplete="off"
            value={draft.name.value}
            onInput={(event) => (draft.name.value = event.currentTarget.value)}
          />
        </div>
        <ImageField draft={draft} />
      </div>
      <ShapeFields shape={draft.shape} />
      <PortFields ports={draft.ports} />
      {!draft.takenAsIs && <FlagFields flags={draft.flags} />}
      {draft.encryptedEnv === "" ? (
        <SecretFields rows={draft.secrets} hint={SECRETS_HINT} />
      ) : (
        <p class="banner">
          The clone gets the same encrypted secrets, which only VMs of this app can read: leave its document
          as it is.
        </p>
      )}
      <Problem text={problem.value} />
      <p class="bar">
        <button type="submit" class="primary">
          Look at what will be sent
        </button>
      </p>
    </form>
  );
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
