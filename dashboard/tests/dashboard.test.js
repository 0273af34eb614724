/** The dashboard in a real browser, against a running stack: people's tasks, and every state that they can encounter. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { accessible, base, fillSignIn, fits, KEY, leftBehind, open } from "./browser.js";
import * as cognito from "./cognito.js";
import {
  call,
  create,
  ended,
  isCognito,
  nextSecond,
  nothingOf,
  onlyCognito,
  onPage,
  openForm,
  refreshTokenOf,
  rotate,
  signInAs,
  someone,
  store,
} from "./steps.js";

// This test is first because provider custom has only one user, who must not have a key yet.
test("a newcomer gets a working key in six steps and revokes it", async () => {
  const who = await someone();
  await onPage({ as: who }, async (page) => {
    const empty = page.getByRole("heading", { name: "Create your first API key" });
    await accessible(empty, "empty");
    await fits(empty, "empty");
    assert.equal(await page.locator(".why li").count(), 3);
    await page.getByRole("radio", { name: "90 days", checked: true }).waitFor();
    await page.getByText(/^Expires on \w+day, \w+ \d+, 20\d\d at /).waitFor();

    const key = await create(page, "first key");
    assert.match(key, KEY);
    await page.getByRole("button", { name: "Try it now" }).click();
    const tried = page.getByText(/^It works\. The API accepted/);
    await tried.waitFor();
    assert.equal((await call("v1/auth/me", key)).status, 200);
    await accessible(tried, "reveal");
    await fits(tried, "reveal");

    await page.keyboard.press("Escape");
    await accessible(page.getByText("You haven't copied or downloaded it."), "reveal, asking");
    await page.getByRole("button", { name: "Keep it open" }).click();
    await page.getByRole("button", { name: "Copy key" }).click();
    await page.getByRole("status").filter({ hasText: "Key copied" }).waitFor({ state: "attached" });
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
    for (const language of ["Python", "JavaScript", "Rust", "GitHub Actions", "curl"]) {
      await page.getByRole("radio", { name: language }).check();
      const example = await page.locator(".command pre").textContent();
      assert.ok(example.includes(`${base}/v1/api-keys/self`) && example.includes("VEGA_API_KEY") && !KEY.test(example), example);
    }
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download .env" }).click()]);
    assert.equal(await readFile(await file.path(), "utf8"), `VEGA_API_KEY=${key}\n`);
    await page.evaluate(() => navigator.clipboard.writeText(""));
    await page.getByRole("button", { name: "Done" }).click();

    await page.getByRole("heading", { level: 1, name: "first key" }).waitFor();
    await nothingOf(key, page);
    const trail = page.locator(".events li").filter({ hasText: "Created" });
    await accessible(trail, "a key");
    await fits(trail, "a key");

    // It was just used, and not only by this page, so the dialog requires its name.
    await page.reload();
    await nothingOf(key, page);
    await page.getByRole("heading", { level: 1, name: "first key" }).waitFor();
    await page.getByRole("button", { name: "Revoke" }).click();
    await page.getByText("It stops working immediately").waitFor();
    const locked = page.getByRole("button", { name: "Revoke key", disabled: true });
    await accessible(locked, "revoking");
    await fits(locked, "revoking");
    await page.getByLabel(/type its name/).fill("first key");
    await page.getByLabel(/^Reason/).fill("the test is over");
    await page.getByRole("button", { name: "Revoke key" }).click();
    await page.locator(".badge.revoked").waitFor();
    assert.equal((await call("v1/auth/me", key)).status, 401);
    await page.getByRole("link", { name: "All keys" }).click();
    await page.getByRole("heading", { name: "Create an API key" }).waitFor();
    await page.getByRole("link", { name: "Show 1 expired and revoked key" }).click();
    await page.getByLabel("Search by name, description or ID").fill("nothing like it");
    await accessible(page.getByText("No keys match."), "nothing matches");
    await nothingOf(key, page);
  });
});

test("the first load is our own JavaScript, at most 75 KB gzipped", async () => {
  await onPage({}, async (page) => {
    await page.getByRole("button", { name: "Sign in", exact: true }).waitFor();
    const files = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
    let bytes = 0;
    for (const file of files) {
      assert.equal(new URL(file).origin, new URL(base).origin);
      if (file.endsWith(".js")) bytes += gzipSync(await (await fetch(file)).text()).length;
    }
    assert.ok(bytes > 10_000 && bytes <= 75 * 1024, `${bytes} bytes`);
  });
});

test("the sign-in form needs the HTML and one round of files", async () => {
  await onPage({}, async (page) => {
    await page.getByRole("button", { name: "Sign in", exact: true }).waitFor();
    const files = await page.evaluate(() => performance.getEntriesByType("resource").map((file) => file.toJSON()));
    const scripts = files.filter(({ name }) => name.endsWith(".js"));
    assert.equal(scripts.length, isCognito ? 2 : 1);
    const [{ responseEnd }] = scripts;
    for (const { name, startTime, contentEncoding } of scripts) {
      assert.ok(startTime < responseEnd, `${name} is requested only by another script`);
      assert.equal(contentEncoding, "gzip", name);
    }
    assert.ok(!files.some(({ name }) => name.includes("/v1/")));
  });
  const html = await (await fetch(`${base}/api-keys`)).text();
  assert.match(html, /<header class="bar">/);
});

test("on slow 3G, the sign-in form is usable within 3.5 s", async () => {
  await onPage({ path: "/api-keys/assets/nothing.js" }, async (page) => {
    const browser = await page.context().newCDPSession(page);
    await browser.send("Network.enable");
    const slow3g = { offline: false, latency: 400, downloadThroughput: 50_000, uploadThroughput: 50_000 };
    await browser.send("Network.emulateNetworkConditions", slow3g);
    await page.goto(`${base}/api-keys`, { waitUntil: "commit" });
    await page.locator("input[type=email]:focus").waitFor();
    const seconds = (await page.evaluate(() => performance.now())) / 1000;
    assert.ok(seconds > 0.8 && seconds < 3.5, `${seconds} s`);
  });
});

test("the page has strict headers and its files are immutable", async () => {
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
  "the page works below a stage as well as on a domain",
  { skip: process.env.VEGA_STAGE_URL ? false : "needs the stack's stage" },
  async () => {
    await onPage({ path: `${process.env.VEGA_STAGE_URL}/api-keys` }, (page) =>
      page.getByRole("button", { name: "Sign in", exact: true }).waitFor(),
    );
  },
);

describe("signing in", () => {
  test("only the right password opens the keys; Cognito gets neither", async () => {
    const who = await someone();
    await onPage({}, async (page) => {
      const sent = [];
      page.on("request", (request) => sent.push(`${request.url()} ${request.postData() ?? ""}`));
      const form = page.getByRole("heading", { level: 1, name: "Sign in" });
      await accessible(form, "sign in");
      await fits(form, "sign in");
      assert.equal(await page.getByText("Local sign-in for development.").isVisible(), !isCognito);
      await fillSignIn(page, { ...who, password: "Not-the-password-1" });
      await accessible(page.getByRole("alert").filter({ hasText: "Wrong email or password." }), "wrong password");
      await page.locator("input[type=password]:focus").waitFor();
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
      assert.deepEqual(Object.keys(JSON.parse(left.localStorage)), ["vega-signed-in"]);
    });
  });

  test("a temporary password must be changed first", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ temporary: true, group: "user" });
    await onPage({}, async (page) => {
      await fillSignIn(page, who);
      await accessible(page.getByRole("heading", { name: "Choose your password" }), "new password");
      assert.equal((await leftBehind(page)).sessionStorage, "{}");
      await page.getByLabel("New password").fill(`${who.password}-mine`);
      await page.getByRole("button", { name: "Set password" }).click();
      await page.getByRole("heading", { name: "Create your first API key" }).waitFor();
    });
  });

  test("an authenticator code is required, and a wrong one rejected", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ group: "user" });
    let access;
    await onPage({}, async (page) => {
      page.on("request", (request) => (access ??= /^Bearer (eyJ.*)$/.exec(request.headers().authorization ?? "")?.[1]));
      await signInAs(page, who);
    });
    const secret = await cognito.withApp(access);
    await onPage({}, async (page) => {
      await fillSignIn(page, who);
      await accessible(page.getByRole("heading", { name: "Enter your code" }), "code");
      const right = cognito.totp(secret);
      await page.getByLabel("Code").fill(right === "000000" ? "111111" : "000000");
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByText("That code is wrong.").waitFor();
      await page.getByLabel("Code").fill(cognito.totp(secret));
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByRole("heading", { name: "Create your first API key" }).waitFor();
    });
  });

  test("a code resets a forgotten password", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ group: "user" });
    await onPage({}, async (page) => {
      await page.getByRole("button", { name: "Forgot your password?" }).click();
      await accessible(page.getByRole("heading", { name: "Forgot your password?" }), "forgot");
      await page.getByLabel("Email").fill(who.email);
      await page.getByRole("button", { name: "Send a code" }).click();
      await page.getByLabel("Code").fill("654321");
      await page.getByLabel("New password").fill("weakweakweak");
      await page.getByRole("button", { name: "Set password and sign in" }).click();
      await accessible(page.getByText("That password is too weak"), "reset");
      await page.getByLabel("New password").fill("Another-Password-2");
      await page.getByRole("button", { name: "Set password and sign in" }).click();
      await page.getByRole("heading", { name: "Create your first API key" }).waitFor();
    });
  });

  test("a disabled user is told so", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody();
    await cognito.disable(who.email);
    await onPage({}, async (page) => {
      await fillSignIn(page, who);
      await page.getByText("This account is disabled.").waitFor();
    });
  });
});

describe("the session", () => {
  test("a reload and a new tab ask for nothing", async () => {
    const who = await someone();
    await onPage({}, async (page) => {
      const sent = [];
      page.on("request", (request) => sent.push(request));
      await signInAs(page, who);
      await page.reload();
      await page.getByRole("heading", { level: 1, name: /API key/ }).waitFor();
      await page.locator(".name").getByText(who.email).waitFor();
      const other = await open(page.context(), "/api-keys#/new");
      await other.getByLabel("Name", { exact: true }).waitFor();
      assert.deepEqual(await other.wrong(), []);

      const [cookie, ...more] = await page.context().cookies(`${base}/v1/session/token`);
      assert.deepEqual(more, []);
      const { httpOnly, secure, sameSite, path, domain, expires } = cookie;
      assert.deepEqual(
        { httpOnly, secure, sameSite, path, domain, expires },
        {
          httpOnly: true,
          secure: true,
          sameSite: "Strict",
          path: "/v1/session",
          domain: new URL(base).hostname,
          expires: -1,
        },
      );
      assert.equal(await page.evaluate(() => document.cookie), "");
      for (const request of sent) {
        const { cookie } = await request.allHeaders();
        assert.equal(cookie !== undefined && new URL(request.url()).pathname !== "/v1/session/token", false, request.url());
        if (!request.postData()?.includes("refresh_token")) continue;
        // The sign-in's refresh token goes to the route for sessions, and nowhere else.
        assert.equal(new URL(request.url()).pathname, "/v1/session/token");
      }
    });
  });

  test("signing out ends the session at Cognito and in all tabs", async () => {
    const who = await someone();
    await onPage({}, async (one) => {
      const refresh = await (isCognito ? refreshTokenOf(one, who) : signInAs(one, who));
      const other = await open(one.context());
      await other.getByRole("heading", { level: 1, name: /API key/ }).waitFor();
      const ended = one.waitForResponse((answer) => answer.request().method() === "DELETE");
      await one.getByRole("button", { name: "Sign out" }).click();
      await one.getByText("You're signed out.").waitFor();
      await accessible(other.getByText("You signed out in another tab."), "signed out");
      assert.equal((await ended).status(), 204);
      if (isCognito) await assert.rejects(cognito.renew(refresh), { name: "NotAuthorizedException" });
      assert.deepEqual(await one.context().cookies(`${base}/v1/session/token`), []);
      assert.equal((await leftBehind(one)).localStorage, "{}");
      await other.reload();
      await other.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();
    });
  });

  test("a form on another site doesn't get to the session", async () => {
    await onPage({ as: await someone() }, async (page) => {
      const other = await page.context().newPage();
      await other.setContent(`<form method="post" action="${base}/v1/session/token"><button>Send</button></form>`);
      const answered = other.waitForResponse(`${base}/v1/session/token`);
      await other.getByRole("button").click();
      const answer = await answered;
      const { cookie, "sec-fetch-site": site } = await answer.request().allHeaders();
      assert.deepEqual([answer.status(), site, cookie, await answer.headerValue("set-cookie")], [403, "cross-site", undefined, null]);
    });
  });

  test("an end of session that the API didn't hear of is not claimed", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await page.context().setOffline(true);
      await page.getByRole("button", { name: "Sign out" }).click();
      await accessible(page.getByText("the API couldn't be reached to end the session"), "not ended");
    });
  });

  test("somebody else's cookie doesn't continue the session", { skip: onlyCognito }, async () => {
    await onPage({ as: await someone() }, async (page) => {
      const [cookie] = await page.context().cookies(`${base}/v1/session/token`);
      const other = await (async () => {
        const context = await page.context().browser().newContext();
        const theirs = await open(context);
        const refresh = await refreshTokenOf(theirs, await someone());
        await context.close();
        return refresh;
      })();
      await page.context().addCookies([{ ...cookie, value: other }]);
      await page.reload();
      await page.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();
    });
  });

  test("the token is renewed before expiry, once for all requests", async () => {
    const who = await someone();
    await onPage({ as: who }, async (page) => {
      const key = await create(page, "renewed");
      await store(page);
      const renewals = [];
      page.on("request", (request) => {
        if (request.url().endsWith("/v1/session/token")) renewals.push(request);
      });
      await page.clock.setSystemTime(Date.now() + 59.5 * 60_000);
      // The key, its events and the scopes are requested at the same time.
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("link", { name: "renewed" }).click();
      await page.getByRole("button", { name: "Edit" }).click();
      await page.getByRole("radio", { name: /^Custom Only/, disabled: false }).waitFor();
      await page.locator(".events li").filter({ hasText: "Created" }).waitFor();
      assert.equal(renewals.length, 1);
      assert.equal(await page.getByRole("dialog").count(), 0);
      assert.match(key, KEY);
    });
  });

  test("after it ends, people sign in again and lose nothing", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ group: "user" });
    await onPage({}, async (page) => {
      const refresh = await refreshTokenOf(page, who);
      await page.getByLabel("Name", { exact: true }).fill("typed before the end");
      await ended(who, refresh);
      await page.clock.setSystemTime(Date.now() + 59.5 * 60_000);
      await page.getByRole("button", { name: "Create key" }).click();
      const asking = page.getByRole("heading", { name: "Your session expired" });
      await accessible(asking, "session ended");
      await fits(asking, "session ended");
      await page.clock.setSystemTime(Date.now());
      await page.getByLabel("Password", { exact: true }).fill(who.password);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      // The interrupted request is sent now.
      await page.getByRole("heading", { name: "Save your key" }).waitFor();
      assert.match(await page.getByLabel("The new API key").inputValue(), KEY);
      await store(page);
      await page.getByRole("heading", { level: 1, name: "typed before the end" }).waitFor();
    });
  });
});

describe("keys", () => {
  test("the keyboard alone creates a key and never loses focus", async () => {
    const who = await someone();
    await onPage({}, async (page) => {
      /** Presses Tab until the focus is on `target`, which must be there and enabled. */
      const tabTo = async (target) => {
        await target.and(page.locator(":not(:disabled)")).waitFor();
        for (let presses = 0; presses < 40; presses += 1) {
          await page.keyboard.press("Tab");
          if (await target.evaluate((element) => element === document.activeElement)) return;
        }
        assert.fail(`Tab never reaches ${target}`);
      };
      const heading = (name) => page.locator("h1:focus").filter({ hasText: name }).waitFor();
      await page.locator("input[type=email]:focus").waitFor();
      await page.keyboard.type(who.email);
      await tabTo(page.getByLabel("Password", { exact: true }));
      await page.keyboard.type(who.password);
      await page.keyboard.press("Enter");
      await heading(/API key/);
      const link = page.getByRole("link", { name: "Create key" });
      if (await link.isVisible()) {
        await tabTo(link);
        await page.keyboard.press("Enter");
        await heading("Create a key");
      }
      await tabTo(page.getByLabel("Name", { exact: true }));
      await page.keyboard.type("by keyboard");
      await page.keyboard.press("Enter");
      await page.locator("dialog :focus").waitFor();
      await tabTo(page.getByRole("button", { name: "Copy key" }));
      await page.keyboard.press("Enter");
      await tabTo(page.getByRole("button", { name: "Done" }));
      await page.keyboard.press("Enter");
      await heading("by keyboard");
      const revoke = page.getByRole("button", { name: "Revoke" });
      await tabTo(revoke);
      await page.keyboard.press("Enter");
      await page.locator("dialog :focus").waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      await revoke.and(page.locator(":focus")).waitFor();
    });
  });

  test("a rejected value is explained beside its field", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await (await openForm(page)).fill("nowhere");
      await page.getByLabel(/^Allowed IP/).fill("not-a-network");
      await page.getByRole("button", { name: "Create key" }).click();
      await accessible(page.locator("textarea[aria-invalid=true]:focus"), "refused");
    });
  });

  test("keys that never expire or expire soon are marked", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "for a week", async () => page.getByLabel("7 days").check());
      await store(page);
      await page.getByText(/Rotating doesn't extend it/).waitFor();
      await page.getByRole("link", { name: "All keys" }).click();
      await create(page, "for ever", async () => {
        await page.getByLabel("Never", { exact: true }).check();
        await accessible(page.getByText("If it leaks, it works until someone notices."), "never");
      });
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      const row = page.getByRole("row").filter({ hasText: "for a week" });
      const soon = row.getByText("Expires soon");
      await accessible(soon, "list");
      await fits(soon, "list");
      await page.getByLabel("Search by name, description or ID").fill("FOR EV");
      await row.waitFor({ state: "detached" });
      await page.getByRole("row").filter({ hasText: "for ever" }).waitFor();
      await page.getByLabel("Search by name, description or ID").fill("");
      await page.locator(`tr:has-text("for ever") ~ tr:has-text("for a week")`).waitFor();
      await page.getByRole("combobox", { name: "Sort by" }).selectOption("Expiry");
      await page.locator(`tr:has-text("for a week") ~ tr:has-text("for ever")`).waitFor();
      await page.getByRole("button", { name: /expire within 7 days/ }).click();
      await page.getByRole("row").filter({ hasText: "for ever" }).waitFor({ state: "detached" });
      await row.waitFor();
      // No key lives for less than a day, so the response is changed on its way.
      await page.route(/\/v1\/api-keys(\?|$)/, async (route) => {
        const response = await route.fetch();
        const { items, ...rest } = await response.json();
        const past = { status: "expired", expires_at: "2026-01-01T00:00:00Z" };
        const changed = items.map((key) => (key.name === "for a week" ? { ...key, ...past } : key));
        await route.fulfill({ response, json: { items: changed, ...rest } });
      });
      await page.getByRole("button", { name: "Refresh" }).click();
      await page.getByRole("combobox", { name: "Status" }).selectOption("Expired");
      await row
        .locator("[data-label=Expires]")
        .getByText(/^Expired /)
        .waitFor();
      await row.locator(".badge.expired").waitFor();
      await page.unrouteAll({ behavior: "wait" });
    });
  });

  test("a disabled key fails until enabled, and events show both", async () => {
    await onPage({ as: await someone() }, async (page) => {
      const key = await create(page, "on and off");
      await store(page);
      await page.getByRole("button", { name: "Disable" }).click();
      await accessible(page.locator(".badge.disabled"), "disabled");
      assert.equal((await call("v1/auth/me", key)).status, 401);
      await page.getByRole("button", { name: "Enable" }).click();
      await page.locator(".badge.active").waitFor();
      assert.equal((await call("v1/auth/me", key)).status, 200);
      await page.locator(".events li").filter({ hasText: "Enabled" }).waitFor();
      await page
        .locator(".events li")
        .filter({ hasText: "Disabled" })
        .getByText(/, by you from /)
        .waitFor();
    });
  });

  test("a key with selected scopes can do that and no more", async () => {
    await onPage({ as: await someone() }, async (page) => {
      const key = await create(page, "narrow", async () => {
        await page.getByRole("radio", { name: /^Custom Only/ }).check();
        await page.getByRole("button", { name: "Create key" }).click();
        const missing = page.locator(".scopes input:invalid:focus");
        await accessible(missing, "scopes");
        await fits(missing, "scopes");
        await page.getByRole("checkbox", { name: /projects:read/ }).check();
      });
      await store(page);
      await page.getByText("projects:read").first().waitFor();
      assert.equal((await call("v1/projects", key)).status, 200);
      assert.equal((await call("v1/auth/me", key)).status, 403);
    });
  });

  test("a read-only key for one's own address works from it", async () => {
    await onPage({ as: await someone() }, async (page) => {
      const key = await create(page, "reader", async () => {
        await page.getByRole("radio", { name: /Read only/ }).check();
        await page.getByRole("button", { name: /Use my address/ }).click();
      });
      await page.getByRole("button", { name: "Try it now" }).click();
      await page.getByText(/^It works\./).waitFor();
      await store(page);
      await page.getByText("Read only").first().waitFor();
      await page.getByText("127.0.0.1", { exact: true }).first().waitFor();
      assert.equal((await call("v1/auth/me", key)).status, 200);
    });
  });

  test("both keys of a rotation work, and the old shows its use", async () => {
    await onPage({ as: await someone() }, async (page) => {
      const old = await create(page, "turning");
      await store(page);
      const { href } = new URL(page.url());
      const next = await rotate(page, () => accessible(page.getByRole("dialog"), "rotating"));
      assert.notEqual(next, old);
      for (const key of [old, next]) assert.equal((await call("v1/auth/me", key)).status, 200);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("row").filter({ hasText: "turning" }).getByText("Being replaced").waitFor();
      await page.goto(href);
      await accessible(page.getByText("Still in use:"), "rotated");
      await nothingOf(next, page);
    });
  });

  test("a use right after a rotation is shown", async () => {
    await onPage({ as: await someone() }, async (page) => {
      const old = await create(page, "in use");
      await store(page);
      const { href } = new URL(page.url());
      // Within a minute of the recorded use, only the rotation makes the next one worth recording.
      assert.equal((await call("v1/auth/me", old)).status, 200);
      await nextSecond();
      await rotate(page);
      await page.goto(href);
      await page.getByText("Wait at least a day to see whether something still uses it.").waitFor();
      assert.equal((await call("v1/auth/me", old)).status, 200);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.goBack();
      await page.getByText("Still in use:").waitFor();
    });
  });

  test("a rotated key is called unused only after a day", async () => {
    await onPage({}, async (page) => {
      const who = await someone();
      await signInAs(page, who);
      await create(page, "unused");
      await store(page);
      const { href } = new URL(page.url());
      await rotate(page, () => page.getByLabel("7 days").check());
      let hours = 23;
      await page.route(`**/v1/api-keys/${href.slice(-12)}`, async (route) => {
        const response = await route.fetch();
        const rotated_at = new Date(Date.now() - hours * 3_600_000).toISOString();
        await route.fulfill({ response, json: { ...(await response.json()), rotated_at } });
      });
      await page.goto(href);
      await page.getByText("Wait at least a day").waitFor();
      hours = 49;
      await page.getByRole("link", { name: "All keys" }).click();
      await page.goBack();
      await accessible(page.getByText(/Not used since the rotation 2 days ago/), "unused since the rotation");
      assert.equal(await page.getByText(/safe/i).count(), 0);
      await page.unrouteAll({ behavior: "wait" });
      await page.getByRole("button", { name: "Revoke" }).click();
      await page.getByRole("button", { name: "Revoke key" }).waitFor();
      assert.equal(await page.getByLabel(/type its name/).count(), 0);
      await page.getByRole("button", { name: "Revoke key" }).click();
      await page.locator(".badge.revoked").waitFor();
    });
  });
});

