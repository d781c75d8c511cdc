/**
 * Reads server-sent events from pieces of text that break anywhere. `EventSource` would do it, but sends no header
 * and does not tell why it was refused.
 */
export class EventReader {
  #rest = "";

  constructor(private readonly onEvent: (type: string, data: unknown) => void) {}

  push(text: string): void {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop() ?? "";
    for (const block of blocks) this.#take(block);
  }

  #take(block: string): void {
    let type = "";
    let data = "";
    for (const line of block.split("\n")) {
      if (line.startsWith("event: ")) type = line.slice(7);
      else if (line.startsWith("data: ")) data = line.slice(6);
    }
    if (type !== "" && data !== "") this.onEvent(type, JSON.parse(data));
  }
}
