import { MAX_COMPOSE_BYTES } from "@dstack/app-compose";
import { useSignal } from "@preact/signals";
import type { Signal } from "@preact/signals";
import { Problem } from "@dstack/dashboard/web";

const TOO_LARGE = `is larger than ${MAX_COMPOSE_BYTES / 1024} KiB, which is the most a VM takes. Was it the right file?`;

/** A compose file: pasted, dropped or picked. */
export function ComposeInput({ text, label }: { text: Signal<string>; label: string }) {
  const problem = useSignal("");
  const over = useSignal(false);
  const read = async (file: File | null | undefined): Promise<void> => {
    if (file === null || file === undefined) return;
    if (file.size > MAX_COMPOSE_BYTES) {
      // Not even read: a wrong file may be as large as a disk.
      problem.value = `${file.name} ${TOO_LARGE}`;
      return;
    }
    try {
      text.value = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      problem.value = "";
    } catch {
      problem.value = `${file.name} is not a text file in UTF-8.`;
    }
  };
  const paste = (event: ClipboardEvent): void => {
    const pasted = event.clipboardData?.getData("text") ?? "";
    if (pasted.length <= MAX_COMPOSE_BYTES) return;
    event.preventDefault();
    problem.value = `What you pasted ${TOO_LARGE}`;
  };
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    over.value = false;
    void read(event.dataTransfer?.files[0]);
  };
  return (
    <div
      class={`field drop ${over.value ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        over.value = true;
      }}
      onDragLeave={() => (over.value = false)}
      onDrop={drop}
    >
      <label for="compose">{label}</label>
      <p class="hint" id="compose-hint">
        A <code>docker-compose.yaml</code>, or an app-compose document, which is taken byte for byte. Paste
        it, drop a file here, or pick one:
      </p>
      <input
        type="file"
        aria-label="Pick a compose file"
        accept=".yaml,.yml,.json,text/*"
        onChange={(event) => void read(event.currentTarget.files?.[0])}
      />
      <textarea
        id="compose"
        class="code"
        aria-describedby="compose-hint"
        spellcheck={false}
        value={text.value}
        onPaste={paste}
        onInput={(event) => {
          text.value = event.currentTarget.value;
          problem.value = "";
        }}
      />
      <Problem text={problem.value} />
    </div>
  );
}
