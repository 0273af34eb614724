// Verifies the tokens on standard input with aws-jwt-verify: tests/offline/test_second_opinions.py.
import { readFileSync } from "node:fs";
import { CognitoJwtVerifier } from "aws-jwt-verify";

const { sources, vectors } = JSON.parse(readFileSync(0, "utf8"));
const poolId = (issuer) => issuer.slice(issuer.lastIndexOf("/") + 1);
// It derives both forms of the issuer from the pool's id.
const clients = new Map();
for (const { issuer, people = [], machines = [] } of sources) {
  const known = clients.get(poolId(issuer)) ?? [];
  clients.set(poolId(issuer), [...known, ...people, ...machines.map(({ client }) => client)]);
}
const pools = [...clients].map(([userPoolId, clientId]) => ({ userPoolId, clientId, tokenUse: "access", graceSeconds: 30 }));

function accepts({ token, key_set, now }) {
  Date.now = () => now * 1000;
  const verifier = CognitoJwtVerifier.create(pools);
  try {
    for (const { userPoolId } of pools) verifier.cacheJwks(JSON.parse(key_set), userPoolId);
    verifier.verifySync(token);
    return true;
  } catch {
    return false;
  }
}

process.stdout.write(JSON.stringify(vectors.map(accepts)));
