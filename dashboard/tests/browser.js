/** Chromium on the page of a running stack, with nothing mocked. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const base = process.env.VEGA_BASE_URL ?? "http://localhost:8000";
export const provider = process.env.VEGA_AUTH_PROVIDER ?? "custom";
const people = JSON.parse(process.env.VEGA_TEST_USERS ?? "{}");

/** The credentials of a group's user. Provider custom has one user. */
export const person = (group = "user") =>
  provider === "custom" ? { email: "debug@example.com", password: "vega-debug-password" } : people[group];

const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  (path) => path && existsSync(path),
);

export async function launch(...more) {
  assert.ok(executablePath, "no Chromium found: apt-get install chromium, or set CHROMIUM to its path");
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...more,
    ],
  });
}

/** Opens a page that records every error: in the console, in scripts, against the policy. */
export async function open(context, path = "/api-keys") {
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`script: ${error.message}`));
  page.on("console", (message) => {
    // The browser itself logs a status of 400 or more; the tests check how the page handles it.
    if (message.type() === "error" && !/^Failed to load resource/.test(message.text())) wrong.push(`console: ${message.text()}`);
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
      window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`),
    );
  });
  await page.goto(new URL(path, base).href);
  page.wrong = async () => [...wrong, ...(await page.evaluate(() => window.violations)).map((violation) => `policy: ${violation}`)];
  return page;
}

export async function fillSignIn(page, { email, password }) {
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

/**
 * Once `shown` is visible, asserts that nothing violates WCAG 2.2 AA or axe's best practices, in light and dark mode. The
 * debugger loads axe, so the page's policy doesn't apply to it.
 */
export async function accessible(shown, state) {
  const page = shown.page();
  await shown.waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.evaluate(axeSource);
    const found = await page.evaluate(() =>
      window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
    );
    const violations = found.violations.map(
      ({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`,
    );
    assert.deepEqual(violations, [], `${state}, ${colorScheme}`);
  }
}

/** Asserts that no word of a control, a status, a time or a column's heading is broken across lines. */
export async function isWhole(page, state) {
  const broken = await page.evaluate(() => {
    const found = [];
    for (const element of document.querySelectorAll("button, .button, .badge, .mark, time, thead th")) {
      const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        for (const { 0: word, index } of texts.currentNode.data.matchAll(/\S+/g)) {
          const range = document.createRange();
          range.setStart(texts.currentNode, index);
          range.setEnd(texts.currentNode, index + word.length);
          if (new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) found.push(word);
        }
      }
    }
    return found;
  });
  assert.deepEqual(broken, [], `${state} at ${page.viewportSize().width}`);
}

/** Once `shown` is visible, asserts that nothing overflows horizontally, and no word is broken, at any supported width. */
export async function fits(shown, state) {
  const page = shown.page();
  const size = page.viewportSize();
  await shown.waitFor();
  for (const width of [320, 640, 1280, 1440]) {
    await page.setViewportSize({ width, height: 800 });
    await page.waitForFunction((width) => innerWidth === width, width);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${state}: ${wide} at ${width}`);
    await isWhole(page, state);
  }
  await page.setViewportSize(size);
}

/** The contents of every place where a page can leave something behind. */
export async function leftBehind(page) {
  return page.evaluate(async () => {
    const databases = await indexedDB.databases();
    const stored = await Promise.all(
      databases.map(
        ({ name }) =>
          new Promise((resolve, reject) => {
            const opening = indexedDB.open(name);
            opening.onerror = () => reject(opening.error);
            opening.onsuccess = async () => {
              const all = [];
              for (const store of opening.result.objectStoreNames) {
                all.push(
                  await new Promise((done) => {
                    const asking = opening.result.transaction(store).objectStore(store).getAll();
                    asking.onsuccess = () => done(JSON.stringify(asking.result));
                  }),
                );
              }
              resolve(all.join());
            };
          }),
      ),
    );
    const fields = [...document.querySelectorAll("input, textarea")].map((field) => field.value);
    return {
      localStorage: JSON.stringify(localStorage),
      sessionStorage: JSON.stringify(sessionStorage),
      indexedDB: stored.join(),
      url: location.href,
      history: JSON.stringify(history.state),
      title: document.title,
      cookies: document.cookie,
      document: document.documentElement.outerHTML,
      fields: fields.join(),
    };
  });
}

export const KEY = /vk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}/;
