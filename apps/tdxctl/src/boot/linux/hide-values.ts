/** Shorter values are words and numbers that stand everywhere: a text without them would say nothing. */
const MIN_CHARS = 6;

/**
 * Takes the values of an environment out of a text: as they are, as programs quote them, and each line of those that have
 * several. Values of less than six characters stay.
 */
export function hideValues(environment: Readonly<Record<string, string>>): (text: string) => string {
  const forms = Object.values(environment)
    .flatMap((value) => [value, ...value.split(/[\r\n]+/)])
    .flatMap((value) => [value, JSON.stringify(value).slice(1, -1)])
    .filter((value) => value.length >= MIN_CHARS)
    // One may hold another.
    .toSorted((a, b) => b.length - a.length);
  return (text) => forms.reduce((rest, form) => rest.replaceAll(form, () => "[hidden]"), text);
}