describe("states", () => {
  test("a change that conflicts with another tab is explained", async () => {
    const who = await someone();
    await onPage({ as: who, pages: 2 }, async (one, other) => {
      await create(one, "in two tabs");
      await store(one);
      await other.reload();
      await other.getByRole("link", { name: "in two tabs" }).first().click();
      await other.getByRole("button", { name: "Edit" }).click();
      await one.getByRole("button", { name: "Edit" }).click();
      await one.getByLabel("Name", { exact: true }).fill("renamed by the first");
      await one.getByRole("button", { name: "Save" }).click();
      await one.getByRole("heading", { level: 1, name: "renamed by the first" }).waitFor();
      await other.getByLabel("Name", { exact: true }).fill("renamed by the second");
      await other.getByRole("button", { name: "Save" }).click();
      await other.getByRole("heading", { level: 1, name: "renamed by the first" }).waitFor();
      const explained = other.getByText("Someone else edited this key.");
      await accessible(explained, "changed elsewhere");
      await fits(explained, "changed elsewhere");
      // The input is still there, and can be saved now.
      await other.getByRole("button", { name: "Save" }).click();
      await other.getByRole("heading", { level: 1, name: "renamed by the second" }).waitFor();
    });
  });

  test("being offline is explained, and the page recovers", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "far away");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("row").filter({ hasText: "far away" }).waitFor();
      await page.context().setOffline(true);
      const offline = page.getByText("You're offline.", { exact: true });
      await accessible(offline, "offline");
      await page.getByRole("row").filter({ hasText: "far away" }).waitFor();
      await page.getByRole("button", { name: "Refresh" }).click();
      const failed = page.getByRole("alert").filter({ hasText: "You're offline." });
      await accessible(failed, "failed");
      await fits(failed, "failed");
      // The keys are still there, and are loaded again as soon as that works.
      await page.getByRole("row").filter({ hasText: "far away" }).waitFor();
      await page.context().setOffline(false);
      await offline.waitFor({ state: "detached" });
      await failed.waitFor({ state: "detached" });
      await page.getByRole("row").filter({ hasText: "far away" }).waitFor();
    });
  });

  test("loading causes no layout shift", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "slow");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("button", { name: "Refresh" }).waitFor();
      const shifts = await page.evaluate(async () => {
        await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
        const observer = new PerformanceObserver(() => {});
        observer.observe({ type: "layout-shift", buffered: true });
        const entries = observer.takeRecords();
        return entries.reduce((total, { value, hadRecentInput }) => total + (hadRecentInput ? 0 : value), 0);
      });
      assert.ok(shifts < 0.1, `the layout shifted by ${shifts}`);
    });
  });

  test("the form doesn't move when its scopes arrive", async () => {
    await onPage({}, async (page) => {
      let release;
      const released = new Promise((resolve) => (release = resolve));
      await page.route("**/v1/scopes", async (route) => {
        await released;
        await route.continue();
      });
      await signInAs(page, await someone());
      await openForm(page);
      const scopes = (disabled) => page.getByRole("radio", { name: /^Custom Only/, disabled });
      const place = () => page.getByRole("button", { name: "Create key" }).evaluate((it) => it.getBoundingClientRect().top + scrollY);
      await accessible(scopes(true), "scopes not loaded");
      const before = await place();
      release();
      await scopes(false).waitFor();
      assert.equal(await place(), before);
      await page.unrouteAll({ behavior: "wait" });
    });
  });

  test("a missing key gets a page that says so", async () => {
    await onPage({ path: "/api-keys#/keys/000000000000" }, async (page) => {
      await fillSignIn(page, await someone());
      await accessible(page.getByRole("heading", { name: "There's no such key" }), "no such key");
    });
  });
});

