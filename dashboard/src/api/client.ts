import { SessionEnded, type Session } from "../session/session";
import { fetchJson, Problem, Unreachable, type Answer, type Call } from "./http";
import type { AuditEvent, CreatedKey, CurrentUser, Key, KeyPatch, NewKey, Page, Scope } from "./types";

/** A key, and the version of it that a change must name. */
export interface Versioned {
  key: Key;
  etag: string;
}

/** The API as the dashboard uses it. Every call throws a `Problem` when it fails. */
export class Api {
  constructor(
    private readonly base: URL,
    private readonly session: Session,
    /** Asks the person to sign in again; resolves when they have, rejects when they won't. */
    private readonly signInAgain: () => Promise<void>,
  ) {}

  me(): Promise<CurrentUser> {
    return this.#get("v1/auth/me");
  }

  /** All keys of the caller, or of `owner` for `root` and `operator`. */
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

  events(id: string, cursor: string | null): Promise<Page<AuditEvent>> {
    const query = cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
    return this.#get(`v1/api-keys/${encodeURIComponent(id)}/events${query}`);
  }

  /** The scopes that a key can be held to. */
  async scopes(): Promise<Scope[]> {
    return (await this.#get<{ items: Scope[] }>("v1/scopes")).items;
  }

  /** Calls the API with a new key, as a program would. */
  async tryKey(key: string): Promise<Answer<Key>> {
    return fetchJson<Key>(this.tryUrl(), { headers: { authorization: `Bearer ${key}` } });
  }

  /** The route that a new key is tried with: every key may call it, whatever its scopes. */
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
        token = refused === undefined ? await this.session.accessToken() : await this.session.freshToken(refused);
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
      // A token that the API refuses is renewed once; a renewed one that it refuses is the end of the session.
      if (answer.problem.status !== 401) throw answer.problem;
      if (refused !== undefined) {
        await this.session.signOut();
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
