/** The newest pieces of a text, as many as fit into a number of characters. */
export class Tail {
  readonly #limit: number;
  readonly #pieces: string[] = [];
  #first = 0;
  #length = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether older pieces had to go. */
  get dropped(): boolean {
    return this.#first > 0;
  }

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  push(piece: string): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
    while (this.#length > this.#limit && this.#first < this.#pieces.length - 1) {
      this.#length -= this.#pieces[this.#first]?.length ?? 0;
      this.#pieces[this.#first] = "";
      this.#first += 1;
    }
  }

  /** Oldest first. */
  *pieces(): Generator<string> {
    for (let index = this.#first; index < this.#pieces.length; index += 1) yield this.#pieces[index] ?? "";
  }
}
