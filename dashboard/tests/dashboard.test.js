/** The dashboard in a real browser, against a running stack: what a person does there, and every state they may meet. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { accessible, base, fillSignIn, fits, KEY, launch, leftBehind, open, person, provider, signIn } from "./browser.js";
import * as cognito from "./cognito.js";

const isCognito = provider === "cognito";
const onlyCognito = isCognito ? false : "provider cognito only";
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/** A page of its own, closed afterwards, on which nothing may have gone wrong. */
async function onPage(options, run) {
  const page = await open(browser, options);
  try {
    await run(page);
    assert.deepEqual(await page.wrong(), []);
  } catch (error) {
    // what a person would have seen
    if (process.env.VEGA_SCREENSHOTS) await page.screenshot({ path: `${process.env.VEGA_SCREENSHOTS}/${Date.now()}.png` });
    throw error;
  } finally {
    await page.context().close();
  }
}

const call = (path, token, init = {}) =>
  fetch(`${base}/${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } });

/** Who a test works as: somebody new where there can be, else the one debug user. */
const someone = () => (isCognito ? cognito.somebody({ group: "user" }) : person());

async function signInAs(page, who) {
  await fillSignIn(page, who);
  await page.getByRole("heading", { level: 1, name: /API key/ }).waitFor();
}

async function create(page, name, options = async () => {}) {
  const link = page.getByRole("link", { name: "Create key" });
  const field = page.getByLabel("Name", { exact: true });
  await link.or(field).first().waitFor();
  if (await link.isVisible()) await link.click();
  await field.fill(name);
  await options(page);
  await page.getByRole("button", { name: "Create key" }).click();
  return page.getByLabel("The new API key").inputValue();
}

async function store(page) {
  await page.getByRole("button", { name: "Copy The key" }).click();
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

async function nothingOf(key, page) {
  for (const [place, content] of Object.entries(await leftBehind(page))) {
    assert.ok(!KEY.test(content), `a key is left in ${place}`);
    assert.ok(!content.includes(key.slice(16, 40)), `a part of the secret is left in ${place}`);
  }
}

// First, since provider custom has one user: they have no key yet.
test("somebody who never saw it has a working key in under a minute, and ends it", async () => {
  const who = await someone();
  await onPage({}, async (page) => {
    const started = Date.now();
    await signInAs(page, who);
    await page.getByRole("heading", { name: "Make your first API key" }).waitFor();
    assert.equal(await page.locator(".why li").count(), 3);
    await accessible(page, "empty");
    await fits(page, "empty");
    assert.ok(await page.getByLabel("90 days").isChecked());
    assert.match(await page.getByText(/^Expires on /).textContent(), /Expires on \w+day, \w+ \d+, 20\d\d at /);

    const key = await create(page, "first key");
    assert.match(key, KEY);
    await page.getByRole("button", { name: "Try it now" }).click();
    await page.getByText(/It works: the API answered /).waitFor();
    assert.ok(Date.now() - started < 60_000);
    assert.equal((await call("v1/auth/me", key)).status, 200);
    await accessible(page, "reveal");
    await fits(page, "reveal");

    await page.keyboard.press("Escape");
    await page.getByText("You have neither copied nor downloaded it.").waitFor();
    await accessible(page, "reveal, asking");
    await page.getByRole("button", { name: "Go back to it" }).click();
    await page.getByRole("button", { name: "Copy The key" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
    await page.getByRole("status").filter({ hasText: "The key copied" }).waitFor({ state: "attached" });
    const command = await page.locator(".command pre").textContent();
    assert.equal(command, `curl -s ${base}/v1/api-keys/self -H "Authorization: Bearer ${key}"`);
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download .env" }).click()]);
    assert.equal(await readFile(await file.path(), "utf8"), `VEGA_API_KEY=${key}\n`);
    await page.evaluate(() => navigator.clipboard.writeText(""));
    await page.getByRole("button", { name: "Done" }).click();

    await page.getByRole("heading", { level: 1, name: "first key" }).waitFor();
    await nothingOf(key, page);
    await page.getByText("Created", { exact: true }).first().waitFor();
    await accessible(page, "a key");
    await fits(page, "a key");

    // it was used just now, so its name is wanted
    await page.reload();
    await nothingOf(key, page);
    await signInAgain(page, who, "first key");
    await page.getByRole("button", { name: "Revoke" }).click();
    const revoke = page.getByRole("button", { name: "Revoke key" });
    await page.getByText("It stops working at once").waitFor();
    assert.ok(await revoke.isDisabled());
    await accessible(page, "revoking");
    await fits(page, "revoking");
    await page.getByLabel(/type its name/).fill("first key");
    await page.getByLabel(/^Reason/).fill("the test is over");
    await revoke.click();
    await page.locator(".badge.revoked").waitFor();
    assert.equal((await call("v1/auth/me", key)).status, 401);
    await page.getByRole("link", { name: "All keys" }).click();
    await page.getByText("0 of 1 key").waitFor();
    await accessible(page, "nothing matches");
    await nothingOf(key, page);
  });
});

async function signInAgain(page, who, heading) {
  await fillSignIn(page, who);
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
}

test("the first load is at most 75 KB of gzipped JavaScript, and nothing comes from anywhere else", async () => {
  await onPage({}, async (page) => {
    const files = new Set();
    page.on("response", (answer) => files.add(answer.url()));
    await page.reload();
    await page.getByRole("button", { name: "Sign in", exact: true }).waitFor();
    await page.waitForLoadState("networkidle");
    let bytes = 0;
    for (const file of files) {
      assert.equal(new URL(file).origin, new URL(base).origin);
      if (file.endsWith(".js")) bytes += gzipSync(await (await fetch(file)).text()).length;
    }
    assert.ok(bytes > 10_000 && bytes <= 75 * 1024, `${bytes} bytes`);
  });
});

test("the page comes with its strict headers, and its files are kept for ever", async () => {
  const page = await fetch(`${base}/api-keys`);
  const policy = page.headers.get("content-security-policy");
  assert.ok(policy.includes("default-src 'none'") && policy.includes("require-trusted-types-for 'script'") && !policy.includes("unsafe"));
  for (const [name, value] of [
    ["cache-control", "no-store"],
    ["referrer-policy", "no-referrer"],
    ["x-content-type-options", "nosniff"],
  ]) {
    assert.equal(page.headers.get(name), value);
  }
  assert.match(page.headers.get("strict-transport-security"), /max-age=\d{8}/);
  const [, script] = /src="\.\/(api-keys\/assets\/[^"]+\.js)"/.exec(await page.text());
  const file = await fetch(`${base}/${script}`);
  assert.match(file.headers.get("cache-control"), /immutable/);
  assert.equal((await fetch(`${base}/api-keys/assets/nothing.js`)).status, 404);
});

test(
  "the page works below a stage as it does at a domain",
  { skip: process.env.VEGA_STAGE_URL ? false : "needs the stack's stage" },
  async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${process.env.VEGA_STAGE_URL}/api-keys`);
    await page.getByRole("button", { name: "Sign in", exact: true }).waitFor();
    await context.close();
  },
);

