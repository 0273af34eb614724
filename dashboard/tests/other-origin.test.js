/** A foreign web page, open in the developer's browser while the local stack runs, gets nothing from it. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { signRequest } from "@aws-amplify/core/internals/aws-client-utils";
import { base, launch, person } from "./browser.js";

const aws = process.env.AWS_ENDPOINT_URL;
const skip = process.env.VEGA_LOCAL_STATE ? false : "needs the local stack";
let browser, server, origin;

before(async () => {
  if (skip) return;
  browser = await launch("--host-resolver-rules=MAP evil.example 127.0.0.1");
  server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>elsewhere</title>"));
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  origin = `http://127.0.0.1:${server.address().port}`;
});
after(async () => {
  await browser?.close();
  server?.close();
});

/** Sends the requests from the page, and returns their outcomes as its script sees them. */
async function attempts(page, requests) {
  const statuses = [];
  page.on("response", (response) => {
    if (!response.url().startsWith(origin)) statuses.push(response.status());
  });
  const outcomes = await page.evaluate(
    (requests) =>
      Promise.all(
        requests.map(([url, init]) =>
          fetch(url, init).then(
            async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`,
            () => "failed",
          ),
        ),
      ),
    requests,
  );
  return { outcomes, statuses };
}

async function functions() {
  const request = { method: "GET", url: new URL(`${aws}/2015-03-31/functions`), headers: {} };
  const credentials = { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY };
  const { url, ...signed } = signRequest(request, { credentials, signingRegion: process.env.AWS_DEFAULT_REGION, signingService: "lambda" });
  const answer = await fetch(url, signed);
  assert.equal(answer.status, 200);
  return (await answer.json()).Functions.map(({ FunctionName }) => FunctionName);
}

test("a page of another origin can't run code or sign in", { skip }, async () => {
  const page = await browser.newPage();
  await page.goto(origin);
  const program = { FunctionName: "drive-by", Runtime: "provided.al2023", Handler: "bootstrap", Role: "arn:aws:iam::000000000000:role/x" };
  const simple = { method: "POST", headers: { "content-type": "text/plain" } };
  const create = { ...simple, body: JSON.stringify({ ...program, Code: { ZipFile: "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==" } }) };
  const login = JSON.stringify(person());
  const json = { method: "POST", headers: { "content-type": "application/json" }, body: login };
  const signIn = {
    method: "POST",
    headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": "AWSCognitoIdentityProviderService.InitiateAuth" },
    body: "{}",
  };
  const readable = await attempts(page, [
    [`${aws}/2015-03-31/functions`, create],
    [`${aws}/2015-03-31/functions`, {}],
    [`${aws}/_ministack/ses/messages`, {}],
    [`${aws}/`, signIn],
    [`${base}/v1/auth/login`, json],
    [`${base}/v1/auth/login`, { ...simple, body: login }],
    [`${base}/v1/auth/config`, {}],
    [`${base}/_ministack/reset`, simple],
  ]);
  assert.deepEqual(new Set(readable.outcomes), new Set(["failed"]));

  // In no-cors mode the browser sends the request without a preflight.
  const unread = await attempts(page, [
    [`${aws}/2015-03-31/functions`, { ...create, mode: "no-cors" }],
    [`${aws}/2015-03-31/functions/drive-by/invocations`, { ...simple, mode: "no-cors" }],
    [`${aws}/_ministack/reset`, { ...simple, mode: "no-cors" }],
    [`${aws}/_ministack/ses/messages`, { mode: "no-cors" }],
    [`${base}/v1/auth/login`, { ...simple, body: login, mode: "no-cors" }],
  ]);
  assert.deepEqual(new Set(unread.outcomes), new Set(["opaque 0 "]));
  const got = [...readable.statuses, ...unread.statuses];
  assert.ok(got.length >= 5 && got.filter((status) => status !== 403).length <= 1, `${got}`);
  assert.ok(!(await functions()).includes("drive-by"));
  await page.close();
});

test("a page of another origin gets nothing by form or socket", { skip }, async () => {
  const page = await browser.newPage();
  await page.goto(origin);
  const posted = page.waitForResponse(`${aws}/_ministack/reset`);
  const socket = await page.evaluate((aws) => {
    const socket = new WebSocket(`${aws.replace("http", "ws")}/restapis/x/live/_user_request_`);
    const frame = document.createElement("iframe");
    frame.name = "answer";
    document.body.append(frame);
    const form = document.body.appendChild(document.createElement("form"));
    Object.assign(form, { method: "POST", action: `${aws}/_ministack/reset`, target: "answer", enctype: "text/plain" });
    form.submit();
    return new Promise((resolve) => {
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("failed");
    });
  }, aws);
  assert.equal(socket, "failed");
  assert.equal((await posted).status(), 403);
  assert.notEqual((await functions()).length, 0, "the emulator was reset");
  await page.close();
});

test("a foreign host name for this machine is not served", { skip }, async () => {
  const page = await browser.newPage();
  for (const url of [base, aws]) {
    const answer = await page.goto(`http://evil.example:${new URL(url).port}/api-keys`);
    assert.equal(answer.status(), 403);
    const { outcomes } = await attempts(page, [
      ["/v1/auth/config", {}],
      ["/_ministack/ses/messages", {}],
    ]);
    for (const outcome of outcomes) assert.match(outcome, /^basic 403 /);
  }
  await page.close();
});
