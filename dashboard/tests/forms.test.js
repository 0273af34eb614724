/** Forms: an error is seen beside its cause, and nothing that was typed is lost. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { accessible, base, fits } from "./browser.js";
import { call, create, keysOf, onlyCognito, onPage, openForm, rotate, signInAs, someone, store, tokenOf } from "./steps.js";

const addresses = (page) => page.getByLabel(/^Allowed IP/);
const refused = (page) => page.locator("textarea[aria-invalid=true]");

describe("errors", () => {
  test("the key limit is explained on a phone too", { skip: onlyCognito }, async () => {
    await onPage({}, async (page) => {
      await page.setViewportSize({ width: 320, height: 568 });
      await signInAs(page, await someone());
      await create(page, "one of many");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      const token = await tokenOf(page);
      const headers = { "content-type": "application/json" };
      const more = async () => {
        let status;
        do ({ status } = await call("v1/api-keys", token, { method: "POST", headers, body: '{"name":"another"}' }));
        while (status === 201);
        assert.equal(status, 409);
      };
      await Promise.all([more(), more(), more()]);
      await page.getByRole("button", { name: "Refresh" }).click();
      await page.getByText("You have 100 live keys, and can have 100.").waitFor();
      await (await openForm(page)).fill("one too many");
      await page.getByRole("button", { name: "Create key" }).click();
      const alert = page.getByRole("alert").filter({ hasText: "You have 100 live keys" });
      await accessible(alert, "key limit");
      assert.ok(await alert.evaluate((element) => element === document.activeElement));
      const { top, bottom } = await alert.evaluate((element) => element.getBoundingClientRect());
      assert.ok(top >= 0 && bottom <= 568, `from ${top} to ${bottom}`);
    });
  });

  test("an edited address is rejected beside its field", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "edited");
      await store(page);
      await page.getByRole("button", { name: "Edit" }).click();
      await addresses(page).fill("203.0.113.7/24");
      await page.getByRole("button", { name: "Save" }).click();
      await accessible(refused(page).and(page.locator(":focus")), "edit refused");
      await page.getByText("203.0.113.7/24 isn't a range. Did you mean 203.0.113.0/24?").waitFor();
      assert.equal(await page.getByRole("alert").count(), 0);
    });
  });

  test("the error names the line, and goes when it is corrected", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await (await openForm(page)).fill("in lines");
      await addresses(page).fill("198.51.100.1\n10.1.2.3/12\n203.0.113.0/24");
      await page.getByRole("button", { name: "Create key" }).click();
      const error = page.getByText("10.1.2.3/12 isn't a range. Did you mean 10.0.0.0/12?");
      await error.waitFor();
      await addresses(page).fill("");
      await error.waitFor({ state: "detached" });
      assert.equal(await refused(page).count(), 0);
      await addresses(page).fill("2001:db8::zz");
      await page.getByRole("button", { name: "Create key" }).click();
      await page.getByText("2001:db8::zz isn't an address or a range.").waitFor();
    });
  });

  test("a past date is not announced as an expiry", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await (await openForm(page)).fill("too late");
      await page.getByLabel("Custom date").check();
      await page.getByLabel("Works through").fill("2020-01-01");
      assert.equal(await page.getByText(/2020/).count(), 0);
      await page.getByRole("button", { name: "Create key" }).click();
      await page.locator("input[type=date]:invalid:focus").waitFor();
      const year = new Date().getUTCFullYear() + 1;
      await page.getByLabel("Works through").fill(`${year}-06-01`);
      await page
        .getByText(
          `Expires on ${new Date(`${year}-06-01T00:00`).toLocaleDateString("en", { weekday: "long" })}, June 1, ${year} at 11:59 PM`,
        )
        .waitFor();
    });
  });

  test("a name with an invisible character is rejected", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await (await openForm(page)).fill("ci\u202egnp.exe");
      await page.getByRole("button", { name: "Create key" }).click();
      await page.getByText("The name contains an invisible character.").waitFor();
      await page.locator("input[aria-invalid=true]:focus").waitFor();
    });
  });
});

describe("nothing typed is lost", () => {
  test("by going back, or without asking by a reload", async () => {
    await onPage({}, async (page) => {
      const who = await someone();
      await signInAs(page, who);
      await create(page, "a first one");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await (await openForm(page)).fill("half typed");
      await page.getByLabel(/^Description/).fill("and described");
      await page.goBack();
      await page.getByRole("heading", { level: 1, name: "API keys" }).waitFor();
      const field = await openForm(page);
      assert.equal(await field.inputValue(), "half typed");
      assert.equal(await page.getByLabel(/^Description/).inputValue(), "and described");
      const asked = page.waitForEvent("dialog");
      const reloading = page.evaluate(() => void location.reload());
      const dialog = await asked;
      assert.equal(dialog.type(), "beforeunload");
      await dialog.dismiss();
      await reloading;
      assert.equal(await field.inputValue(), "half typed");
      await page.getByRole("link", { name: "Cancel" }).click();
      assert.equal(await (await openForm(page)).inputValue(), "");

      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("link", { name: "a first one" }).first().click();
      await page.getByRole("button", { name: "Edit" }).click();
      await page.getByLabel(/^Description/).fill("half edited");
      await page.getByRole("link", { name: "All keys" }).click();
      await page.getByRole("heading", { level: 1, name: "API keys" }).waitFor();
      await page.goBack();
      await page.getByRole("heading", { level: 1, name: "a first one" }).waitFor();
      assert.equal(await page.getByLabel(/^Description/).inputValue(), "half edited");
    });
  });

  test("by a conflict: untouched fields follow the other change", async () => {
    const who = await someone();
    await onPage({ as: who, pages: 2 }, async (one, other) => {
      await create(one, "far away");
      await store(one);
      await other.reload();
      await other.goto(one.url());
      await one.getByRole("button", { name: "Edit" }).click();
      await other.getByRole("button", { name: "Edit" }).click();
      await other.getByLabel("Name", { exact: true }).fill("far away 2");
      await other.getByLabel(/^Description/).fill("theirs");
      await other.getByRole("button", { name: "Save" }).click();
      await other.getByRole("heading", { level: 1, name: "far away 2" }).waitFor();
      await one.getByLabel(/^Description/).fill("mine");
      await one.getByRole("button", { name: "Save" }).click();
      const note = one.getByRole("alert").filter({ hasText: "Someone else edited this key." });
      await note.and(one.locator(":focus")).waitFor();
      await note.getByText("Description: theirs “theirs”, yours “mine”").waitFor();
      assert.equal(await note.getByText(/^Name:/).count(), 0);
      assert.equal(await one.getByLabel("Name", { exact: true }).inputValue(), "far away 2");
      await one.getByRole("button", { name: "Save" }).click();
      await one.getByRole("definition").filter({ hasText: "mine" }).waitFor();
      await one.getByRole("heading", { level: 1, name: "far away 2" }).waitFor();
    });
  });
});

describe("a key's page", () => {
  test("the buttons that change a key keep the focus", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "focused");
      await store(page);
      await page.getByRole("button", { name: "Disable" }).click();
      await page.getByRole("button", { name: "Enable" }).and(page.locator(":focus")).click();
      await page.getByRole("button", { name: "Disable" }).and(page.locator(":focus")).waitFor();
      await page.getByRole("link", { name: "All keys" }).click();
      const refresh = page.getByRole("button", { name: "Refresh" });
      await Promise.all([page.waitForResponse(/\/v1\/api-keys\?/), refresh.click()]);
      await page.locator("button[aria-disabled=false]").filter({ hasText: "Refresh" }).and(page.locator(":focus")).waitFor();
    });
  });

  test("a key's page tells what it can call, and from where", async () => {
    const who = await someone();
    await onPage({ as: who }, async (page) => {
      const [key] = await keysOf(who, { name: "able", scopes: ["projects:read"], cidrs: ["203.0.113.0/24", "2001:db8::/33"] });
      await page.goto(`${base}/api-keys#/keys/${key.id}`);
      await page.getByText("Use this key, and what it can call").click();
      const routes = page.getByText("GET /v1/projects, GET /v1/admin/projects");
      await accessible(routes, "abilities");
      await fits(routes, "abilities");
      assert.match(await page.locator(".command pre").textContent(), /VEGA_API_KEY/);
      const field = page.getByLabel("Would this address be allowed?");
      for (const [address, answer] of [
        ["203.0.113.255", /^Yes, it's in /],
        ["203.0.114.0", /^No\. /],
        ["2001:db8:7fff::1", /^Yes, /],
        ["2001:db8:8000::1", /^No\. /],
        ["::203.0.113.7", /^No\. /],
        ["203.0.113.256", /^Enter an /],
        ["x", /^Enter an /],
      ]) {
        await field.fill(address);
        await page.getByText(answer).waitFor();
      }
    });
  });

  test("descriptions keep their lines and links", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "described", () => page.getByLabel(/^Description/).fill("Runbook: https://example.com/ci?a=b.\nSecond line <b>"));
      await store(page);
      const link = page.getByRole("link", { name: "https://example.com/ci?a=b" });
      await accessible(link, "described");
      assert.deepEqual(await link.evaluate(({ href, rel }) => [href, rel]), ["https://example.com/ci?a=b", "noopener noreferrer"]);
      assert.match(await page.getByRole("definition").filter({ has: link }).innerText(), /b\.\nSecond line <b>$/);
    });
  });

  test("events say what changed, and whose successor a key is", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "before", () => page.getByLabel(/^Full access/).check());
      await store(page);
      const id = page.url().slice(-12);
      await page.getByRole("button", { name: "Edit" }).click();
      await page.getByLabel("Name", { exact: true }).fill("after");
      await page.getByLabel(/^Read only/).check();
      await page.getByRole("button", { name: "Save" }).click();
      const edited = page.locator(".events li").filter({ hasText: "Edited" });
      await edited.getByText("Name: before → after").waitFor();
      await edited.getByText("Access: Full access → Read only").waitFor();
      await rotate(page);
      await page.locator(".events li").getByText(`Created by rotating vk_${id}_…`).waitFor();
    });
  });

  test("a key like another starts from its settings", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "the model", async () => {
        await page.getByLabel("30 days").check();
        await addresses(page).fill("203.0.113.0/24");
      });
      await store(page);
      await page.getByRole("link", { name: "Create one like this" }).click();
      await page.getByRole("radio", { name: "30 days", checked: true }).waitFor();
      await page.getByRole("radio", { name: /^Read only/, checked: true }).waitFor();
      assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "the model");
      assert.equal(await addresses(page).inputValue(), "203.0.113.0/24");
      assert.match(
        await page.locator(".summary").innerText(),
        /^the model can read, but can't change anything, from 203\.0\.113\.0\/24, until \w+day, /,
      );
    });
  });

  test("a link fills in the form", async () => {
    await onPage({ path: "/api-keys#/new?name=CI&scopes=read&days=7&networks=203.0.113.0/24" }, async (page) => {
      await page.getByLabel("Email").waitFor();
      const who = await someone();
      await page.getByLabel("Email").fill(who.email);
      await page.getByLabel("Password", { exact: true }).fill(who.password);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await page.getByRole("radio", { name: "7 days", checked: true }).waitFor();
      assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "CI");
      assert.equal(await addresses(page).inputValue(), "203.0.113.0/24");
    });
  });
});
