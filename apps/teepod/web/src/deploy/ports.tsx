import type { Signal } from "@preact/signals";
import type { PortMapping } from "../wire.js";
import { hello } from "../live.js";

/** Host ports forwarded to the VM, where this host allows any. */
export function PortFields({ ports }: { ports: Signal<readonly PortMapping[]> }) {
  const policy = hello.value?.host.port_mapping;
  const set = (at: number, change: Partial<PortMapping>): void => {
    ports.value = ports.value.map((port, i) => (i === at ? { ...port, ...change } : port));
  };
  if (policy?.enabled !== true) return null;
  const number = (i: number, key: "host_port" | "vm_port", label: string) => (
    <div>
      <label for={`${key}-${i}`}>{label}</label>
      <input
        id={`${key}-${i}`}
        type="number"
        required
        min={1}
        max={65535}
        value={Number.isNaN(ports.value[i]?.[key]) ? "" : ports.value[i]?.[key]}
        onInput={(event) => set(i, { [key]: event.currentTarget.valueAsNumber })}
      />
    </div>
  );
  return (
    <fieldset>
      <legend>Ports of the host</legend>
      <p class="hint">
        Forwarded to the VM without the gateway. This host gives {policy.ranges.join(", ") || "none"}.
      </p>
      {ports.value.map((port, i) => (
        <div class="row" key={i}>
          <div>
            <label for={`protocol-${i}`}>Protocol</label>
            <select
              id={`protocol-${i}`}
              value={port.protocol}
              onChange={(event) => set(i, { protocol: event.currentTarget.value })}
            >
              <option value="tcp">TCP</option>
              <option value="udp">UDP</option>
            </select>
          </div>
          {number(i, "host_port", "Host port")}
          {number(i, "vm_port", "VM port")}
          <button
            type="button"
            aria-label={`Leave out port ${i + 1}`}
            onClick={() => (ports.value = ports.value.filter((_, other) => other !== i))}
          >
            Leave out
          </button>
        </div>
      ))}
      <p>
        <button
          type="button"
          onClick={() =>
            (ports.value = [...ports.value, { protocol: "tcp", host_port: Number.NaN, vm_port: Number.NaN }])
          }
        >
          Add a port
        </button>
      </p>
    </fieldset>
  );
}
