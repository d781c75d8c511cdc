import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { errorMessage, readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { z } from "zod";
import { StoreError } from "../errors.js";

/** An account at one CA. Without `uri` its key exists, but the CA's answer to its registration was not seen yet. */
export interface Account {
  ca: string;
  directory: string;
  /** PKCS#8 PEM, P-256. */
  keyPem: string;
  uri?: string | undefined;
  /** The CA's names in CAA records. */
  caaNames?: string[] | undefined;
}

const MAX_FILE_BYTES = 256 * 1024;

const privateKey = z.string().refine((pem) => {
  try {
    return createPrivateKey(pem).asymmetricKeyType === "ec";
  } catch {
    return false;
  }
}, "is not an EC private key in PEM");

const Form = z.strictObject({
  version: z.literal(1),
  accounts: z.array(
    z.strictObject({
      ca: z.string(),
      directory: z.url(),
      keyPem: privateKey,
      uri: z.url().optional(),
      caaNames: z.array(z.string()).optional(),
    }),
  ),
});

/**
 * `credentials.json`: the ACME accounts of a work directory. CAA records name them, so an account must never be
 * replaced by a new one because its file could not be read (rule C2).
 */
export class CredentialsFile {
  private constructor(
    readonly path: string,
    private accounts: Account[],
    readonly existed: boolean,
  ) {}

  /** @throws {StoreError} `corrupt`: the file is there but is not what we wrote */
  static async open(path: string): Promise<CredentialsFile> {
    const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
    if (bytes === undefined) return new CredentialsFile(path, [], false);
    try {
      const { accounts } = Form.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
      return new CredentialsFile(path, accounts, true);
    } catch (err) {
      const why =
        err instanceof z.ZodError
          ? err.issues.map(({ path: at, message }) => `${at.join(".")}: ${message}`).join("; ")
          : errorMessage(err);
      throw new StoreError(
        "corrupt",
        `${path} is damaged (${why}). Restore it from a backup: CAA records name its account, and no new one is made ` +
          `in its place. If it is lost for good, move it away and run "certbot init"`,
        {},
        { cause: err },
      );
    }
  }

  get(directory: string): Account | undefined {
    return this.accounts.find((account) => account.directory === directory);
  }

  /** The account's entry, with a new key where there is none; on disk before it returns, so that a crash keeps it. */
  async getOrCreate(ca: string, directory: string): Promise<Account> {
    const known = this.get(directory);
    if (known !== undefined) return known;
    const { privateKey: key } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const account = { ca, directory, keyPem: key.export({ type: "pkcs8", format: "pem" }) as string };
    await this.save(account);
    return account;
  }

  /** Adds or replaces the entry of the same directory. */
  async save(account: Account): Promise<void> {
    const others = this.accounts.filter(({ directory }) => directory !== account.directory);
    this.accounts = [...others, account];
    const text = JSON.stringify({ version: 1, accounts: this.accounts }, null, 2);
    await writeFileAtomic(this.path, `${text}\n`, { mode: 0o600 });
  }
}
