/** TCB info v3 and QE identity v2 as JSON documents (Intel PCS API v4). Member order is that of Intel's answers. */

interface TcbComponent {
  svn: number;
  category?: string;
  type?: string;
}

/** One row of a table of security levels. */
export interface StatusLevel<Tcb> {
  tcb: Tcb;
  tcbDate: string;
  tcbStatus: string;
  advisoryIDs?: string[];
}

export interface TcbInfo {
  id: string;
  version: number;
  issueDate: string;
  nextUpdate: string;
  fmspc: string;
  pceId: string;
  tcbType: number;
  tcbEvaluationDataNumber: number;
  tdxModule: { mrsigner: string; attributes: string; attributesMask: string };
  tdxModuleIdentities: {
    id: string;
    mrsigner: string;
    attributes: string;
    attributesMask: string;
    tcbLevels: StatusLevel<{ isvsvn: number }>[];
  }[];
  tcbLevels: StatusLevel<{
    sgxtcbcomponents: TcbComponent[];
    pcesvn: number;
    tdxtcbcomponents: TcbComponent[];
  }>[];
}

export interface QeIdentity {
  id: string;
  version: number;
  issueDate: string;
  nextUpdate: string;
  tcbEvaluationDataNumber: number;
  miscselect: string;
  miscselectMask: string;
  attributes: string;
  attributesMask: string;
  mrsigner: string;
  isvprodid: number;
  tcbLevels: StatusLevel<{ isvsvn: number }>[];
}

export const EVALUATION_NUMBER = 18;
const CURRENT_DATE = "2024-11-13T00:00:00Z";
const OLD_DATE = "2023-08-09T00:00:00Z";

/** What the current level of {@link tcbInfo} asks of a platform: below what the simulated platform has. */
const CURRENT_SGX = [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
const CURRENT_TDX = [5, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
export const CURRENT_PCE_SVN = 13;
/** SVN of TDX module 1.x that is up to date. */
export const CURRENT_MODULE_SVN = 6;
export const CURRENT_QE_SVN = 4;

const MODULE = {
  mrsigner: "0".repeat(96),
  attributes: "0".repeat(16),
  attributesMask: "F".repeat(16),
};

const utcSeconds = (at: Date): string => at.toISOString().replace(/\.\d+Z$/, "Z");
const components = (svns: readonly number[]): TcbComponent[] => svns.map((svn) => ({ svn }));

export interface DocumentDates {
  readonly issueDate: Date;
  readonly nextUpdate: Date;
}

/** Three levels: current, outdated, and one that matches everything, so that "out of date" is never "no level". */
export function tcbInfo(dates: DocumentDates, platform: { fmspc: string; pceId: string }): TcbInfo {
  const outdated = { tcbStatus: "OutOfDate", advisoryIDs: ["INTEL-SA-00001", "INTEL-SA-00002"] };
  const lowest = CURRENT_SGX.map(() => 0);
  return {
    id: "TDX",
    version: 3,
    issueDate: utcSeconds(dates.issueDate),
    nextUpdate: utcSeconds(dates.nextUpdate),
    fmspc: platform.fmspc,
    pceId: platform.pceId,
    tcbType: 0,
    tcbEvaluationDataNumber: EVALUATION_NUMBER,
    tdxModule: MODULE,
    tdxModuleIdentities: [
      {
        id: "TDX_03",
        ...MODULE,
        tcbLevels: [{ tcb: { isvsvn: 3 }, tcbDate: CURRENT_DATE, tcbStatus: "UpToDate" }],
      },
      {
        id: "TDX_01",
        ...MODULE,
        tcbLevels: [
          { tcb: { isvsvn: CURRENT_MODULE_SVN }, tcbDate: CURRENT_DATE, tcbStatus: "UpToDate" },
          { tcb: { isvsvn: 2 }, tcbDate: OLD_DATE, ...outdated },
        ],
      },
    ],
    tcbLevels: [
      {
        tcb: {
          sgxtcbcomponents: components(CURRENT_SGX),
          pcesvn: CURRENT_PCE_SVN,
          tdxtcbcomponents: components(CURRENT_TDX),
        },
        tcbDate: CURRENT_DATE,
        tcbStatus: "UpToDate",
      },
      {
        tcb: {
          sgxtcbcomponents: components(CURRENT_SGX.map((svn) => Math.max(0, svn - 1))),
          pcesvn: 11,
          tdxtcbcomponents: components([5, 0, 2, ...CURRENT_TDX.slice(3)]),
        },
        tcbDate: OLD_DATE,
        ...outdated,
      },
      {
        tcb: { sgxtcbcomponents: components(lowest), pcesvn: 5, tdxtcbcomponents: components(lowest) },
        tcbDate: "2018-01-04T00:00:00Z",
        ...outdated,
      },
    ],
  };
}

/** @param mrSigner of the simulated TD quoting enclave, 64 upper-case hex digits */
export function qeIdentity(dates: DocumentDates, mrSigner: string): QeIdentity {
  return {
    id: "TD_QE",
    version: 2,
    issueDate: utcSeconds(dates.issueDate),
    nextUpdate: utcSeconds(dates.nextUpdate),
    tcbEvaluationDataNumber: EVALUATION_NUMBER,
    miscselect: "00000000",
    miscselectMask: "FFFFFFFF",
    attributes: "11000000000000000000000000000000",
    attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
    mrsigner: mrSigner,
    isvprodid: 2,
    tcbLevels: [
      { tcb: { isvsvn: CURRENT_QE_SVN }, tcbDate: CURRENT_DATE, tcbStatus: "UpToDate" },
      { tcb: { isvsvn: 2 }, tcbDate: OLD_DATE, tcbStatus: "OutOfDate", advisoryIDs: ["INTEL-SA-00003"] },
    ],
  };
}