describe("administration", { skip: onlyCognito }, () => {
  test("an operator sees and revokes anybody's keys; a user can't", async () => {
    const who = await cognito.somebody({ group: "user" });
    let key;
    await onPage({ as: who }, async (page) => {
      key = await create(page, "of a user");
      await store(page);
      await page.getByRole("button", { name: "Disable" }).click();
      await page.locator(".badge.disabled").waitFor();
      await page.goto(`${base}/api-keys#/owners/${who.id}`);
      await page.getByRole("heading", { level: 1, name: "Only administrators can open this page" }).waitFor();
      assert.equal(await page.getByRole("table").count(), 0);
    });
    await onPage({ as: await cognito.somebody({ group: "operator" }) }, async (page) => {
      await page.getByLabel(/^User ID/).fill(who.id);
      await page.getByRole("button", { name: "Show keys" }).click();
      const row = page.getByRole("row").filter({ hasText: "of a user" });
      await accessible(row, "another owner");
      await fits(row, "another owner");
      // They disabled it themselves.
      await page.getByRole("button", { name: "Enable keys disabled with the user" }).click();
      await accessible(page.getByText("No key was disabled with this user."), "nothing to enable");
      await page.getByRole("button", { name: "Revoke of a user" }).click();
      await page.getByRole("button", { name: "Revoke key" }).click();
      await page.locator(".badge.revoked").waitFor();
    });
    assert.equal((await call("v1/auth/me", key)).status, 401);
  });
});
