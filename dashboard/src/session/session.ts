import { fetchJson, type Answer } from "../api/http";
import type { SessionToken } from "../api/types";

export type { SignInConfig } from "../api/types";

/** The next step of a sign-in. */
export type Step =
  | { kind: "signed-in"; refreshToken: string }
  | { kind: "new-password" }
  | { kind: "code"; from: "app" | "email" | "sms"; destination?: string | undefined }
  | { kind: "choose"; options: Choice[] }
  | { kind: "set-up-app"; secret: string; link: string }
  | { kind: "reset"; destination?: string | undefined };

/** One of several ways to verify the person. */
export interface Choice {
  answer: string;
  label: string;
}

/** A person's sign-in at the provider. A rejected step throws a `Refusal` with a message for the person. */
export interface Authenticator {
  signIn(email: string, password: string): Promise<Step>;
  /** Answers the step that `signIn` or `confirm` returned: with a new password, a code or a choice. */
  confirm(answer: string): Promise<Step>;
  /** Sends a code for resetting a forgotten password. */
  forgot(email: string): Promise<Step>;
  /** Sets a new password with that code. */
  reset(email: string, code: string, password: string): Promise<void>;
}

/** A message for the person, with what to do next. */
export class Refusal extends Error {}

/** The session is over. */
export class SessionEnded extends Error {}

/** Renew an access token this many milliseconds before it expires. */
const EARLY = 60_000;

/** The entry of localStorage that names the person who is signed in with this browser. It isn't a credential. */
const SIGNED_IN = "vega-signed-in";

/**
 * A person's session. The refresh token is in a cookie that scripts can't read, and that only the API's route for renewals gets.
 * The access token is in this page's memory; a reload, and every other tab, gets a new one with the cookie.
 */
export class Session {
  readonly #url: URL;
  #access: string | undefined;
  #expires = 0;
  #renewal: Promise<string> | undefined;
  /** The person's id. A cookie that was replaced, by another tab or site, doesn't continue the session as somebody else. */
  #subject: string | undefined;

  constructor(
    base: URL,
    /** Loads the code for signing in. */
    readonly authenticator: () => Promise<Authenticator>,
  ) {
    this.#url = new URL("v1/session/token", base);
  }

  /** Begins the session with the refresh token of a sign-in. */
  async begin(refreshToken: string, email: string): Promise<void> {
    const answer = await this.#call<SessionToken>("POST", { refresh_token: refreshToken });
    if (!answer.ok) throw new Refusal(answer.problem.detail);
    try {
      this.#hold(answer.body.access_token);
    } catch {
      throw new Refusal("This is another account than before. Reload the page to use it.");
    }
    attempt(() => localStorage.setItem(SIGNED_IN, JSON.stringify({ subject: this.#subject, email })));
  }

  /** The person who is signed in with this browser, unless the session has ended meanwhile. */
  resume(): string | undefined {
    const { subject, email } = attempt(() => JSON.parse(localStorage.getItem(SIGNED_IN) ?? "{}") as Partial<Record<string, string>>) ?? {};
    this.#subject = subject;
    return email;
  }

  /** A token that is valid for the next request, and not `refused`. Throws `SessionEnded` if a new sign-in is required. */
  async token(refused?: string): Promise<string> {
    const good = this.#access !== undefined && this.#access !== refused && Date.now() < this.#expires - EARLY;
    if (good && this.#access !== undefined) return this.#access;
    this.#renewal ??= this.#renew().finally(() => (this.#renewal = undefined));
    return this.#renewal;
  }

  /** Ends the session, also at the issuer. Returns whether the API could be reached for that. */
  async end(): Promise<boolean> {
    this.forget();
    const { ok } = await this.#call("DELETE");
    this.forget(); // Also what a renewal brought meanwhile.
    return ok;
  }

  /** Forgets the session on this page and in this browser's storage. */
  forget(): void {
    this.#access = this.#subject = undefined;
    this.#expires = 0;
    attempt(() => localStorage.removeItem(SIGNED_IN));
  }

  async #renew(): Promise<string> {
    const answer = await this.#call<SessionToken>("POST");
    if (answer.ok) return this.#hold(answer.body.access_token);
    throw answer.problem.status === 401 ? new SessionEnded() : answer.problem;
  }

  /** One tab at a time: each renewal can replace the refresh token in the cookie. */
  async #call<T>(method: "POST" | "DELETE", body?: unknown): Promise<Answer<T>> {
    return await navigator.locks.request(SIGNED_IN, () => fetchJson<T>(this.#url, { method, body, credentials: "same-origin" }));
  }

  /**
   * This machine's clock may differ from the issuer's, so only the difference between the token's own times is used. This is only
   * for scheduling the renewal; the API decides whether a token is valid.
   */
  #hold(access: string): string {
    const { sub, iat = 0, exp = 0 } = claims(access);
    if (this.#subject !== undefined && this.#subject !== sub) throw new SessionEnded();
    this.#subject = sub;
    this.#access = access;
    this.#expires = Date.now() + (exp - iat) * 1000;
    return access;
  }
}

function claims(jwt: string): { sub?: string; iat?: number; exp?: number } {
  return attempt(() => JSON.parse(atob((jwt.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/")))) ?? {};
}

/** The result, or nothing if it fails: the browser may forbid storage. */
function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
