export type { SignInConfig } from "../api/types";

/** What stands between a correct password and being signed in. */
export type Step =
  | { kind: "signed-in" }
  | { kind: "new-password" }
  | { kind: "code"; from: "app" | "email" | "sms"; destination?: string | undefined }
  | { kind: "choose"; options: Choice[] }
  | { kind: "set-up-app"; secret: string; link: string }
  | { kind: "reset"; destination?: string | undefined };

/** A way to prove that it is you, where there are several. */
export interface Choice {
  answer: string;
  label: string;
}

/**
 * A person's sign-in. The tokens live in the memory of this page and nowhere else: a reload signs in again.
 * Whatever is refused is thrown as a `Refusal`, in words for a person.
 */
export interface Session {
  signIn(email: string, password: string): Promise<Step>;
  /** Answers the step that `signIn` or `confirm` gave: a new password, a code, or a choice. */
  confirm(answer: string): Promise<Step>;
  /** Sends a code to reset a forgotten password with. */
  forgot(email: string): Promise<Step>;
  /** Sets a new password with that code. */
  reset(email: string, code: string, password: string): Promise<void>;
  /** A token that is good for the next request. Throws `SessionEnded` when only a new sign-in helps. */
  accessToken(): Promise<string>;
  /** As `accessToken`, after the API refused `refused`, which may look good here. */
  freshToken(refused: string): Promise<string>;
  /** Ends it at the issuer too, as far as that can be reached. */
  signOut(): Promise<void>;
}

/** What the person should read, and what to do next. */
export class Refusal extends Error {}

/** Nobody is signed in any more. */
export class SessionEnded extends Error {}

/** How long before its end an access token is renewed, in milliseconds. */
const EARLY = 60_000;

/** Holds the tokens, and renews them before they expire: once, however many requests wait for it. */
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
 * For how long a token is good, in milliseconds. Its times are the issuer's, which this machine's clock need not agree with:
 * so only the distance between them counts. It is read for timing alone; only the API decides whether the token is good.
 */
function lifetime(jwt: string): number {
  try {
    const claims = JSON.parse(atob((jwt.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"))) as { iat?: number; exp?: number };
    return ((claims.exp ?? 0) - (claims.iat ?? 0)) * 1000;
  } catch {
    return 0;
  }
}
