import { fetchJson } from "../api/http";
import { Refusal, SessionEnded, TokenHolder, type Session, type Step } from "./session";

/** Provider `custom`: the debug login on a developer's machine. It has one user, no codes and no password reset. */
export class DebugSession implements Session {
  #refresh: string | undefined;
  readonly #tokens = new TokenHolder(() => this.#renew());

  constructor(private readonly base: URL) {}

  async signIn(email: string, password: string): Promise<Step> {
    const answer = await this.#post("v1/auth/login", { email, password });
    if (!answer.ok) throw new Refusal(answer.problem.status === 401 ? "Wrong email or password." : answer.problem.detail);
    this.#refresh = answer.body.refresh_token;
    this.#tokens.hold(answer.body.access_token);
    return { kind: "signed-in" };
  }

  accessToken(): Promise<string> {
    return this.#tokens.token();
  }

  freshToken(refused: string): Promise<string> {
    return this.#tokens.token(refused);
  }

  async signOut(): Promise<void> {
    this.#refresh = undefined;
    this.#tokens.drop();
  }

  confirm(): Promise<Step> {
    throw new Refusal("The debug login has no further steps.");
  }

  forgot(): Promise<Step> {
    throw new Refusal("The debug user's password is in the settings of this local stack.");
  }

  reset(): Promise<void> {
    return this.forgot().then(() => undefined);
  }

  async #renew(): Promise<string> {
    if (this.#refresh === undefined) throw new SessionEnded();
    const answer = await this.#post("v1/auth/refresh", { refresh_token: this.#refresh });
    if (answer.ok) return answer.body.access_token;
    if (answer.problem.status === 401) throw new SessionEnded();
    throw answer.problem;
  }

  #post(path: string, body: unknown) {
    return fetchJson<{ access_token: string; refresh_token?: string }>(new URL(path, this.base), { method: "POST", body });
  }
}
