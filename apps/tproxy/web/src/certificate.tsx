import { Problem, State, duration, moment, useAction, useAnswer } from "@dstack/dashboard/web";
import { useSignal } from "@preact/signals";
import { call } from "./api.js";
import { Id } from "./id.js";
import { hello, nodeTime, site } from "./live.js";
import type { Certificate, CertificateKey, KeyVerdict, ServedCertificate } from "./wire.js";

/** A certificate that ends sooner should have been renewed. */
const SOON_MS = 14 * 86_400_000;

function End({ notAfter }: { notAfter: number }) {
  const left = notAfter - nodeTime.value;
  const when = moment(new Date(notAfter).toISOString());
  if (left <= 0) return <State status={`ended ${when}`} mood="bad" />;
  return (
    <State status={`until ${when}, ${duration(left)} from now`} mood={left < SOON_MS ? "bad" : "good"} />
  );
}

function Served({ certificate }: { certificate: ServedCertificate }) {
  return (
    <>
      <dl>
        <dt>Names</dt>
        <dd>{certificate.names.join(", ")}</dd>
        <dt>In use</dt>
        <dd>
          <End notAfter={certificate.not_after} />
        </dd>
        <dt>File</dt>
        <dd>
          <code>{certificate.file}</code>
        </dd>
      </dl>
      {certificate.refusal !== "" && (
        <p class="problem">
          What the files hold now is refused, and the old certificate stays in use: {certificate.refusal}
        </p>
      )}
    </>
  );
}

/** The certificates in use, and the button that has tproxy look for new ones. */
function InUse({ certificate, onReload }: { certificate: Certificate; onReload: () => void }) {
  const { run, busy, problem } = useAction();
  const said = useSignal("");
  const reload = (): void =>
    run(async () => {
      said.value = "";
      const { refusal } = await call<{ refusal: string }>("ReloadCertificate");
      said.value = refusal === "" ? "What is in use is what the files hold." : "";
      onReload();
    });
  return (
    <>
      {certificate.certificates.map((each) => (
        <Served key={each.file} certificate={each} />
      ))}
      <p class="bar">
        <button type="button" disabled={busy.value} onClick={reload}>
          Read it now
        </button>
        <span class="quiet" role="status">
          {said.value}
        </span>
      </p>
      <Problem text={problem.value} />
    </>
  );
}

function Account({ certificate }: { certificate: Certificate }) {
  if (certificate.account_uri === "") {
    return (
      <p class="empty">
        certbot has told of no account: the certificate comes from elsewhere. Where certbot makes it,{" "}
        <code>acme_account_file</code> names the file that it writes.
      </p>
    );
  }
  return (
    <dl>
      <dt>Account</dt>
      <dd>
        <code>{certificate.account_uri}</code>
      </dd>
      <dt>CAA</dt>
      <dd>
        {certificate.caa.length === 0
          ? "none"
          : certificate.caa.map((record) => (
              <div key={record}>
                <code>{record}</code>
              </div>
            ))}
      </dd>
    </dl>
  );
}

/** What this node says to a key's quote. */
function Verdict({ certificateKey: { digest, has_evidence: has } }: { certificateKey: CertificateKey }) {
  const { answer, problem } = useAnswer(
    async () => (has ? call<KeyVerdict>("VerifyKey", { digest }) : undefined),
    [digest, has],
  );
  if (!has) return <>no quote</>;
  if (problem.value !== "") return <Problem text={problem.value} />;
  if (answer.value === undefined) return <>verifying…</>;
  const { refusal, app_id: app, instance_id: instance } = answer.value;
  if (refusal !== "") {
    return (
      <>
        <State status="not verified" mood="bad" />: {refusal}
      </>
    );
  }
  return (
    <>
      <State status="verified by this node" mood="good" />: app <Id id={app} />, instance <Id id={instance} />
    </>
  );
}

function Keys({ certificate }: { certificate: Certificate }) {
  return (
    <>
      <p class="quiet">
        {certificate.can_quote
          ? "Each key gets a quote of this guest while its certificate is in use."
          : "This tproxy was not told that it runs in a CVM (tappd_socket): its keys get no quotes, and monitors have to take its word."}{" "}
        {certificate.num_keys > certificate.keys.length &&
          `The newest ${certificate.keys.length} of ${certificate.num_keys}. `}
        <a href="/.dstack/acme-info" target="_blank" rel="noreferrer">
          What monitors are told
        </a>
      </p>
      <table class="stacked">
        <thead>
          <tr>
            <th scope="col">SHA-256 of the key</th>
            <th scope="col">Use</th>
            <th scope="col">Evidence</th>
          </tr>
        </thead>
        <tbody>
          {certificate.keys.map((key) => (
            <tr key={key.digest}>
              <th scope="row">
                {key.has_evidence ? (
                  <a href={`/.dstack/acme-info/${key.digest}`} target="_blank" rel="noreferrer">
                    <code>{key.digest}</code>
                  </a>
                ) : (
                  <code>{key.digest}</code>
                )}
              </th>
              <td data-label="Use">{key.in_use ? "in use" : "earlier"}</td>
              <td data-label="Evidence">
                <Verdict certificateKey={key} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

/** The proxy's certificates, who orders them, and the keys they had. */
export function CertificatePage() {
  const looks = useSignal(0);
  const { not_after: end, refusal } = site.value?.certificate ?? {};
  const { answer, problem } = useAnswer(
    () => call<Certificate>("GetCertificate"),
    [hello.value?.run, end, refusal, looks.value],
  );
  const certificate = answer.value;
  return (
    <>
      <h1>Certificate</h1>
      <Problem text={problem.value} />
      {certificate !== undefined && (
        <>
          <InUse certificate={certificate} onReload={() => (looks.value += 1)} />
          <h2>ACME account</h2>
          <Account certificate={certificate} />
          <h2>Keys</h2>
          <Keys certificate={certificate} />
        </>
      )}
    </>
  );
}
