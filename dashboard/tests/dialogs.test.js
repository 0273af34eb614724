/** New keys and sessions: no key, press or word is lost in a dialog. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { accessible, fillSignIn, fits, KEY } from "./browser.js";
import * as cognito from "./cognito.js";
import { call, create, ended, isCognito, nothingOf, onlyCognito, onPage, openForm, refreshTokenOf, someone, store } from "./steps.js";

describe("a new key", () => {
  test("ten Escapes lose neither this key nor the next", async () => {
    await onPage({ as: await someone() }, async (page) => {
      const key = await create(page, "escaping");
      for (let presses = 0; presses < 10; presses += 1) {
        await page.keyboard.press("Escape");
        await page.locator("dialog[open]").getByText("You haven't copied or downloaded it.").waitFor();
      }
      assert.equal(await page.getByLabel("The new API key").inputValue(), key);
      await page.getByRole("button", { name: "Close and lose this key" }).click();
      await page.getByRole("heading", { level: 1, name: "escaping" }).waitFor();
      await nothingOf(key, page);
      await page.getByRole("link", { name: "All keys" }).click();
      assert.match(await create(page, "the next"), KEY);
      await page.locator("dialog[open]").getByRole("button", { name: "Copy key" }).waitFor();
    });
  });

  test("a copied part of a key doesn't count as stored", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "in part");
      const field = page.getByLabel("The new API key");
      await field.focus();
      await field.evaluate((element) => element.setSelectionRange(0, 8));
      await page.keyboard.press("ControlOrMeta+c");
      await page.getByRole("button", { name: "Close", exact: true }).click();
      await page.getByText("You haven't copied or downloaded it.").waitFor();
      await page.getByRole("button", { name: "Keep it open" }).click();
      await field.and(page.locator(":focus")).waitFor();
      await page.keyboard.press("ControlOrMeta+c");
      await page.getByRole("button", { name: "Done" }).click();
      await page.getByRole("heading", { level: 1, name: "in part" }).waitFor();
    });
  });

  test("a key that wasn't stored can be revoked at once", async () => {
    await onPage({ as: await someone() }, async (page) => {
      const key = await create(page, "not needed");
      await page.getByRole("button", { name: "Close", exact: true }).click();
      await accessible(page.getByRole("button", { name: "Revoke this key" }), "offer to revoke");
      await page.getByRole("button", { name: "Revoke this key" }).click();
      await page.locator(".badge.revoked").waitFor();
      assert.equal((await call("v1/auth/me", key)).status, 401);
    });
  });

  test("Back from a new key doesn't lead to the form", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "the first of two");
      await store(page);
      await page.getByRole("link", { name: "All keys" }).click();
      await create(page, "the second of two");
      await store(page);
      await page.goBack();
      await page.getByRole("heading", { level: 1, name: "API keys" }).waitFor();
      await page.getByRole("row").filter({ hasText: "the second of two" }).waitFor();
    });
  });

  test("where copying is forbidden, the text is selected", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await page.evaluate(() => (navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"))));
      const key = await create(page, "uncopied");
      await page.getByRole("button", { name: "Copy key" }).click();
      const said = page.getByText("Your browser doesn't let this page copy.");
      await accessible(said, "copy refused");
      const field = page.getByLabel("The new API key");
      assert.deepEqual(await field.evaluate(({ selectionStart, selectionEnd }) => [selectionStart, selectionEnd]), [0, key.length]);
      await page.getByRole("button", { name: "Copy example" }).click();
      await said.nth(1).waitFor();
      assert.equal(await page.evaluate(() => getSelection().toString()), await page.locator(".command pre").textContent());
      await page.getByRole("button", { name: "Close", exact: true }).click();
      await page.getByText("You haven't copied or downloaded it.").waitFor();
    });
  });

  test("trying out a key doesn't make it one in use", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "tried");
      await page.getByRole("button", { name: "Try it now" }).click();
      await page.getByText(/^It works\./).waitFor();
      await store(page);
      await page.getByRole("term").filter({ hasText: "Last used" }).locator("..").getByText("just now").waitFor();
      await page.getByRole("button", { name: "Revoke" }).click();
      await page.getByRole("button", { name: "Revoke key", disabled: false }).click();
      await page.locator(".badge.revoked").waitFor();
    });
  });

  test("a key that this address may not use says why", async () => {
    await onPage({ as: await someone() }, async (page) => {
      await create(page, "elsewhere", () => page.getByLabel(/^Allowed IP/).fill("203.0.113.0/24"));
      await page.getByRole("button", { name: "Try it now" }).click();
      await page.getByText("Refused from your address: this key is limited to 203.0.113.0/24.").waitFor();
    });
  });

  test("a member of no group learns that their keys can't do much", { skip: onlyCognito }, async () => {
    await onPage({ as: await cognito.somebody() }, async (page) => {
      await accessible(page.getByText("You aren't in any group."), "no group");
      await create(page, "powerless");
      await page.getByRole("button", { name: "Try it now" }).click();
      await page.getByText("It has no group, so it can't call anything that requires one.").waitFor();
    });
  });
});

describe("the session", () => {
  test("signing out elsewhere waits for a key to be stored", async () => {
    const who = await someone();
    await onPage({ as: who, pages: 2 }, async (one, other) => {
      await other.reload();
      const key = await create(one, "unstored");
      await other.getByRole("button", { name: "Sign out" }).click();
      await other.getByText("You're signed out.").waitFor();
      const told = one.getByText("You signed out in another tab.");
      await accessible(told, "signed out, with a key");
      assert.equal(await one.getByLabel("The new API key").inputValue(), key);
      await one.getByRole("button", { name: "Copy key" }).click();
      await one.getByRole("button", { name: "Done" }).click();
      await one.getByRole("heading", { name: "Sign in" }).waitFor();
      await nothingOf(key, one);
    });
  });

  test("Escape doesn't sign out when the session has expired", { skip: onlyCognito }, async () => {
    const who = await cognito.somebody({ group: "user" });
    await onPage({}, async (page) => {
      const refresh = await refreshTokenOf(page, who);
      await page.getByLabel("Name", { exact: true }).fill("typed before the end");
      await ended(who, refresh);
      await page.clock.setSystemTime(Date.now() + 59.5 * 60_000);
      await page.getByRole("button", { name: "Create key" }).click();
      const asking = page.locator("dialog[open]").getByRole("heading", { name: "Your session expired" });
      await asking.waitFor();
      for (let presses = 0; presses < 5; presses += 1) await page.keyboard.press("Escape");
      await asking.waitFor();
      await page.clock.setSystemTime(Date.now());
      await page.getByLabel("Password", { exact: true }).fill(who.password);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await page.getByRole("heading", { name: "Save your key" }).waitFor();
    });
  });

  test("a busy button is readable under the mouse and keeps focus", async () => {
    const who = await someone();
    await onPage({}, async (page) => {
      await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
      const held = await hold(page, isCognito ? `${process.env.AWS_ENDPOINT_URL}/**` : "**/v1/auth/login");
      await page.getByRole("button", { name: "Sign in", exact: true }).hover();
      await fillSignIn(page, who);
      const busy = page.getByRole("button", { name: "Signing in…" });
      await busy.and(page.locator(":focus")).waitFor();
      assert.ok((await contrast(busy)) >= 4.5, `contrast ${await contrast(busy)}`);
      await held.release();
      await page.getByRole("heading", { level: 1, name: /API key/ }).waitFor();
    });
  });

  test("the announcement after signing in names the email", async () => {
    const who = await someone();
    await onPage({ as: who }, async (page) => {
      await page.getByRole("status").getByText(`Signed in as ${who.email}`).waitFor({ state: "attached" });
    });
  });

  test("a network's own sign-in page is told apart from the API", async () => {
    await onPage({}, async (page) => {
      await page.route("**/v1/auth/me", (route) => route.fulfill({ contentType: "text/html", body: "<h1>Hotel Wi-Fi</h1>" }));
      await fillSignIn(page, await someone());
      await accessible(page.getByText("Something between you and the API answered in its place"), "captive portal");
    });
  });

  test("a note's icon is beside its text on a phone", { skip: isCognito && "the note is the debug login's" }, async () => {
    await onPage({}, async (page) => {
      await page.setViewportSize({ width: 320, height: 568 });
      const note = page.locator(".note").filter({ hasText: "Local sign-in" });
      const [icon, text] = [await note.locator(".icon").boundingBox(), await note.locator("span").boundingBox()];
      assert.ok(icon.x + icon.width <= text.x && icon.y < text.y + text.height && text.y < icon.y + icon.height);
    });
  });
});