describe("signing in", () => {
  test("a wrong password is refused in words, a right one opens the keys, and neither is ever sent with Cognito", async () => {
    const who = await someone();
    await onPage({}, async (page) => {
      const sent = [];
      page.on("request", (request) => sent.push(`${request.url()} ${request.postData() ?? ""}`));
      assert.equal(await page.getByText("Local debug login.").isVisible(), !isCognito);
      await accessible(page, "sign in");
      await fits(page, "sign in");
      await fillSignIn(page, { ...who, password: "Not-the-password-1" });
      await page.getByRole("alert").filter({ hasText: "The e-mail address or the password is wrong." }).waitFor();
      assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("type")), "password");
      await accessible(page, "wrong password");
      await signInAs(page, who);
      if (isCognito) {
        assert.ok(
          sent.some((request) => request.includes("USER_SRP_AUTH")) && sent.some((request) => request.includes("PASSWORD_VERIFIER")),
        );
        assert.ok(!sent.some((request) => request.includes(who.password) || request.includes("Not-the-password-1")));
      }
      const left = await leftBehind(page);
      for (const place of ["localStorage", "sessionStorage", "indexedDB", "cookies", "url", "document"]) {
        assert.ok(!/eyJ[\w-]+\.eyJ/.test(left[place]), `a token is in ${place}`);
      }
      assert.equal(left.sessionStorage, "{}");
      assert.equal(left.localStorage, "{}");
    });
  });

  test("a temporary password must be changed first", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ temporary: true, group: "user" });
    await onPage({}, async (page) => {
      await fillSignIn(page, who);
      await page.getByRole("heading", { name: "Choose your password" }).waitFor();
      await accessible(page, "new password");
      assert.equal((await leftBehind(page)).sessionStorage, "{}");
      await page.getByLabel("New password").fill(`${who.password}-mine`);
      await page.getByRole("button", { name: "Set it and go on" }).click();
      await page.getByRole("heading", { name: "Make your first API key" }).waitFor();
    });
  });

  test("a code of an authenticator app is asked for, and a wrong one refused", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ group: "user" });
    let access;
    await onPage({}, async (page) => {
      page.on("request", (request) => (access ??= /^Bearer (eyJ.*)$/.exec(request.headers().authorization ?? "")?.[1]));
      await signInAs(page, who);
    });
    const secret = await cognito.withApp(access);
    await onPage({}, async (page) => {
      await fillSignIn(page, who);
      await page.getByRole("heading", { name: "Enter your code" }).waitFor();
      await accessible(page, "code");
      const right = cognito.totp(secret);
      await page.getByLabel("Code").fill(right === "000000" ? "111111" : "000000");
      await page.getByRole("button", { name: "Go on" }).click();
      await page.getByText("That code is not right.").waitFor();
      await page.getByLabel("Code").fill(cognito.totp(secret));
      await page.getByRole("button", { name: "Go on" }).click();
      await page.getByRole("heading", { name: "Make your first API key" }).waitFor();
    });
  });

  test("a forgotten password is replaced with a code", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ group: "user" });
    await onPage({}, async (page) => {
      await page.getByRole("button", { name: "Forgot your password?" }).click();
      await accessible(page, "forgot");
      await page.getByLabel("E-mail").fill(who.email);
      await page.getByRole("button", { name: "Send a code" }).click();
      await page.getByLabel("Code").fill("654321");
      await page.getByLabel("New password").fill("weakweakweak");
      await page.getByRole("button", { name: "Set it and sign in" }).click();
      await page.getByText("That password is too weak").waitFor();
      await accessible(page, "reset");
      await page.getByLabel("New password").fill("Another-Password-2");
      await page.getByRole("button", { name: "Set it and sign in" }).click();
      await page.getByRole("heading", { name: "Make your first API key" }).waitFor();
    });
  });

  test("somebody who is disabled is told so", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody();
    await cognito.disable(who.email);
    await onPage({}, async (page) => {
      await fillSignIn(page, who);
      await page.getByText("This account is disabled.").waitFor();
    });
  });
});

