type Release = () => unknown;

/**
 * Holds resources and releases them in reverse order; what `AsyncDisposableStack` is in newer runtimes.
 * A service builds itself inside `await using stack = new ResourceStack()` and hands `stack.move()` to its result:
 * if building fails half-way, everything opened so far is released.
 */
export class ResourceStack implements AsyncDisposable {
  #releases: Release[] = [];
  #disposed = false;

  /** Takes charge of a resource and returns it. */
  use<T extends AsyncDisposable | Disposable>(resource: T): T {
    this.defer(() => {
      if (Symbol.asyncDispose in resource) return resource[Symbol.asyncDispose]();
      return resource[Symbol.dispose]();
    });
    return resource;
  }

  /** Calls a function on release. */
  defer(release: Release): void {
    if (this.#disposed) throw new Error("the resource stack is already disposed");
    this.#releases.push(release);
  }

  /** Moves everything into a new stack, which is now in charge; this one holds nothing any more. */
  move(): ResourceStack {
    if (this.#disposed) throw new Error("the resource stack is already disposed");
    const moved = new ResourceStack();
    moved.#releases = this.#releases;
    this.#releases = [];
    this.#disposed = true;
    return moved;
  }

  /**
   * Releases everything, last first. A release that fails does not stop the others.
   * @throws what the release threw, or an AggregateError when several did
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    const errors: unknown[] = [];
    for (let release = this.#releases.pop(); release !== undefined; release = this.#releases.pop()) {
      try {
        await release();
      } catch (err) {
        errors.push(err);
      }
    }
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, "several resources could not be released");
  }
}
