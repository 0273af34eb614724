import type { Key } from "../api/types";

export type KeysState = { kind: "loading" } | { kind: "ready"; keys: Key[] } | { kind: "failed" };

/** The loaded keys, kept while the person moves between the list and a key. */
export class Keys {
  state = $state.raw<KeysState>({ kind: "loading" });
  /** Why the last load failed. Keys that were loaded before are still shown. */
  problem = $state.raw<unknown>();
  /** Reloading, with the old keys still shown. */
  isBusy = $state(false);

  constructor(private readonly fetch: () => Promise<Key[]>) {}

  /** Loads again if the last load failed. */
  retry(): void {
    if (this.problem !== undefined) void this.load();
  }

  async load(): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      this.state = { kind: "ready", keys: await this.fetch() };
      this.problem = undefined;
    } catch (error) {
      this.problem = error;
      if (this.state.kind === "loading") this.state = { kind: "failed" };
    } finally {
      this.isBusy = false;
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
