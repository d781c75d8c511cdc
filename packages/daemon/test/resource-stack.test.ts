import { describe, expect, it } from "vitest";
import { ResourceStack } from "../src/index.js";

function recorder(): { log: string[]; resource: (name: string) => AsyncDisposable } {
  const log: string[] = [];
  return { log, resource: (name) => ({ [Symbol.asyncDispose]: async () => void log.push(name) }) };
}

describe("ResourceStack", () => {
  it("releases in reverse order", async () => {
    const { log, resource } = recorder();
    {
      await using stack = new ResourceStack();
      stack.use(resource("a"));
      stack.defer(() => log.push("b"));
      stack.use({ [Symbol.dispose]: () => void log.push("c") });
    }
    expect(log).toEqual(["c", "b", "a"]);
  });

  it("releases what was opened when building fails", async () => {
    const { log, resource } = recorder();
    const build = async (): Promise<void> => {
      await using stack = new ResourceStack();
      stack.use(resource("opened"));
      throw new Error("the next part failed");
    };
    await expect(build()).rejects.toThrow("the next part failed");
    expect(log).toEqual(["opened"]);
  });

  it("leaves the release to the stack it was moved to", async () => {
    const { log, resource } = recorder();
    const build = async (): Promise<ResourceStack> => {
      await using stack = new ResourceStack();
      stack.use(resource("a"));
      return stack.move();
    };
    const moved = await build();
    expect(log).toEqual([]);
    await moved[Symbol.asyncDispose]();
    expect(log).toEqual(["a"]);
    await moved[Symbol.asyncDispose]();
    expect(log).toEqual(["a"]);
  });

  it("goes on after a failing release and reports every failure", async () => {
    const { log, resource } = recorder();
    const stack = new ResourceStack();
    stack.use(resource("a"));
    stack.defer(() => {
      throw new Error("one");
    });
    stack.defer(() => Promise.reject(new Error("two")));
    await expect(stack[Symbol.asyncDispose]()).rejects.toMatchObject({
      errors: [new Error("two"), new Error("one")],
    });
    expect(log).toEqual(["a"]);
    expect(() => stack.defer(() => {})).toThrow("already disposed");
  });
});
