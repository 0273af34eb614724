/** The list of keys, other people's keys, and addresses that lead nowhere. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { accessible, base, fillSignIn, fits, isWhole } from "./browser.js";
import * as cognito from "./cognito.js";
import { call, create, onlyCognito, onPage, signInAs, someone, store, tokenOf } from "./steps.js";

const row = (page, name) => page.getByRole("row").filter({ hasText: name });
const search = (page) => page.getByLabel("Search by name, description or ID");

describe("the list", () => {
  test("Back restores search, filter, order and place", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "found again");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      const token = await tokenOf(page);
      const headers = { "content-type": "application/json" };
      for (const name of ["found 1", "found 2", "found 3", "found 4", "found 5"]) {
        assert.equal((await call("v1/api-keys", token, { method: "POST", headers, body: JSON.stringify({ name }) })).status, 201);
      }
      await page.setViewportSize({ width: 600, height: 400 });
      await page.getByRole("button", { name: "Refresh" }).click();
      await row(page, "found 5").waitFor();
      await search(page).fill("found");
      await page.getByRole("combobox", { name: "Status" }).selectOption("All");
      await page.getByRole("combobox", { name: "Sort by" }).selectOption("Name");
      const { hash } = new URL(page.url());
      assert.equal(hash, "#/?q=found&show=all&sort=name");
      const link = page.getByRole("link", { name: "found again" }).first();
      await link.scrollIntoViewIfNeeded();
      await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
      await page.waitForFunction(() => scrollY > 300);
      const scrolled = await page.evaluate(() => scrollY);
      await page
        .getByRole("link", { name: /^found/ })
        .last()
        .click();
      await page.getByRole("heading", { level: 1, name: /^found/ }).waitFor();
      assert.equal(await page.evaluate(() => scrollY), 0);
      await page.goBack();
      await page.waitForFunction((scrolled) => scrollY === scrolled, scrolled);
      assert.equal(await search(page).inputValue(), "found");
      assert.equal(await page.getByRole("combobox", { name: "Status" }).inputValue(), "all");
      assert.equal(await page.getByRole("combobox", { name: "Sort by" }).inputValue(), "name");
      await page
        .getByRole("link", { name: /^found/ })
        .last()
        .click();
      await page.getByRole("link", { name: "All keys" }).click();
      assert.equal(await search(page).inputValue(), "found");
      assert.equal(new URL(page.url()).hash, hash);
    });
  });

  test("ended keys are named where no other is left", { skip: onlyCognito }, async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "gone");
      await page.getByRole("button", { name: "Close", exact: true }).click();
      await page.getByRole("button", { name: "Revoke this key" }).click();
      await page.locator(".badge.revoked").waitFor();
      await page.getByRole("link", { name: "All keys" }).click();
      const shown = page.getByRole("link", { name: "Show 1 expired and revoked key" });
      await accessible(shown, "only ended keys");
      await fits(shown, "only ended keys");
      await create(page, "alive");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await search(page).fill("GONE");
      await page.getByRole("button", { name: "Show 1 match of any status" }).click();
      await row(page, "gone").waitFor();
      assert.equal(await search(page).inputValue(), "GONE");
      await search(page).fill("nothing like it");
      await page.getByRole("button", { name: "Clear filters" }).click();
      await row(page, "alive").waitFor();
      assert.equal(await search(page).inputValue(), "");
    });
  });

  test("no word is broken, however long an address is", async () => {
    await onPage({}, async (page) => {
      await page.route(/\/v1\/api-keys(\?|$)/, async (route) => {
        const response = await route.fetch();
        const body = await response.json();
        const last = { last_used_at: body.items?.[0]?.created_at, last_used_address: "2001:db8:1234:5678:9abc:def0:1234:5678" };
        const soon = { expires_at: new Date(Date.now() + 3 * 86_400_000).toISOString() };
        await route.fulfill({
          response,
          json: body.items ? { ...body, items: body.items.map((key) => ({ ...key, ...last, ...soon })) } : body,
        });
      });
      await signInAs(page, await someone());
      await create(page, "widely used");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("button", { name: "Refresh" }).click();
      const shown = row(page, "widely used").getByText("Expires soon");
      await accessible(shown, "long address");
      await fits(shown, "long address");
      await page.unrouteAll({ behavior: "wait" });
    });
  });

  test("columns sort, and attention cards filter", async () => {
    await onPage({}, async (page) => {
      await page.setViewportSize({ width: 1280, height: 800 });
      await signInAs(page, await someone());
      await create(page, "aaa never", () => page.getByLabel("Never", { exact: true }).check());
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await create(page, "zzz home", () => page.getByRole("button", { name: /Use my address/ }).click());
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("button", { name: "Key", exact: true }).click();
      await page.locator('tr:has-text("aaa never") ~ tr:has-text("zzz home")').waitFor();
      await page.locator("th[aria-sort=ascending]").filter({ hasText: "Key" }).waitFor();
      const card = page.getByRole("button", { name: /never expire/ });
      await card.click();
      await row(page, "zzz home").waitFor({ state: "detached" });
      await accessible(row(page, "aaa never"), "filtered by a card");
      await card.and(page.locator("[aria-pressed=true]")).click();
      await row(page, "zzz home").waitFor();
      await page.getByRole("button", { name: /usable from any address/ }).click();
      await row(page, "zzz home").waitFor({ state: "detached" });
    });
  });
});

describe("several keys at once", () => {
  test("selected keys are disabled with undo, then revoked", async () => {
    await onPage({ as: await someone() }, async (page) => {
      for (const name of ["bulk one", "bulk two", "bulk three"]) {
        await create(page, name);
        await store(page);
        await page.getByRole("link", { name: "All keys" }).click();
      }
      const select = (name) => page.getByRole("checkbox", { name: `Select ${name}` }).check();
      await search(page).fill("bulk");
      await row(page, "bulk three").waitFor();
      await select("bulk one");
      await select("bulk two");
      const bar = page.getByRole("group", { name: "Selected keys" });
      await accessible(bar.getByText("2 selected"), "selected keys");
      await fits(bar, "selected keys");
      await bar.getByRole("button", { name: "Disable" }).click();
      await row(page, "bulk one").getByText("Disabled").waitFor();
      await row(page, "bulk two").getByText("Disabled").waitFor();
      assert.equal(await row(page, "bulk three").getByText("Disabled").count(), 0);
      await page.getByRole("button", { name: "Undo" }).click();
      await row(page, "bulk one").getByText("Disabled").waitFor({ state: "detached" });
      await row(page, "bulk two").getByText("Disabled").waitFor({ state: "detached" });
      await select("bulk one");
      await select("bulk three");
      await bar.getByRole("button", { name: "Revoke" }).click();
      const confirm = page.getByRole("button", { name: "Revoke 2 keys" });
      await accessible(confirm, "revoking several");
      await confirm.click();
      await row(page, "bulk one").waitFor({ state: "detached" });
      await row(page, "bulk three").waitFor({ state: "detached" });
      await row(page, "bulk two").waitFor();
    });
  });

  test("a template fills in the form, and a link shares it", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "one to begin with");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("link", { name: "Create key" }).click();
      await page.getByRole("button", { name: "Partner with fixed addresses" }).click();
      await page.getByRole("radio", { name: "1 year", checked: true }).waitFor();
      await page.getByLabel(/^Allowed IP/).fill("203.0.113.7");
      await page.getByRole("button", { name: "Copy link to this form" }).click();
      await page.getByRole("button", { name: "Link to this form copied" }).waitFor();
      const link = new URL(await page.evaluate(() => navigator.clipboard.readText()));
      assert.equal(`${link.origin}${link.pathname}`, `${base}/api-keys`);
      const filled = new URLSearchParams(link.hash.split("?")[1]);
      assert.equal(filled.get("name"), "Partner with fixed addresses");
      assert.deepEqual([filled.get("scopes"), filled.get("networks"), filled.get("days")], ["read", "203.0.113.7/32", "365"]);
    });
  });
});

describe("shortcuts and exports", () => {
  test("single keys search, create and move, unless turned off", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "by shortcut");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await page.locator("h1:focus").filter({ hasText: "API keys" }).waitFor();
      await page.keyboard.press("j");
      await page.locator("tbody th a:focus").waitFor();
      await page.keyboard.press("/");
      await search(page).and(page.locator(":focus")).waitFor();
      await page.keyboard.type("c?");
      assert.equal(await search(page).inputValue(), "c?");
      await search(page).fill("");
      await search(page).blur();
      await page.keyboard.press("?");
      const off = page.getByRole("checkbox", { name: "Use shortcuts in this browser" });
      await accessible(off, "shortcuts");
      await off.uncheck();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      await page.keyboard.press("c");
      await page.getByRole("button", { name: "Keyboard shortcuts" }).click();
      assert.equal(new URL(page.url()).hash, "#/");
      await off.check();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      await page.keyboard.press("c");
      await page.getByRole("heading", { level: 1, name: "Create a key" }).waitFor();
    });
  });

  test("keys and events are exported, without formulas", async () => {
    const exported = async (page, name) => {
      const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
      return readFile(await file.path(), "utf8");
    };
    await onPage({ as: await someone() }, async (page) => {
      const key = await create(page, '=HYPERLINK("x")');
      await store(page);
      await page.locator(".events li").first().waitFor();
      assert.deepEqual(
        JSON.parse(await exported(page, "Export JSON")).map(({ event }) => event),
        ["created"],
      );
      await page.getByRole("link", { name: "All keys" }).click();
      await search(page).fill("=HYPERLINK");
      const [head, ...rows] = (await exported(page, "Export CSV")).trimEnd().split("\r\n");
      assert.ok(head.startsWith("id,name,description,status"), head);
      assert.ok(rows[0].includes(`,"'=HYPERLINK(""x"")",`), rows[0]);
      const json = await exported(page, "Export JSON");
      assert.equal(JSON.parse(json)[0].name, '=HYPERLINK("x")');
      assert.ok(!json.includes(key.slice(16, 40)));
    });
  });
});

describe("addresses that lead nowhere", () => {
  for (const [path, heading] of [
    ["#/bogus", "There's no such page"],
    ["#/keys/short", "There's no such page"],
    ["#/owners/somebody", "Only administrators can open this page"],
  ]) {
    const skip = path.startsWith("#/owners") && onlyCognito;
    test(`${path} says so`, { skip }, async () => {
      await onPage({ path: `/api-keys${path}` }, async (page) => {
        await fillSignIn(page, await someone());
        await accessible(page.getByRole("heading", { level: 1, name: heading }), path);
        await page.getByRole("link", { name: "All keys" }).click();
        await page.getByRole("heading", { level: 1, name: /API key/ }).waitFor();
      });
    });
  }

  test("HEAD of the page has the headers of GET", async () => {
    const [head, get] = await Promise.all(["HEAD", "GET"].map((method) => fetch(`${base}/api-keys`, { method })));
    assert.equal(head.status, 200);
    for (const name of ["content-type", "cache-control", "content-security-policy"])
      assert.equal(head.headers.get(name), get.headers.get(name));
  });
});

describe("another user's keys", { skip: onlyCognito }, () => {
  test("an email finds no keys, and the page says what does", async () => {
    await onPage({ as: await cognito.somebody({ group: "operator" }) }, async (page) => {
      await page.getByLabel(/^User ID/).fill("user@example.com");
      await page.getByRole("button", { name: "Show keys" }).click();
      await accessible(page.getByText("No keys for this ID. Check that it's the user's Cognito sub"), "no keys of an owner");
    });
  });

  test("all keys of a user are revoked after a preview", async () => {
    const who = await cognito.somebody({ group: "user" });
    let used;
    await onPage({ as: who }, async (page) => {
      used = await create(page, "in use");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await create(page, "idle");
      await store(page);
    });
    assert.equal((await call("v1/auth/me", used)).status, 200);
    await onPage({ as: await cognito.somebody({ group: "operator" }) }, async (page) => {
      await page.getByLabel(/^User ID/).fill(who.id);
      await page.getByRole("button", { name: "Show keys" }).click();
      await page.getByRole("button", { name: "Revoke all (2)" }).click();
      const preview = page.getByText("1 of 2 used within a day.");
      await accessible(preview, "revoking all");
      await fits(preview, "revoking all");
      await page.getByRole("button", { name: "Revoke 2 keys", disabled: true }).waitFor();
      await page.getByLabel(/type their number/).fill("2");
      await page.getByRole("button", { name: "Revoke 2 keys" }).click();
      await page.locator("h1:focus").filter({ hasText: "Another user's keys" }).waitFor();
      await page.locator(".badge.revoked").nth(1).waitFor();
    });
    assert.equal((await call("v1/auth/me", used)).status, 401);
  });

  test("no word is broken at 1440 px, and revoking keeps the place", async () => {
    const who = await cognito.somebody({ group: "user" });
    await onPage({ as: who }, async (page) => {
      await create(page, "a key with a rather long name, as people give them");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await create(page, "another");
      await store(page);
    });
    await onPage({}, async (page) => {
      await page.setViewportSize({ width: 1440, height: 900 });
      await signInAs(page, await cognito.somebody({ group: "operator" }));
      await page.getByLabel(/^User ID/).fill(who.id);
      await page.getByRole("button", { name: "Show keys" }).click();
      await row(page, "another").waitFor();
      await isWhole(page, "another owner");
      await page.getByRole("button", { name: "Revoke another" }).click();
      await page.getByRole("button", { name: "Revoke key" }).click();
      await page.locator("th:focus").filter({ hasText: "another" }).getByText("Revoked").waitFor();
    });
  });
});
