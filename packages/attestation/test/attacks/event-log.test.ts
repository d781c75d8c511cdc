import { sha512, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { raTlsReportData, runtimeEvent, verifyEvidence } from "../../src/index.js";
import {
  BOOT_EVENTS,
  REPORT_DATA,
  SYSTEM_READY,
  codeOf,
  evidenceOf,
  logOf,
  makeCase,
} from "../support/platform.js";

const log = JSON.stringify(logOf());
const verify = (eventLog: string, reportData = REPORT_DATA): string =>
  codeOf(() => verifyEvidence({ ...makeCase(), eventLog, reportData }));

describe("verifyEvidence", () => {
  it("gives quote, identity and the very events that were replayed", () => {
    const evidence = evidenceOf();
    expect(evidence.quote).toMatchObject({ anchor: "simulated", status: "UpToDate" });
    expect(evidence.identity.bootMrDone).toBe(true);
    expect(evidence.events).toEqual(logOf());
  });

  it("E2: refuses a log without one of its events, with one more, or with two in the other order", () => {
    const events = logOf();
    for (let at = 0; at < events.length; at++) {
      expect(verify(JSON.stringify(events.toSpliced(at, 1))), `without ${at}`).toBe("rtmr_mismatch");
      const twice = events.toSpliced(at, 0, ...events.slice(at, at + 1));
      expect(verify(JSON.stringify(twice)), `twice ${at}`).toBe("rtmr_mismatch");
    }
    const swapped = events.toSpliced(0, 2, ...events.slice(0, 2).reverse());
    expect(verify(JSON.stringify(swapped))).toBe("rtmr_mismatch");
  });

  it("E2: refuses an edited digest in each of the registers", () => {
    for (const imr of [0, 1, 2, 3]) {
      const events = logOf();
      const at = events.findIndex((entry) => entry.imr === imr);
      const edited = events.map((entry, i) => (i === at ? { ...entry, digest: "00".repeat(48) } : entry));
      expect(verify(JSON.stringify(edited)), `RTMR${imr}`).toBe("rtmr_mismatch");
    }
  });

  it("E2: refuses an empty log and a log of another boot", () => {
    expect(verify("[]")).toBe("rtmr_mismatch");
    expect(verify("")).toBe("event_log_malformed");
    expect(verify(JSON.stringify(logOf([...BOOT_EVENTS, SYSTEM_READY])))).toBe("rtmr_mismatch");
  });

  it("E2: refuses a right replay over events that are not what they say", () => {
    const events = logOf().map((entry) =>
      entry.event === "app-id" ? { ...entry, event_payload: "11".repeat(20) } : entry,
    );
    expect(verify(JSON.stringify(events))).toBe("event_digest_mismatch");
  });

  it("E3: refuses a guest that put a second app-id into the register", () => {
    const events = [...BOOT_EVENTS, runtimeEvent("app-id", new Uint8Array(20))];
    expect(codeOf(() => evidenceOf({ events }))).toBe("identity_invalid");
  });

  it("E4: refuses a quote over other report data, whole or short", () => {
    expect(verify(log, sha512("other"))).toBe("report_data_mismatch");
    expect(verify(log, REPORT_DATA.subarray(0, 32))).toBe("report_data_mismatch");
    expect(verify(log, new Uint8Array())).toBe("report_data_mismatch");
  });

  it("E4: the report data of a key is a tagged hash of its SPKI. FROZEN", () => {
    expect(raTlsReportData(utf8("spki"))).toEqual(sha512("ratls-cert:spki"));
  });
});
