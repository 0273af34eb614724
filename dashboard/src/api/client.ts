import { SessionEnded, type Session } from "../session/session";
import { fetchJson, Problem, Unreachable, type Answer, type Call } from "./http";
import type { AuditEvent, CreatedKey, CurrentUser, EnabledKeys, Key, KeyPatch, NewKey, Page, Scope } from "./types";

/** A key with its version, which a change must state. */
export interface Versioned {
  key: Key;
  etag: string;
}

/** The API calls of the dashboard. Each throws a `Problem` if it fails. */
export class Api {
  /** The keys that were tried out on this page, by id. */
  readonly tried = new Set<string>();

  constructor(
    /** The API's base URL. */
    readonly base: URL,
    private readonly session: Session,
    /** Asks the person to sign in again. Resolves when they have, rejects if they refuse. */
    private readonly signInAgain: () => Promise<void>,
  ) {}

  me(): Promise<CurrentUser> {
    return this.#get("v1/auth/me");
  }

  /** All keys of the caller or, for `root` and `operator`, of `owner`. */
  async keys(owner?: string): Promise<Key[]> {
    const path = owner === undefined ? "v1/api-keys?limit=100" : `v1/admin/api-keys?limit=100&owner=${encodeURIComponent(owner)}`;
    const keys: Key[] = [];
    let cursor: string | null = null;
    do {
      const page: Page<Key> = await this.#get(cursor === null ? path : `${path}&cursor=${encodeURIComponent(cursor)}`);
      keys.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor !== null);
    return keys;
  }

  async key(id: string): Promise<Versioned> {
    return versioned(await this.#call<Key>(`v1/api-keys/${encodeURIComponent(id)}`));
  }

  async create(key: NewKey, idempotencyKey: string): Promise<CreatedKey> {
    return (await this.#call<CreatedKey>("v1/api-keys", { method: "POST", body: key, headers: { "idempotency-key": idempotencyKey } }))
      .body;
  }

  async change(id: string, patch: KeyPatch, etag: string): Promise<Versioned> {
    const path = `v1/api-keys/${encodeURIComponent(id)}`;
    return versioned(await this.#call<Key>(path, { method: "PATCH", body: patch, headers: { "if-match": etag } }));
  }

  async rotate(id: string, overlapSeconds: number, etag: string, idempotencyKey: string): Promise<CreatedKey> {
    const path = `v1/api-keys/${encodeURIComponent(id)}/rotate`;
    const headers = { "if-match": etag, "idempotency-key": idempotencyKey };
    return (await this.#call<CreatedKey>(path, { method: "POST", body: { overlap_seconds: overlapSeconds }, headers })).body;
  }

  async revoke(id: string, reason: string, admin: boolean): Promise<void> {
    const query = reason === "" ? "" : `?reason=${encodeURIComponent(reason)}`;
    await this.#call(`v1/${admin ? "admin/" : ""}api-keys/${encodeURIComponent(id)}${query}`, { method: "DELETE" });
  }

  /** Revokes all live keys of `owner`, for `root` and `operator`. */
  async revokeAll(owner: string, reason: string, blockTokens: boolean): Promise<void> {
    const query = new URLSearchParams({ owner, ...(reason === "" ? {} : { reason }), block_older_tokens: String(blockTokens) });
    await this.#call(`v1/admin/api-keys?${query.toString()}`, { method: "DELETE" });
  }

  /** Enables the keys that were disabled because their owner was. Returns their number. */
  async enableAll(owner: string): Promise<number> {
    const path = `v1/admin/api-keys/enable?owner=${encodeURIComponent(owner)}`;
    return (await this.#call<EnabledKeys>(path, { method: "POST" })).body.enabled;
  }

  events(id: string, cursor: string | null): Promise<Page<AuditEvent>> {
    const query = cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
    return this.#get(`v1/api-keys/${encodeURIComponent(id)}/events${query}`);
  }

  /** The scopes that a key can be limited to. */
  async scopes(): Promise<Scope[]> {
    return (await this.#get<{ items: Scope[] }>("v1/scopes")).items;
  }

  /** Calls the API with a new key, as a program would. */
  async tryKey({ id, key }: CreatedKey): Promise<Answer<Key>> {
    this.tried.add(id);
    return fetchJson<Key>(this.tryUrl(), { headers: { authorization: `Bearer ${key}` } });
  }

  /** The route for trying out a new key: every key can call it, whatever its scopes. */
  tryUrl(): URL {
    return new URL("v1/api-keys/self", this.base);
  }

  async #get<T>(path: string): Promise<T> {
    return (await this.#call<T>(path)).body;
  }

  async #call<T>(path: string, call: Call = {}): Promise<Extract<Answer<T>, { ok: true }>> {
    let refused: string | undefined;
    for (;;) {
      let token: string;
      try {
        token = await this.session.token(refused);
        if (token === refused) throw new SessionEnded();
      } catch (error) {
        if (!(error instanceof SessionEnded)) throw error instanceof Problem ? error : new Unreachable();
        await this.signInAgain();
        refused = undefined;
        continue;
      }
      const headers = { ...call.headers, authorization: `Bearer ${token}` };
      const answer = await fetchJson<T>(new URL(path, this.base), { ...call, headers });
      if (answer.ok) return answer;
      // A rejected token is renewed once. If the renewed one is rejected too, the session is over.
      if (answer.problem.status !== 401) throw answer.problem;
      if (refused !== undefined) {
        this.session.forget();
        await this.signInAgain();
        refused = undefined;
        continue;
      }
      refused = token;
    }
  }
}

function versioned({ body, etag }: { body: Key; etag: string | null }): Versioned {
  return { key: body, etag: etag ?? `"${body.version}"` };
}
