import type { Key } from "../api/types";

export type KeysState = { kind: "loading" } | { kind: "ready"; keys: Key[] } | { kind: "failed"; error: unknown };

/** The loaded keys, kept while the person moves between the list and a key. */
export class Keys {
  state = $state.raw<KeysState>({ kind: "loading" });
  /** Reloading, with the old keys still shown. */
  busy = $state(false);

  constructor(private readonly fetch: () => Promise<Key[]>) {}

  async load(): Promise<void> {
    this.busy = true;
    try {
      this.state = { kind: "ready", keys: await this.fetch() };
    } catch (error) {
      this.state = { kind: "failed", error };
    } finally {
      this.busy = false;
    }
  }

  /** Adds a new key, or replaces a changed one. */
  put(key: Key): void {
    if (this.state.kind !== "ready") return;
    const others = this.state.keys.filter(({ id }) => id !== key.id);
    this.state = { kind: "ready", keys: [key, ...others] };
  }

  find(id: string): Key | undefined {
    return this.state.kind === "ready" ? this.state.keys.find((key) => key.id === id) : undefined;
  }
}
