import { confirmResetPassword, confirmSignIn, resetPassword, signIn, type SignInOutput } from "@aws-amplify/auth";
import { cognitoUserPoolsTokenProvider } from "@aws-amplify/auth/cognito";
import { Amplify } from "@aws-amplify/core";
import { Refusal, type Authenticator, type Choice, type SignInConfig, type Step } from "./session";

/** Provider `cognito`: signs in to the user pool over SRP, so that the password is never sent. */
export class Cognito implements Authenticator {
  constructor(config: Extract<SignInConfig, { provider: "cognito" }>) {
    const Auth = {
      Cognito: {
        userPoolId: config.user_pool_id,
        userPoolClientId: config.app_client_id,
        ...(config.user_pool_endpoint === undefined ? {} : { userPoolEndpoint: config.user_pool_endpoint }),
      },
    };
    cognitoUserPoolsTokenProvider.setAuthConfig(Auth);
    cognitoUserPoolsTokenProvider.setKeyValueStorage(new Memory());
    Amplify.configure({ Auth }, { Auth: { tokenProvider: cognitoUserPoolsTokenProvider } });
  }

  async signIn(email: string, password: string): Promise<Step> {
    return this.#step(() => signIn({ username: email, password, options: { authFlowType: "USER_SRP_AUTH" } }), email);
  }

  confirm(answer: string): Promise<Step> {
    return this.#step(() => confirmSignIn({ challengeResponse: answer }));
  }

  async forgot(email: string): Promise<Step> {
    const { nextStep } = await refusing(() => resetPassword({ username: email }));
    return { kind: "reset", destination: nextStep.codeDeliveryDetails?.destination };
  }

  async reset(email: string, code: string, password: string): Promise<void> {
    await refusing(() => confirmResetPassword({ username: email, confirmationCode: code, newPassword: password }));
  }

  async #step(call: () => Promise<SignInOutput>, email?: string): Promise<Step> {
    try {
      const { nextStep } = await refusing(call);
      return await this.#next(nextStep, email);
    } finally {
      forgetPersistedStep();
    }
  }

  async #next(next: SignInOutput["nextStep"], email: string | undefined): Promise<Step> {
    switch (next.signInStep) {
      case "DONE": {
        const { tokenOrchestrator } = cognitoUserPoolsTokenProvider;
        const tokens = await tokenOrchestrator.tokenStore?.loadTokens();
        // Amplify keeps nothing: with its own copy, it would also call the next sign-in "already signed in".
        await tokenOrchestrator.clearTokens();
        if (!tokens?.refreshToken) throw new Refusal("Cognito signed you in without a refresh token. Try again.");
        return { kind: "signed-in", refreshToken: tokens.refreshToken };
      }
      case "CONFIRM_SIGN_IN_WITH_NEW_PASSWORD_REQUIRED":
        return { kind: "new-password" };
      case "CONFIRM_SIGN_IN_WITH_TOTP_CODE":
        return { kind: "code", from: "app" };
      case "CONFIRM_SIGN_IN_WITH_EMAIL_CODE":
        return { kind: "code", from: "email", destination: next.codeDeliveryDetails?.destination };
      case "CONFIRM_SIGN_IN_WITH_SMS_CODE":
        return { kind: "code", from: "sms", destination: next.codeDeliveryDetails?.destination };
      case "CONTINUE_SIGN_IN_WITH_MFA_SELECTION":
      case "CONTINUE_SIGN_IN_WITH_MFA_SETUP_SELECTION":
        return { kind: "choose", options: (next.allowedMFATypes ?? []).map(choice) };
      case "CONTINUE_SIGN_IN_WITH_TOTP_SETUP": {
        const { sharedSecret, getSetupUri } = next.totpSetupDetails;
        return { kind: "set-up-app", secret: sharedSecret, link: getSetupUri("Vega", email).toString() };
      }
      case "RESET_PASSWORD":
        if (email === undefined) throw new Refusal("Your password must be reset: use “Forgot your password?”.");
        return this.forgot(email);
      case "CONFIRM_SIGN_UP":
        throw new Refusal("Your account isn't confirmed yet. Use the link or code that you were sent, or ask the person who invited you.");
      default:
        throw new Refusal("Your account uses a sign-in method this page doesn't support. Ask your administrator.");
    }
  }
}

/** Amplify's store, kept in memory. */
class Memory {
  readonly #items = new Map<string, string>();

  async setItem(key: string, value: string): Promise<void> {
    this.#items.set(key, value);
  }
  async getItem(key: string): Promise<string | null> {
    return this.#items.get(key) ?? null;
  }
  async removeItem(key: string): Promise<void> {
    this.#items.delete(key);
  }
  async clear(): Promise<void> {
    this.#items.clear();
  }
}

/** Amplify writes an unfinished sign-in to sessionStorage so that it survives a reload. Nothing should survive one here. */
function forgetPersistedStep(): void {
  for (const key of Object.keys(sessionStorage)) if (key.startsWith("CognitoSignInState.")) sessionStorage.removeItem(key);
}

function choice(type: string): Choice {
  const labels: Record<string, string> = {
    TOTP: "A code from an authenticator app",
    EMAIL: "A code by email",
    SMS: "A code by text message",
  };
  return { answer: type, label: labels[type] ?? type };
}

const THROTTLED = "Too many attempts. Wait a few minutes, then try again.";

/** Messages for Cognito's errors, by their name. */
const WORDS: Record<string, string> = {
  UserNotFoundException: "Wrong email or password.",
  CodeMismatchException: "That code is wrong. Check it, or request a new one.",
  EnableSoftwareTokenMFAException: "That code is wrong. Check your phone's clock, and try the next code.",
  ExpiredCodeException: "That code has expired. Request a new one.",
  InvalidPasswordException: "That password is too weak: use at least 12 characters, with upper- and lower-case letters and a number.",
  PasswordHistoryPolicyViolationException: "You have used that password before. Choose another one.",
  PasswordResetRequiredException: "Your password must be reset: use “Forgot your password?”.",
  UserNotConfirmedException: "Your account isn't confirmed yet. Ask the person who invited you.",
  TooManyRequestsException: THROTTLED,
  LimitExceededException: THROTTLED,
  TooManyFailedAttemptsException: THROTTLED,
  CodeDeliveryFailureException: "The code could not be sent. Try again in a few minutes.",
  SignInException: "The sign-in timed out. Start again with your password.",
};

async function refusing<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (isNetwork(error)) throw new Refusal("Cognito can't be reached, so you can't sign in. Check your connection, then try again.");
    const { name = "", message = "" } = error as Partial<Error>;
    throw new Refusal(
      name === "NotAuthorizedException" ? notAuthorized(message) : (WORDS[name] ?? `You could not be signed in (${name}). Try again.`),
    );
  }
}

/** Cognito uses this error for many causes, which only the text distinguishes. */
function notAuthorized(message: string): string {
  if (/attempts exceeded/i.test(message)) return THROTTLED;
  if (/disabled/i.test(message)) return "This account is disabled. Ask your administrator.";
  if (/temporary password has expired/i.test(message))
    return "Your temporary password has expired. Ask the person who invited you for a new one.";
  if (/session/i.test(message)) return "The sign-in timed out. Start again with your password.";
  return "Wrong email or password.";
}

function isNetwork(error: unknown): boolean {
  return error instanceof Error && (error.name === "NetworkError" || error instanceof TypeError);
}