/** The refresh token that Cognito gave to the page, once it has. */
function tokenSeenBy(page) {
  let token;
  page.on("response", async (answer) => {
    const text = await answer.text().catch(() => "");
    token ??= /"RefreshToken": ?"([^"]+)"/.exec(text)?.[1];
  });
  return () => token;
}

/** Ends the person's sessions. The emulator counts in seconds: one that began in this second goes on, and is ended in the next. */
async function ended({ email }, refresh) {
  for (;;) {
    await cognito.endSessions(email);
    try {
      await cognito.renew(refresh);
    } catch {
      return;
    }
  }
}

describe("the session", () => {
  test("signing out ends it at Cognito, and in the other tabs", async () => {
    const who = await someone();
    const context = await browser.newContext();
    const [one, other] = [await open(browser, { context }), await open(browser, { context })];
    const refresh = tokenSeenBy(other);
    await signInAs(one, who);
    await signInAs(other, who);
    const revoked = isCognito && other.waitForResponse((answer) => answer.request().headers()["x-amz-target"]?.endsWith("RevokeToken"));
    await one.getByRole("button", { name: "Sign out" }).click();
    await one.getByText("You are signed out.").waitFor();
    await other.getByText("You signed out in another tab.").waitFor();
    await accessible(other, "signed out");
    if (isCognito) {
      await revoked;
      await assert.rejects(cognito.renew(refresh()), { name: "NotAuthorizedException" });
    }
    assert.deepEqual([...(await one.wrong()), ...(await other.wrong())], []);
    await context.close();
  });

  test("it is renewed before the token ends, once for all requests, and nobody notices", async () => {
    const who = await someone();
    await onPage({}, async (page) => {
      await signInAs(page, who);
      const key = await create(page, "renewed");
      await store(page);
      const renewals = [];
      page.on("request", (request) => {
        if (request.headers()["x-amz-target"]?.endsWith("GetTokensFromRefreshToken") || request.url().endsWith("/v1/auth/refresh")) {
          if (request.method() === "POST") renewals.push(request);
        }
      });
      await page.clock.setSystemTime(Date.now() + 59.5 * 60_000);
      // the key, its events and the scopes are asked for at the same time
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("link", { name: "renewed" }).click();
      await page.getByRole("button", { name: "Edit" }).click();
      await page.getByRole("radio", { name: /Read only/ }).waitFor();
      await page.waitForLoadState("networkidle");
      assert.equal(renewals.length, 1);
      assert.equal(await page.getByRole("dialog").count(), 0);
      assert.match(key, KEY);
    });
  });

  test("when it has ended, the person signs in again where they were, and loses nothing", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ group: "user" });
    await onPage({}, async (page) => {
      const refresh = tokenSeenBy(page);
      await signInAs(page, who);
      await page.getByLabel("Name", { exact: true }).fill("typed before the end");
      await ended(who, refresh());
      await page.clock.setSystemTime(Date.now() + 59.5 * 60_000);
      await page.getByRole("button", { name: "Create key" }).click();
      await page.getByRole("heading", { name: "Your session has ended" }).waitFor();
      await accessible(page, "session ended");
      await fits(page, "session ended");
      await page.clock.setSystemTime(Date.now());
      await page.getByLabel("Password", { exact: true }).fill(who.password);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      // the request that met the end is made now
      await page.getByRole("heading", { name: "Store your new key now" }).waitFor();
      assert.match(await page.getByLabel("The new API key").inputValue(), KEY);
      await store(page);
      await page.getByRole("heading", { level: 1, name: "typed before the end" }).waitFor();
    });
  });
});

