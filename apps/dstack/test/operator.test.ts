import { describe, expect, it } from "vitest";
import { operatorConfigs } from "../src/operator/configs.js";
import { Settings, readSettings } from "../src/operator/settings.js";
import { exampleEnv } from "./build-config.js";

const IMAGE = { name: "dstack-0.1.0", mrtd: "00", rtmr0: "any" as const, rtmr1: "01", rtmr2: "02" };

describe("the settings of build-config.sh", () => {
  it("are those of its example, which is valid as it stands", async () => {
    const env = await exampleEnv();
    expect(Object.keys(env).toSorted()).toEqual(Object.keys(Settings.shape).toSorted());
    expect(readSettings(env)).toMatchObject({ TEEPOD_RPC_LISTEN_PORT: 9080, SIMULATED_TDX: false });
  });

  it("are refused with a sentence for each that is missing or wrong", async () => {
    const env: Record<string, string> = {
      ...(await exampleEnv()),
      TPROXY_WG_IP: "ten",
      KMS_RPC_LISTEN_PORT: "0",
    };
    delete env["PCCS_URL"];
    for (const sentence of [
      "PCCS_URL is missing",
      "TPROXY_WG_IP=ten: must be an IPv4",
      "KMS_RPC_LISTEN_PORT=0",
    ])
      expect(() => readSettings(env)).toThrow(sentence);
  });
});

describe("the configurations of an installation", () => {
  const configs = async (change: Record<string, string> = {}) =>
    operatorConfigs({
      dir: "/build",
      settings: readSettings({ ...(await exampleEnv()), ...change }),
      allowed: { kms: [IMAGE], tproxy: [IMAGE] },
      proxyCertificate: { cert: "/c.pem", key: "/k.pem" },
    });

  it("E10: trust Intel's root alone, and start VMs on TDX alone, unless the platform is simulated", async () => {
    const hardware = await configs();
    expect(JSON.stringify(hardware)).not.toContain("simulat");
    expect(hardware["teepod"]).toMatchObject({ cvm: { accel: "tdx", qgs_port: 4050 } });
    expect((await configs({ QGS_PORT: "4051" }))["teepod"]).toMatchObject({ cvm: { qgs_port: 4051 } });
    const simulated = await configs({ SIMULATED_TDX: "yes" });
    for (const daemon of ["kms", "tproxy"]) {
      expect(simulated[daemon]).toMatchObject({
        attestation: {
          insecure_simulated_roots: ["/build/certs/simulated-root.pem"],
          images: { allowed: [IMAGE] },
        },
      });
    }
  });

  it("have no certbot without a token, and its wildcard with one", async () => {
    expect(await configs()).not.toHaveProperty("certbot");
    expect((await configs({ CF_API_TOKEN: "secret" }))["certbot"]).toMatchObject({
      domain: "*.app.example.com",
      cf_api_token: "secret",
    });
  });

  it("let ct_monitor run as it is, and say that nothing proves this tproxy's keys", async () => {
    expect((await configs())["ct-monitor"]).toEqual({
      tproxy_url: "https://localhost:9070/prpc",
      tproxy_ca: "/build/certs/root-ca.pem",
      domain: "app.example.com",
      state_file: "/build/run/ct-monitor/state.json",
      insecure_keys_on_trust: true,
    });
  });

  it("P7: have tproxy serve operators on loopback, with the token of a file", async () => {
    expect((await configs())["tproxy"]).toMatchObject({
      admin: {
        host: "127.0.0.1",
        port: 9071,
        tokens: [{ name: "operator", token_file: "/build/certs/tproxy.token" }],
      },
    });
  });

  it("leave the passthrough port out where none is set", async () => {
    expect((await configs())["tproxy"]).toMatchObject({ proxy: { listen_port_passthrough: 9008 } });
    const { proxy } = (await configs({ TPROXY_LISTEN_PORT_PASSTHROUGH: "" }))["tproxy"] as { proxy: object };
    expect(proxy).not.toHaveProperty("listen_port_passthrough");
  });
});
