import { fetchJson } from "../api/http";
import { Refusal, type Authenticator, type Step } from "./session";

/** Provider `custom`: the debug login on a developer's machine. It has one user, no codes and no password reset. */
export class DebugLogin implements Authenticator {
  constructor(private readonly base: URL) {}

  async signIn(email: string, password: string): Promise<Step> {
    const answer = await fetchJson<{ refresh_token: string }>(new URL("v1/auth/login", this.base), {
      method: "POST",
      body: { email, password },
    });
    if (!answer.ok) throw new Refusal(answer.problem.status === 401 ? "Wrong email or password." : answer.problem.detail);
    return { kind: "signed-in", refreshToken: answer.body.refresh_token };
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
}