describe("keys", () => {
  test("a key can be made with the keyboard alone, and the focus is never lost", async () => {
    const who = await someone();
    await onPage({}, async (page) => {
      const type = async (text) => page.keyboard.type(text);
      const tabTo = async (name) => {
        for (let presses = 0; presses < 40; presses += 1) {
          await page.keyboard.press("Tab");
          const at = await page.evaluate(() => {
            const focus = document.activeElement === document.body ? null : document.activeElement;
            const label = focus?.labels?.[0]?.innerText ?? "";
            return `${focus?.getAttribute("aria-label") ?? ""} ${label} ${focus?.innerText ?? ""}`;
          });
          if (at.includes(name)) return;
        }
        assert.fail(`Tab never reaches ${name}`);
      };
      await page.getByRole("button", { name: "Sign in", exact: true }).waitFor();
      await tabTo("E-mail");
      await type(who.email);
      await tabTo("Password");
      await type(who.password);
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { level: 1, name: /API key/ }).waitFor();
      const link = page.getByRole("link", { name: "Create key" });
      if (await link.count()) {
        await tabTo("Create key");
        await page.keyboard.press("Enter");
        await page.getByRole("heading", { name: "Create a key" }).waitFor();
        assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H1");
      }
      await tabTo("Name");
      await type("by keyboard");
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").waitFor();
      assert.ok(await page.evaluate(() => document.querySelector("dialog")?.contains(document.activeElement)));
      await tabTo("Copy The key");
      await page.keyboard.press("Enter");
      await tabTo("Done");
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { level: 1, name: "by keyboard" }).waitFor();
      await tabTo("Revoke");
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      await page.waitForFunction(() => document.activeElement?.textContent?.trim() === "Revoke");
    });
  });

  test("what the API refuses is said beside the field", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      const link = page.getByRole("link", { name: "Create key" });
      if (await link.count()) await link.click();
      await page.getByLabel("Name", { exact: true }).fill("nowhere");
      await page.getByLabel(/^Networks/).fill("not-a-network");
      await page.getByRole("button", { name: "Create key" }).click();
      await page.locator("textarea[aria-invalid=true]").waitFor();
      await accessible(page, "refused");
      assert.equal(await page.evaluate(() => document.activeElement?.tagName), "TEXTAREA");
    });
  });

  test("a key for ever comes with a warning, and one that ends soon is marked", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      await create(page, "for ever", async () => {
        await page.getByLabel("Never", { exact: true }).check();
        await page.getByText("A key that never expires works until somebody revokes it").waitFor();
        await accessible(page, "never");
      });
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await create(page, "for a week", async () => page.getByLabel("7 days").check());
      await store(page);
      await page.getByText(/^It ends/).waitFor();
      await page.getByRole("link", { name: "All keys" }).click();
      const row = page.getByRole("row").filter({ hasText: "for a week" });
      await row.getByText("Soon").waitFor();
      await accessible(page, "list");
      await fits(page, "list");
      await page.getByLabel("Search by name or id").fill("FOR EV");
      await page.getByRole("row").filter({ hasText: "for a week" }).waitFor({ state: "detached" });
      await page.getByRole("row").filter({ hasText: "for ever" }).waitFor();
      await page.getByLabel("Search by name or id").fill("");
      await page.getByRole("combobox", { name: "Sort by" }).selectOption("Expiry");
      const names = await page.locator("tbody th a").allTextContents();
      assert.ok(names.indexOf("for a week") < names.indexOf("for ever"));
      await page.getByRole("combobox", { name: "Show" }).selectOption("Needs attention");
      await page.getByRole("row").filter({ hasText: "for ever" }).waitFor({ state: "detached" });
      await page.getByRole("row").filter({ hasText: "for a week" }).waitFor();
      // No key lives for less than a day: the answer is changed on its way.
      await page.route(/\/v1\/api-keys(\?|$)/, async (route) => {
        const response = await route.fetch();
        const { items, ...rest } = await response.json();
        const past = { status: "expired", expires_at: "2026-01-01T00:00:00Z" };
        const changed = items.map((key) => (key.name === "for a week" ? { ...key, ...past } : key));
        await route.fulfill({ response, json: { items: changed, ...rest } });
      });
      await page.getByRole("button", { name: "Refresh" }).click();
      await row.locator("[data-label=Expires]").getByText("Expired", { exact: true }).waitFor();
      await page.unrouteAll({ behavior: "wait" });
    });
  });

  test("a disabled key doesn't work until it is enabled again, and its events tell", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      const key = await create(page, "on and off");
      await store(page);
      await page.getByRole("button", { name: "Disable" }).click();
      await page.locator(".badge.disabled").waitFor();
      assert.equal((await call("v1/auth/me", key)).status, 401);
      await accessible(page, "disabled");
      await page.getByRole("button", { name: "Enable" }).click();
      await page.locator(".badge.active").waitFor();
      assert.equal((await call("v1/auth/me", key)).status, 200);
      await page.locator(".events li").filter({ hasText: "Enabled again" }).waitFor();
      await page
        .locator(".events li")
        .filter({ hasText: "Disabled" })
        .getByText(/, by you from /)
        .waitFor();
    });
  });

  test("a key for chosen scopes has at least one, and may do that and no more", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      const key = await create(page, "narrow", async () => {
        await page.getByRole("radio", { name: /Chosen scopes/ }).check();
        await page.getByRole("button", { name: "Create key" }).click();
        assert.ok(await page.evaluate(() => document.activeElement?.matches(".scopes input:invalid")));
        await accessible(page, "scopes");
        await fits(page, "scopes");
        await page.getByRole("checkbox", { name: /projects:read/ }).check();
      });
      await store(page);
      await page.getByText("projects:read").first().waitFor();
      assert.equal((await call("v1/projects", key)).status, 200);
      assert.equal((await call("v1/auth/me", key)).status, 403);
    });
  });

  test("a read-only key from one's own address reads and changes nothing", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      const key = await create(page, "reader", async () => {
        await page.getByRole("radio", { name: /Read only/ }).check();
        await page.getByRole("button", { name: /Use my address/ }).click();
      });
      await page.getByRole("button", { name: "Try it now" }).click();
      await page.getByText(/It works: /).waitFor();
      await store(page);
      await page.getByText("Read only").first().waitFor();
      await page.getByText("127.0.0.1/32").first().waitFor();
      assert.equal((await call("v1/auth/me", key)).status, 200);
    });
  });

  test("a key is rotated with both working for a while, and the old one says when it is idle", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      const old = await create(page, "turning");
      await store(page);
      const { hash } = new URL(page.url());
      await page.getByRole("button", { name: "Rotate" }).click();
      await accessible(page, "rotating");
      await page.getByRole("button", { name: "Make the new key" }).click();
      const next = await page.getByLabel("The new API key").inputValue();
      assert.notEqual(next, old);
      await store(page);
      for (const key of [old, next]) assert.equal((await call("v1/auth/me", key)).status, 200);
      await page.getByText("Replaces", { exact: true }).waitFor();
      await page.goto(`${base}/api-keys${hash}`);
      await page.getByText("Still in use:").waitFor();
      await accessible(page, "rotated");
      await nothingOf(next, page);
    });
  });

  test("a rotated key that nobody used since is safe to revoke", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      await create(page, "unused");
      await store(page);
      const { hash } = new URL(page.url());
      await page.getByRole("button", { name: "Rotate" }).click();
      await page.getByRole("button", { name: "Make the new key" }).click();
      await store(page);
      await page.goto(`${base}/api-keys${hash}`);
      await page.getByText("Idle: safe to revoke.").waitFor();
      await page.getByRole("button", { name: "Revoke" }).click();
      assert.equal(await page.getByLabel(/type its name/).count(), 0);
      await page.getByRole("button", { name: "Revoke key" }).click();
      await page.locator(".badge.revoked").waitFor();
    });
  });
});

