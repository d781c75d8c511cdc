import { randomBytes } from "node:crypto";
import { utf8 } from "@dstack/core";
import { encryptEnv, x25519PublicKey } from "@dstack/ra-tls";
import type { EnvVariable } from "@dstack/ra-tls";
import { describe, expect, it } from "vitest";
import { parseAppCompose } from "../../src/boot/app-compose.js";
import type { AppCompose } from "../../src/boot/app-compose.js";
import { openEnvironment } from "../../src/boot/environment.js";

const secret = new Uint8Array(randomBytes(32));

function compose(allowed: readonly string[]): AppCompose {
  const document = {
    runner: "docker-compose",
    docker_compose_file: "services: {}",
    features: ["kms"],
    allowed_envs: allowed,
  };
  return parseAppCompose(utf8(JSON.stringify(document)));
}
const bundle = (...env: EnvVariable[]): Uint8Array => encryptEnv(x25519PublicKey(secret), env);

describe("openEnvironment", () => {
  it("opens a bundle whose names the compose document allows", () => {
    const sealed = bundle({ key: "TOKEN", value: "a b'\"$c\n" }, { key: "MODE", value: "" });
    expect(openEnvironment(secret, sealed, compose(["TOKEN", "MODE", "UNUSED"]))).toEqual({
      TOKEN: "a b'\"$c\n",
      MODE: "",
    });
    expect(openEnvironment(secret, undefined, compose(["TOKEN"]))).toEqual({});
  });

  it("K7: a name that is not allowed stops the boot, and the message does not tell the value", () => {
    const sealed = bundle({ key: "LD_PRELOAD", value: "/tmp/evil.so" });
    expect(() => openEnvironment(secret, sealed, compose(["TOKEN"]))).toThrow(
      'the encrypted environment sets "LD_PRELOAD", which allowed_envs does not name',
    );
    expect(() => openEnvironment(secret, sealed, compose([]))).toThrow(/^(?!.*evil\.so)/);
  });

  it("K7: a bundle for another app, or a changed one, stops the boot", () => {
    const sealed = bundle({ key: "TOKEN", value: "x" });
    expect(() => openEnvironment(new Uint8Array(randomBytes(32)), sealed, compose(["TOKEN"]))).toThrow(
      "cannot be decrypted",
    );
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = new Uint8Array(sealed);
      changed[at] = (changed[at] ?? 0) ^ 0x40;
      expect(() => openEnvironment(secret, changed, compose(["TOKEN"]))).toThrow();
    }
    expect(() => openEnvironment(secret, new Uint8Array(0), compose(["TOKEN"]))).toThrow("too short");
  });

  it("K7: a name given twice, or a value no process could take, stops the boot", () => {
    const twice = bundle({ key: "TOKEN", value: "a" }, { key: "TOKEN", value: "b" });
    expect(() => openEnvironment(secret, twice, compose(["TOKEN"]))).toThrow("sets TOKEN twice");
    const nul = bundle({ key: "TOKEN", value: "a\0b" });
    expect(() => openEnvironment(secret, nul, compose(["TOKEN"]))).toThrow("NUL");
  });

  it.each(["A=B", "", "1A", "A B", "__proto__\n"])("K7: a compose document cannot allow %j", (name) => {
    expect(() => compose([name])).toThrow("must be the name of an environment variable");
  });
});
