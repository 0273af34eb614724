export type { SignInConfig } from "../api/types";

/** The next step of a sign-in. */
export type Step =
  | { kind: "signed-in" }
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

/**
 * A person's session. The tokens live only in this page's memory, so a reload requires a new sign-in.
 * A rejected step throws a `Refusal` with a message for the person.
 */
export interface Session {
  signIn(email: string, password: string): Promise<Step>;
  /** Answers the step that `signIn` or `confirm` returned: with a new password, a code or a choice. */
  confirm(answer: string): Promise<Step>;
  /** Sends a code for resetting a forgotten password. */
  forgot(email: string): Promise<Step>;
  /** Sets a new password with that code. */
  reset(email: string, code: string, password: string): Promise<void>;
  /** A token that is valid for the next request. Throws `SessionEnded` if a new sign-in is required. */
  accessToken(): Promise<string>;
  /** Like `accessToken`, after the API rejected `refused`, even if that token still looks valid here. */
  freshToken(refused: string): Promise<string>;
  /** Ends the session, also at the issuer if it can be reached. */
  signOut(): Promise<void>;
}

/** A message for the person, with what to do next. */
export class Refusal extends Error {}

/** The session is over. */
export class SessionEnded extends Error {}

/** Renew an access token this many milliseconds before it expires. */
const EARLY = 60_000;

/** Holds the access token and renews it before it expires, once for all waiting requests. */
export class TokenHolder {
  #access: string | undefined;
  #expires = 0;
  #renewal: Promise<string> | undefined;

  constructor(private readonly renew: () => Promise<string>) {}

  hold(access: string): void {
    this.#access = access;
    this.#expires = Date.now() + lifetime(access);
  }

  drop(): void {
    this.#access = undefined;
    this.#expires = 0;
  }

  async token(refused?: string): Promise<string> {
    const good = this.#access !== undefined && this.#access !== refused && Date.now() < this.#expires - EARLY;
    if (good && this.#access !== undefined) return this.#access;
    this.#renewal ??= this.renew()
      .then((access) => {
        this.hold(access);
        return access;
      })
      .finally(() => (this.#renewal = undefined));
    return this.#renewal;
  }
}

/**
 * A token's lifetime in milliseconds. This machine's clock may differ from the issuer's, so only the difference between the
 * token's own times is used. This is only for scheduling the renewal; the API decides whether a token is valid.
 */
function lifetime(jwt: string): number {
  try {
    const claims = JSON.parse(atob((jwt.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"))) as { iat?: number; exp?: number };
    return ((claims.exp ?? 0) - (claims.iat ?? 0)) * 1000;
  } catch {
    return 0;
  }
}
