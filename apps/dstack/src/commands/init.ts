import { errorCode } from "@dstack/core";
import type { Command } from "commander";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { CliError, printResult } from "../output.js";
import type { GlobalOptions } from "../output.js";

const COMPOSE = `services:
  web:
    # Pin it before you deploy for others: image: nginx@sha256:… names the exact bytes that run.
    image: nginx:1.27-alpine
    ports: ["80:80"]
    # A variable that is encrypted to this app: its name is measured, its value only the CVM can read.
    environment: [GREETING]
    # Keys and quotes for your container: docs/app-developer.md, "What your container can ask".
    volumes:
      - /var/run/tappd.sock:/var/run/tappd.sock
    restart: unless-stopped
`;

const ENV_EXAMPLE = `# Copy this to .env, which stays with you: its values are encrypted to the app before they leave this machine.
GREETING=hello
`;

const readme = (name: string): string => `# ${name}

A Docker Compose app that runs in a confidential VM.

    cp .env.example .env
    dstack deploy docker-compose.yaml --dry-run --env-file .env    # what will be measured, and the app id
    dstack deploy docker-compose.yaml --wait --env-file .env       # prints the app's address
    dstack logs -f ${name}
    dstack verify https://<app id>.<base domain>/                  # what anyone can check

Change a variable:

    dstack env set ${name} GREETING=hi --env-file .env && dstack restart ${name} --wait

Change the app: edit docker-compose.yaml, then \`dstack upgrade ${name} docker-compose.yaml\`. The operator of the KMS has to allow
the new document before it gets the app's keys.
`;

/** `dstack init` */
export function registerInit(program: Command): void {
  program
    .command("init")
    .description("make a directory for an app: compose file, env example, README")
    .argument("[directory]", "where", ".")
    .action(async (where: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const dir = resolve(where);
      const name = basename(dir);
      const files: Record<string, string> = {
        "docker-compose.yaml": COMPOSE,
        ".env.example": ENV_EXAMPLE,
        ".gitignore": ".env\n",
        "README.md": readme(name),
      };
      for (const file of Object.keys(files)) await requireNone(join(dir, file));
      await mkdir(dir, { recursive: true });
      for (const [file, text] of Object.entries(files))
        await writeFile(join(dir, file), text, { flag: "wx" });
      const go = where === "." ? "" : `cd ${where} && `;
      const next = `${go}cp .env.example .env && dstack deploy docker-compose.yaml --env-file .env --wait`;
      printResult(options, { directory: dir, files: Object.keys(files), next }, () =>
        [`${Object.keys(files).join(", ")} are in ${dir}`, `next: ${next}`].join("\n"),
      );
    });
}

/** @throws {CliError} nothing that is there is written over */
async function requireNone(path: string): Promise<void> {
  try {
    await stat(path);
  } catch (err) {
    if (errorCode(err) === "ENOENT") return;
    throw err;
  }
  throw new CliError(`${path} is there already: \`dstack init\` writes over nothing; name another directory`);
}
