import { errorCode, errorMessage } from "@dstack/core";
import { DeviceError, type DeviceErrorCode } from "../quote-provider.js";

/** What a system error of a device, configfs or sysfs file means. */
const MEANING: Readonly<Record<string, DeviceErrorCode>> = {
  ENOENT: "no_device",
  ENODEV: "no_device",
  ENXIO: "no_device",
  ENOTDIR: "no_device",
  EACCES: "permission",
  EPERM: "permission",
  EROFS: "permission",
  EBUSY: "retryable",
  EAGAIN: "retryable",
  EINTR: "retryable",
  ETIMEDOUT: "retryable",
  EINVAL: "bad_argument",
  EFBIG: "bad_argument",
  ENOTTY: "unsupported",
  ENOSYS: "unsupported",
  EOPNOTSUPP: "unsupported",
};

/**
 * A system error in our terms.
 * @param what what was being done
 * @param meanings where an error code means something else for this operation
 */
export function deviceError(
  err: unknown,
  what: string,
  meanings: Readonly<Record<string, DeviceErrorCode>> = {},
): DeviceError {
  if (err instanceof DeviceError) return err;
  const errno = errorCode(err) ?? "";
  const code = meanings[errno] ?? MEANING[errno] ?? "device_failure";
  return new DeviceError(code, `${what}: ${errorMessage(err)}`, { errno }, { cause: err });
}
