export { CodedError, InputError, TimeoutError, assertNever, errorCode, errorMessage } from "./errors.js";
export { concatBytes, fromHex, hex, sameBytes, sha256, sha384, sha512, utf8 } from "./bytes.js";
export { appIdOfCompose, parseAppId, parseInstanceId, parseVmId } from "./ids.js";
export type { AppId, InstanceId, VmId } from "./ids.js";
export { withProcessLock } from "./process-lock.js";
export { Serial, abortable, sleep, withDeadline } from "./time.js";
export { x509FromDer } from "./x509.js";
export { CountLimit, sourceKey } from "./count-limit.js";
export { createFileExclusive, readRegularFile, readRegularFileIfAny, writeFileAtomic } from "./files.js";