describe("passwords", { skip: onlyCognito }, () => {
  test("a new password is stored with its user, and not too short", async () => {
    const who = await cognito.somebody({ temporary: true, group: "user" });
    await onPage({}, async (page) => {
      await fillSignIn(page, who);
      await page.getByRole("heading", { name: "Choose your password" }).waitFor();
      assert.equal(await page.locator("input[autocomplete=username]").inputValue(), who.email);
      await page.getByLabel("New password").fill("Eleven-char");
      await page.getByRole("button", { name: "Set password" }).click();
      await page.locator("input[type=password]:invalid:focus").waitFor();
    });
  });

  test("an authenticator app reads its secret from a QR code", async () => {
    const who = await cognito.somebody({ group: "user" });
    await onPage({}, async (page) => {
      // The emulator never asks for this step, so its answers are changed on their way.
      await page.route(`${process.env.AWS_ENDPOINT_URL}/**`, async (route) => {
        const action = (await route.request().allHeaders())["x-amz-target"]?.split(".").at(-1);
        const json = {
          RespondToAuthChallenge: {
            ChallengeName: "MFA_SETUP",
            Session: "s".repeat(40),
            ChallengeParameters: { MFAS_CAN_SETUP: '["SOFTWARE_TOKEN_MFA"]' },
          },
          AssociateSoftwareToken: { SecretCode: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", Session: "s".repeat(40) },
        }[action];
        if (!json) return route.continue();
        await route.fulfill({ json, headers: { "access-control-allow-origin": "*", "access-control-expose-headers": "*" } });
      });
      await fillSignIn(page, who);
      const code = page.getByRole("img", { name: /QR code/ });
      await accessible(code, "set up an app");
      await fits(code, "set up an app");
      const { default: decode } = await import("qr/decode.js");
      const modules = await code.evaluate((svg) => {
        const size = svg.viewBox.baseVal.width;
        const scale = 8;
        const pixels = new Uint8Array((size * scale) ** 2 * 4).fill(255);
        for (const [, x, y] of svg
          .querySelector("path")
          .getAttribute("d")
          .matchAll(/M(\d+) (\d+)/g)) {
          for (let dy = 0; dy < scale; dy += 1) {
            for (let dx = 0; dx < scale; dx += 1)
              pixels.fill(
                0,
                ((y * scale + dy) * size * scale + x * scale + dx) * 4,
                ((y * scale + dy) * size * scale + x * scale + dx) * 4 + 3,
              );
          }
        }
        return { width: size * scale, height: size * scale, data: [...pixels] };
      });
      const text = decode({ ...modules, data: Uint8Array.from(modules.data) });
      assert.equal(text, await page.getByRole("link", { name: "Open it in an app on this device" }).getAttribute("href"));
      assert.match(text, /^otpauth:\/\/totp\/.*secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP/);
    });
  });
});

/** Holds the page's requests to `url` until they are released. */
async function hold(page, url) {
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await page.route(url, async (route) => {
    await released;
    await route.continue();
  });
  return {
    async release() {
      release();
      await page.unrouteAll({ behavior: "wait" });
    },
  };
}

/** The contrast (WCAG) of an element's text on its background. */
function contrast(locator) {
  return locator.evaluate((element) => {
    const luminance = (color) => {
      const [r, g, b] = color
        .match(/[\d.]+/g)
        .map((part) => Number(part) / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const { color, backgroundColor } = getComputedStyle(element);
    const [dark, light] = [luminance(color), luminance(backgroundColor)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  });
}
