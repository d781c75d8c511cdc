import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { CodedError, InputError, errorCode } from "@dstack/core";

/** A key file is a few hundred bytes. */
const MAX_KEY_FILE_BYTES = 64 * 1024;

/** A file that holds a secret is missing, or others could read or change it. */
export class SecretFileError extends CodedError<"missing" | "not_regular" | "permissions" | "too_large"> {
  override name = "SecretFileError";
}

/**
 * Reads a file that only its owner may read or write (K4): regular, no link, no permission for group or others, and
 * owned by us or root.
 * @throws {SecretFileError} with a sentence that names the file and the command that mends it
 */
export async function readSecretFile(path: string): Promise<string> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (err) {
    const code = errorCode(err);
    if (code === "ENOENT") throw new SecretFileError("missing", `key file ${path} does not exist`);
    if (code === "ELOOP") throw new SecretFileError("not_regular", `key file ${path} is a symbolic link`);
    throw new InputError(`key file ${path} cannot be read (${code ?? "unknown error"})`, { cause: err });
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new SecretFileError("not_regular", `key file ${path} is not a regular file`);
    if ((stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
      throw new SecretFileError("permissions", `key file ${path} has mode ${mode}; run: chmod 600 ${path}`);
    }
    const own = process.getuid?.() ?? 0;
    if (stat.uid !== own && stat.uid !== 0) {
      throw new SecretFileError("permissions", `key file ${path} belongs to another user (uid ${stat.uid})`);
    }
    if (stat.size > MAX_KEY_FILE_BYTES)
      throw new SecretFileError("too_large", `key file ${path} is too large`);
    return (await file.readFile()).toString("utf8");
  } finally {
    await file.close();
  }
}
