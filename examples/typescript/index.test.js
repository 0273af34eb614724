import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const { currentUser, handler } = await import(process.env.INVOICES);
const vectors = JSON.parse(readFileSync(process.env.VECTORS, "utf8"));
const events = (context) => [
  { requestContext: { authorizer: context } },
  { version: "2.0", requestContext: { authorizer: { lambda: context } } },
];

test("a request without a complete caller is rejected", async () => {
  for (const { context, groups } of vectors) {
    for (const event of events(context)) {
      assert.deepEqual(currentUser(event)?.groups, groups, JSON.stringify(event));
      const { statusCode, body } = await handler(event);
      assert.equal(statusCode, groups === undefined ? 401 : 200);
      assert.equal(JSON.parse(body).invoices_of, groups && context.id);
    }
  }
  for (const event of [{}, { version: "2.0" }, { version: "2.0", requestContext: { authorizer: vectors[0].context } }]) {
    assert.equal((await handler(event)).statusCode, 401);
  }
});
