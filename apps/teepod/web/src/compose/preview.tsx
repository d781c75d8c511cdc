import type { AppDocument } from "./document.js";

/** The document exactly as it will be sent, and the id that follows from it. */
export function Preview({ made }: { made: AppDocument }) {
  return (
    <section aria-labelledby="document">
      <h2 id="document">The document, exactly as it is sent</h2>
      <pre tabIndex={0} role="region" aria-label="App-compose document">
        {made.text}
      </pre>
      <dl>
        <dt>Size</dt>
        <dd>{made.bytes} bytes</dd>
        <dt>Compose hash</dt>
        <dd>
          <code>{made.hash}</code>
        </dd>
      </dl>
      {made.notices.map((notice) => (
        <p key={notice} class="banner warn">
          {notice}
        </p>
      ))}
    </section>
  );
}