describe("states", () => {
  test("a change that meets another tab's is not made, and explained", async () => {
    const who = await someone();
    const context = await browser.newContext({ permissions: ["clipboard-write"] });
    const [one, other] = [await open(browser, { context }), await open(browser, { context })];
    await signInAs(one, who);
    await create(one, "in two tabs");
    await store(one);
    await signInAs(other, who);
    await other.getByRole("link", { name: "in two tabs" }).first().click();
    await other.getByRole("button", { name: "Edit" }).click();
    await one.getByRole("button", { name: "Edit" }).click();
    await one.getByLabel("Name", { exact: true }).fill("renamed by the first");
    await one.getByRole("button", { name: "Save" }).click();
    await one.getByRole("heading", { level: 1, name: "renamed by the first" }).waitFor();
    await other.getByLabel("Name", { exact: true }).fill("renamed by the second");
    await other.getByRole("button", { name: "Save" }).click();
    await other.getByText("This key was changed in the meantime").waitFor();
    await other.getByRole("heading", { level: 1, name: "renamed by the first" }).waitFor();
    await accessible(other, "changed elsewhere");
    await fits(other, "changed elsewhere");
    // what was typed is still there, and now it can be saved
    await other.getByRole("button", { name: "Save" }).click();
    await other.getByRole("heading", { level: 1, name: "renamed by the second" }).waitFor();
    assert.deepEqual([...(await one.wrong()), ...(await other.wrong())], []);
    await context.close();
  });

  test("offline is said, fails with what to do, and is over when it is over", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      await create(page, "far away");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.context().setOffline(true);
      await page.getByText("You are offline.", { exact: true }).waitFor();
      await page.getByRole("row").filter({ hasText: "far away" }).first().waitFor();
      await accessible(page, "offline");
      await page.getByRole("button", { name: "Refresh" }).click();
      await page.getByRole("alert").filter({ hasText: "You are offline." }).waitFor();
      await accessible(page, "failed");
      await fits(page, "failed");
      await page.context().setOffline(false);
      await page.getByRole("button", { name: "Try again" }).click();
      await page.getByRole("row").filter({ hasText: "far away" }).first().waitFor();
    });
  });

  test("loading takes the room of what comes", async () => {
    await onPage({}, async (page) => {
      await signInAs(page, await someone());
      await create(page, "slow");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("button", { name: "Refresh" }).waitFor();
      const shifts = await page.evaluate(
        () =>
          new Promise((resolve) => {
            let total = 0;
            new PerformanceObserver((list) =>
              list.getEntries().forEach((entry) => (total += entry.hadRecentInput ? 0 : entry.value)),
            ).observe({ type: "layout-shift", buffered: true });
            requestAnimationFrame(() => requestAnimationFrame(() => resolve(total)));
          }),
      );
      assert.ok(shifts < 0.1, `the layout shifted by ${shifts}`);
    });
  });

  test("a key that isn't there is said to be nobody's", async () => {
    await onPage({ path: "/api-keys#/keys/000000000000" }, async (page) => {
      await fillSignIn(page, await someone());
      await page.getByRole("heading", { name: "There is no such key" }).waitFor();
      await accessible(page, "no such key");
    });
  });
});

describe("looking after others", { skip: onlyCognito }, () => {
  test("an operator sees anybody's keys and revokes one; a user can't", async () => {
    const who = await cognito.somebody({ group: "user" });
    let key;
    await onPage({}, async (page) => {
      await signInAs(page, who);
      key = await create(page, "of a user");
      await store(page);
      await page.goto(`${base}/api-keys#/owners/${who.id}`);
      assert.equal(await page.getByText("Somebody else's keys").count(), 0);
    });
    await onPage({}, async (page) => {
      await signInAs(page, await cognito.somebody({ group: "operator" }));
      await page.getByLabel(/Owner's id/).fill(who.id);
      await page.getByRole("button", { name: "Show their keys" }).click();
      await page.getByRole("row").filter({ hasText: "of a user" }).waitFor();
      await accessible(page, "another owner");
      await fits(page, "another owner");
      await page.getByRole("button", { name: "Revoke of a user" }).click();
      await page.getByRole("button", { name: "Revoke key" }).click();
      await page.locator(".badge.revoked").waitFor();
    });
    assert.equal((await call("v1/auth/me", key)).status, 401);
  });
});
