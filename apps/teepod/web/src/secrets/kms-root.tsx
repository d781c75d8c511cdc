import type { Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { formatFingerprint } from "./certificate.js";

const CONFIRMED = "teepod-kms-root";

/** Remembers it for the next time. */
export function rememberConfirmed(fingerprint: string): void {
  localStorage.setItem(CONFIRMED, fingerprint);
}

/**
 * Shows whose signature stands behind the key for secrets. teepod names its KMS itself, so whoever has secrets to
 * protect compares the fingerprint once.
 */
export function KmsRoot({ fingerprint, confirmed }: { fingerprint: string; confirmed: Signal<boolean> }) {
  const before = localStorage.getItem(CONFIRMED);
  useEffect(() => {
    confirmed.value = before === fingerprint;
  }, [fingerprint]);
  return (
    <section aria-labelledby="kms">
      <h2 id="kms">The KMS that will know the secrets</h2>
      <p>
        The secrets are encrypted in this browser to the app's key, which this KMS root has signed. SHA-256 of
        its certificate:
      </p>
      <pre>{formatFingerprint(fingerprint)}</pre>
      {before === fingerprint ? (
        <p class="hint">It is the one you confirmed on this browser before.</p>
      ) : (
        <>
          {before !== null && (
            <p class="problem">
              It is another one than you confirmed on this browser before, which was{" "}
              {formatFingerprint(before)}.
            </p>
          )}
          <p class="hint">
            Compare it with <code>openssl x509 -in root-ca.pem -noout -fingerprint -sha256</code> where your
            KMS runs.
          </p>
          <label class="check">
            <input
              type="checkbox"
              checked={confirmed.value}
              onChange={(event) => (confirmed.value = event.currentTarget.checked)}
            />{" "}
            This is my KMS
          </label>
        </>
      )}
    </section>
  );
}
