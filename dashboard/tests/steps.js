/** What people do on the page, for all test files. Each file has its own browser. */
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { base, fillSignIn, KEY, launch, leftBehind, open, person, provider } from "./browser.js";
import * as cognito from "./cognito.js";

export const isCognito = provider === "cognito";
export const onlyCognito = isCognito ? false : "provider cognito only";
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/**
 * Runs with pages of a new browser context, and fails if anything went wrong on them. With `as`, somebody is signed in there: the
 * context begins with what a sign-in leaves behind, which takes a second less than the form.
 */
export async function onPage({ path, pages: count = 1, as }, run) {
  const storageState = as && (await signedIn(as));
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"], storageState });
  const pages = [];
  try {
    while (pages.length < count) pages.push(await open(context, path));
    for (const page of as && path === undefined ? pages : []) await page.getByRole("heading", { level: 1, name: /API key/ }).waitFor();
    await run(...pages);
    for (const page of pages) assert.deepEqual(await page.wrong(), []);
  } catch (error) {
    // What a person would have seen.
    for (const page of process.env.VEGA_SCREENSHOTS ? pages : []) {
      await page.screenshot({ path: `${process.env.VEGA_SCREENSHOTS}/${Date.now()}.png` });
    }
    throw error;
  } finally {
    await context.close();
  }
}

/** The cookie of a new session, and the page's entry about it. The person gets the access token, too. */
async function signedIn(who) {
  const refresh_token = await (isCognito ? cognito.refreshTokenOf(who) : debugLogin(who));
  const headers = { "content-type": "application/json", "sec-fetch-site": "same-origin" };
  const answer = await fetch(`${base}/v1/session/token`, { method: "POST", headers, body: JSON.stringify({ refresh_token }) });
  assert.equal(answer.status, 200);
  who.token = (await answer.json()).access_token;
  const { sub } = JSON.parse(Buffer.from(who.token.split(".")[1], "base64url"));
  const [, name, value] = /^([^=]+)=([^;]*)/.exec(answer.headers.get("set-cookie"));
  const cookie = {
    name,
    value,
    domain: new URL(base).hostname,
    path: "/v1/session",
    expires: -1,
    httpOnly: true,
    secure: true,
    sameSite: "Strict",
  };
  const entry = { name: "vega-signed-in", value: JSON.stringify({ subject: sub, email: who.email }) };
  return { cookies: [cookie], origins: [{ origin: new URL(base).origin, localStorage: [entry] }] };
}

async function debugLogin({ email, password }) {
  const body = JSON.stringify({ email, password });
  const answer = await fetch(`${base}/v1/auth/login`, { method: "POST", headers: { "content-type": "application/json" }, body });
  return (await answer.json()).refresh_token;
}

/** Creates keys for somebody who is signed in, and returns them. */
export async function keysOf(who, ...wanted) {
  const headers = { "content-type": "application/json" };
  const keys = [];
  for (const key of wanted) {
    const answer = await call("v1/api-keys", who.token, { method: "POST", headers, body: JSON.stringify(key) });
    assert.equal(answer.status, 201);
    keys.push(await answer.json());
  }
  return keys;
}

export const call = (path, token, init = {}) =>
  fetch(`${base}/${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } });

/** The user of a test: a new one with Cognito, otherwise the debug user. */
export const someone = () => (isCognito ? cognito.somebody({ group: "user" }) : person());

export async function signInAs(page, who) {
  await fillSignIn(page, who);
  await page.getByRole("heading", { level: 1, name: /API key/ }).waitFor();
}

/** Opens the form for a new key, which is the whole page for somebody without keys. */
export async function openForm(page) {
  const link = page.getByRole("link", { name: "Create key" });
  const field = page.getByLabel("Name", { exact: true });
  await link.or(field).first().waitFor();
  if (await link.isVisible()) await link.click();
  return field;
}

export async function create(page, name, options = async () => {}) {
  await (await openForm(page)).fill(name);
  await options(page);
  await page.getByRole("button", { name: "Create key" }).click();
  return page.getByLabel("The new API key").inputValue();
}

export async function store(page) {
  await page.getByRole("button", { name: "Copy key" }).click();
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.waitForURL(/#\/keys\/\w+$/);
}

/** Rotates the current key, and ends on the page of its successor. */
export async function rotate(page, options = async () => {}) {
  await page.getByRole("button", { name: "Rotate" }).click();
  await options(page);
  await page.getByRole("button", { name: "Rotate key" }).click();
  const key = await page.getByLabel("The new API key").inputValue();
  await store(page);
  await page.getByText("Replaces", { exact: true }).waitFor();
  return key;
}

export async function nothingOf(key, page) {
  for (const [place, content] of Object.entries(await leftBehind(page))) {
    assert.ok(!KEY.test(content), `a key is left in ${place}`);
    assert.ok(!content.includes(key.slice(16, 40)), `a part of the secret is left in ${place}`);
  }
}

/** Signs in, and returns the refresh token that Cognito gave to the page. */
export async function refreshTokenOf(page, who) {
  const target = "AWSCognitoIdentityProviderService.RespondToAuthChallenge";
  const answered = page.waitForResponse((answer) => answer.request().headers()["x-amz-target"] === target);
  const [answer] = await Promise.all([answered, signInAs(page, who)]);
  return (await answer.json()).AuthenticationResult.RefreshToken;
}

/** Ends the person's sessions. The emulator counts in seconds, so a session that began in this second ends in the next. */
export async function ended({ email }, refresh) {
  for (;;) {
    await cognito.endSessions(email);
    try {
      await cognito.renew(refresh);
    } catch (error) {
      assert.equal(error.name, "NotAuthorizedException");
      return;
    }
  }
}

/** The API's times are in whole seconds: returns in a later one. */
export async function nextSecond() {
  const second = () => Math.floor(Date.now() / 1000);
  for (const now = second(); second() === now;) await fetch(`${base}/v1/auth/config`);
}

/** The person's access token, from a request of the page. */
export async function tokenOf(page) {
  const [request] = await Promise.all([
    page.waitForRequest((request) => /^Bearer eyJ/.test(request.headers().authorization ?? "")),
    page.getByRole("button", { name: "Refresh" }).click(),
  ]);
  return request.headers().authorization.slice("Bearer ".length);
}
