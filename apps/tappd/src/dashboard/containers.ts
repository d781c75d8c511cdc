import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import type { ContainerEngine, ListedContainer } from "../docker/engine.js";
import { entry, formatTime } from "./format.js";
import { refreshLinks } from "./refresh.js";

/** The containers, each with where its log is. */
export async function containersPage(
  engine: ContainerEngine,
  refresh: number | undefined,
  signal: AbortSignal,
): Promise<Html> {
  const [containers, digests] = await Promise.all([
    engine.listContainers(signal),
    engine.imageDigests(signal),
  ]);
  const cards = containers.map((container) => card(container, digests.get(container.ImageID) ?? []));
  return html`${refreshLinks("/containers", refresh)} ${cards.length === 0 ? NOTHING : cards}`;
}

const NOTHING = html`<p class="empty">
  There are no containers yet. While images are pulled there is nothing to see here:
  <code>dstack logs</code> and teepod's page show the boot.
</p>`;

/** The engine's name for it, without the slash in front. */
const nameOf = ({ Names, Id }: ListedContainer): string => Names[0]?.replace(/^\//, "") ?? Id;

function card(container: ListedContainer, digests: readonly string[]): Html {
  const name = nameOf(container);
  const service = container.Labels?.["com.docker.compose.service"];
  const { health, text } = stateOf(container);
  return html`<article class="card">
    <h2><bdi>${name}</bdi></h2>
    <dl>
      ${entry("State", html`<span class="${container.State === "running" && health !== "unhealthy" ? "good" : "bad"}">${text}</span>`)}
      ${entry("Health", health ?? "not checked: the image or the compose file names no health check")}
      ${service === undefined ? "" : entry("Service", service)}
      ${entry("Image", html`<code>${container.Image}</code>`)}
      ${entry("Digest", html`<code>${digests.length === 0 ? "none: not pulled from a registry" : digests.join(" ")}</code>`)}
      ${entry("Image id", html`<code>${container.ImageID}</code>`)}
      ${entry("Command", html`<code>${container.Command}</code>`)}
      ${entry("Created", formatTime(container.Created * 1000))}
      ${entry("Log", html`<a href="/containers/${encodeURIComponent(name)}">Read the log<span class="quiet"> of ${name}</span></a>`)}
    </dl>
  </article> `;
}

/** The engine tells health as part of its sentence: "Up 2 minutes (healthy)". */
function stateOf({ State, Status }: ListedContainer): { text: string; health: string | undefined } {
  const health = /\((healthy|unhealthy|health: starting)\)$/.exec(Status)?.[1];
  return {
    text: `${State}: ${Status.replace(/ \([a-z: ]+\)$/, "")}`,
    health: health === "health: starting" ? "starting" : health,
  };
}
