import { boolean, enumerated, integer, octetString, oid, sequence } from "./der.js";
import { extension } from "./certificates.js";

const SGX = "1.2.840.113741.1.13.1";

/** What Intel's PCK certificates say about a platform. */
export interface PckIdentity {
  /** 16 bytes. */
  readonly ppid: Uint8Array;
  /** The 16 SGX TCB component SVNs, each 0-255; CPUSVN has the same bytes. */
  readonly componentSvns: readonly number[];
  readonly pceSvn: number;
  /** 2 bytes. */
  readonly pceId: Uint8Array;
  /** 6 bytes. */
  readonly fmspc: Uint8Array;
  /** 16 bytes; only in certificates of the Platform CA. */
  readonly platformInstanceId?: Uint8Array | undefined;
}

/** The SGX extension of a PCK certificate (Intel "SGX PCK Certificate and CRL Profile" §1.3.4). */
export function sgxExtension(identity: PckIdentity): Uint8Array {
  const field = (suffix: string, value: Uint8Array): Uint8Array => sequence(oid(`${SGX}.${suffix}`), value);
  const components = identity.componentSvns.map((svn, i) => field(`2.${i + 1}`, integer(svn)));
  const platformFields =
    identity.platformInstanceId === undefined
      ? []
      : [
          field("6", octetString(identity.platformInstanceId)),
          field(
            "7",
            sequence(field("7.1", boolean(true)), field("7.2", boolean(true)), field("7.3", boolean(true))),
          ),
        ];
  const value = sequence(
    field("1", octetString(identity.ppid)),
    field(
      "2",
      sequence(
        ...components,
        field("2.17", integer(identity.pceSvn)),
        field("2.18", octetString(Uint8Array.from(identity.componentSvns))),
      ),
    ),
    field("3", octetString(identity.pceId)),
    field("4", octetString(identity.fmspc)),
    field("5", enumerated(identity.platformInstanceId === undefined ? 0 : 1)),
    ...platformFields,
  );
  return extension(SGX, value);
}
