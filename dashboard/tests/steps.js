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

/** Runs with pages of a new browser context, and fails if anything went wrong on them. */
export async function onPage({ path, pages: count = 1 }, run) {
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
  const pages = [];
  try {
    while (pages.length < count) pages.push(await open(context, path));
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
