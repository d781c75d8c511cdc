import type { Signal } from "@preact/signals";

export interface Secret {
  readonly key: string;
  readonly value: string;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * The variables that were filled in, in their order.
 * @throws {Error} a name that is none, or stands twice
 */
export function givenSecrets(rows: readonly Secret[]): readonly Secret[] {
  const given = rows.filter(({ key, value }) => key !== "" || value !== "");
  for (const { key } of given) {
    if (!NAME.test(key))
      throw new Error(`“${key}” cannot be the name of a variable: letters, digits and _ only.`);
  }
  const twice = given.find(({ key }, i) => given.findIndex((other) => other.key === key) < i);
  if (twice !== undefined) throw new Error(`The variable ${twice.key} stands there twice.`);
  return given;
}

/** `NAME=value` lines, as an env file has them; others are left out. */
function parseLines(text: string): Secret[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const equals = line.indexOf("=");
    return line.startsWith("#") || equals < 1
      ? []
      : [{ key: line.slice(0, equals), value: line.slice(equals + 1) }];
  });
}

/** Lines go to the rows of their names; for other names there are rows behind, the first in place of an empty one. */
function withLines(rows: readonly Secret[], at: number, lines: readonly Secret[]): Secret[] {
  const values = new Map(lines.map(({ key, value }) => [key, value]));
  const filled = rows.filter(({ key }, i) => i !== at || key !== "");
  const known = new Set(filled.map(({ key }) => key));
  return [
    ...filled.map(({ key, value }) => ({ key, value: values.get(key) ?? value })),
    ...[...values].filter(([key]) => !known.has(key)).map(([key, value]) => ({ key, value })),
  ];
}

/** Variables of the compose file whose values only the VM is to know. */
export function SecretFields({ rows, hint }: { rows: Signal<readonly Secret[]>; hint: string }) {
  const set = (at: number, change: Partial<Secret>): void => {
    rows.value = rows.value.map((row, i) => (i === at ? { ...row, ...change } : row));
  };
  const paste = (at: number, event: ClipboardEvent): void => {
    const lines = parseLines(event.clipboardData?.getData("text") ?? "");
    if (lines.length === 0) return;
    event.preventDefault();
    rows.value = withLines(rows.value, at, lines);
  };
  return (
    <fieldset>
      <legend>Secrets</legend>
      <p class="hint">{hint}</p>
      {rows.value.map((row, i) => (
        <div class="row" key={i}>
          <div class="grow">
            <label for={`secret-name-${i}`}>Name</label>
            <input
              id={`secret-name-${i}`}
              autocomplete="off"
              spellcheck={false}
              value={row.key}
              onPaste={(event) => paste(i, event)}
              onInput={(event) => set(i, { key: event.currentTarget.value })}
            />
          </div>
          <div class="grow">
            <label for={`secret-value-${i}`}>Value</label>
            <input
              id={`secret-value-${i}`}
              type="password"
              autocomplete="off"
              value={row.value}
              onInput={(event) => set(i, { value: event.currentTarget.value })}
            />
          </div>
          <button
            type="button"
            aria-label={`Leave out secret ${i + 1}`}
            onClick={() => (rows.value = rows.value.filter((_, other) => other !== i))}
          >
            Leave out
          </button>
        </div>
      ))}
      <p>
        <button type="button" onClick={() => (rows.value = [...rows.value, { key: "", value: "" }])}>
          Add a secret
        </button>
      </p>
    </fieldset>
  );
}
