import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { logIn, sessionOver, wordsOf } from "./api.js";
import { Problem } from "./parts.js";
import { PROGRAM } from "./program.js";

/**
 * Asks for the token. The browser keeps a session in its place, of which scripts can read one half.
 * @param props.tokens where tokens are found
 */
export function Login({ tokens }: { tokens: ComponentChildren }) {
  const token = useSignal("");
  const problem = useSignal("");
  const busy = useSignal(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    busy.value = true;
    problem.value = "";
    try {
      await logIn(token.value.trim());
    } catch (err) {
      problem.value = wordsOf(err);
    } finally {
      busy.value = false;
    }
  };
  return (
    <main class="login">
      <h1>{PROGRAM}</h1>
      {sessionOver.value && <p class="banner warn">Your session is over. Log in again to go on.</p>}
      <form onSubmit={(event) => void submit(event)}>
        <label for="token">Access token</label>
        <input
          id="token"
          type="password"
          autocomplete="current-password"
          required
          autofocus
          value={token.value}
          onInput={(event) => (token.value = event.currentTarget.value)}
        />
        <Problem text={problem.value} />
        <button class="primary" type="submit" disabled={busy.value}>
          Log in
        </button>
      </form>
      <p class="quiet">{tokens}</p>
    </main>
  );
}
