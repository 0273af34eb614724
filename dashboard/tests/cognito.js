/** Administration of a local stack's user pool: creates people and ends their sessions. */
import { createHmac, randomUUID } from "node:crypto";
import { signRequest } from "@aws-amplify/core/internals/aws-client-utils";

const endpoint = process.env.AWS_ENDPOINT_URL;
const UserPoolId = process.env.VEGA_COGNITO_USER_POOL_ID;
const ClientId = process.env.VEGA_COGNITO_APP_CLIENT_ID;
const credentials = { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY };
const region = process.env.VEGA_COGNITO_REGION ?? "us-west-1";

export async function call(action, body) {
  const request = {
    method: "POST",
    url: new URL(endpoint),
    headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": `AWSCognitoIdentityProviderService.${action}` },
    body: JSON.stringify(body),
  };
  const { url, ...signed } = signRequest(request, { credentials, signingRegion: region, signingService: "cognito-idp" });
  const answer = await fetch(url, signed);
  const json = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(`${action}: ${JSON.stringify(json)}`), { name: json.__type });
  return json;
}

/** Creates somebody with a permanent password or, with `temporary`, one that they must change. */
export async function somebody({ temporary = false, group } = {}) {
  const email = `e2e-${randomUUID()}@example.com`;
  const password = `Vega-${randomUUID()}-1a`;
  const made = await call("AdminCreateUser", {
    UserPoolId,
    Username: email,
    MessageAction: "SUPPRESS",
    TemporaryPassword: password,
    UserAttributes: [
      { Name: "email", Value: email },
      { Name: "email_verified", Value: "true" },
    ],
  });
  if (!temporary) await call("AdminSetUserPassword", { UserPoolId, Username: email, Password: password, Permanent: true });
  if (group) await call("AdminAddUserToGroup", { UserPoolId, Username: email, GroupName: group });
  return { email, password, id: made.User.Attributes.find(({ Name }) => Name === "sub").Value };
}

/** Signs somebody in without SRP, as an administrator can. */
export async function refreshTokenOf({ email, password }) {
  const AuthParameters = { USERNAME: email, PASSWORD: password };
  const answer = await call("AdminInitiateAuth", { UserPoolId, ClientId, AuthFlow: "ADMIN_USER_PASSWORD_AUTH", AuthParameters });
  return answer.AuthenticationResult.RefreshToken;
}

export const disable = (email) => call("AdminDisableUser", { UserPoolId, Username: email });
export const endSessions = (email) => call("AdminUserGlobalSignOut", { UserPoolId, Username: email });
export const renew = (RefreshToken) => call("GetTokensFromRefreshToken", { ClientId, RefreshToken });

/** Requires an authenticator app for the person's sign-in, and returns the secret for `totp`. */
export async function withApp(accessToken) {
  const { SecretCode } = await call("AssociateSoftwareToken", { AccessToken: accessToken });
  await call("VerifySoftwareToken", { AccessToken: accessToken, UserCode: totp(SecretCode) });
  await call("SetUserMFAPreference", { AccessToken: accessToken, SoftwareTokenMfaSettings: { Enabled: true, PreferredMfa: true } });
  return SecretCode;
}

/** RFC 6238. */
export function totp(secret, at = Date.now()) {
  const bits = [...secret.replace(/=+$/, "")]
    .map((digit) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(digit).toString(2).padStart(5, "0"))
    .join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const hash = createHmac("sha1", key).update(counter).digest();
  const offset = hash[19] & 15;
  return String((hash.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}
