"""Two other libraries verify every Cognito vector, for each issuer, client and kind. A token that only one of three accepts reveals a
hole in one of them. tests/vectors/opinions.json lists what they accept and we don't, with the reasons, and exactly that: one that
disappears fails too. There is no token that we accept and one of them doesn't."""

import json
import subprocess
from types import SimpleNamespace

import jwt
import pytest
from template import ROOT

SOURCES = json.loads((ROOT / "tests/vectors/sources.json").read_text())["sources"]
OPINIONS = json.loads((ROOT / "tests/vectors/opinions.json").read_text())


@pytest.fixture(scope="module")
def vectors() -> list[dict]:
    command = ["cargo", "run", "--quiet", "--locked", "--package", "vega-testing", "--example", "tokens"]
    vectors = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    # A fault means that there is no key set, so nothing to verify with.
    return [vector for vector in vectors if vector["expect"] != "fault"]


def pyjwt_accepts(vector: dict, monkeypatch: pytest.MonkeyPatch) -> bool:
    """PyJWT checks signature, issuer and times. Use, client and kind are the caller's task."""
    monkeypatch.setattr(
        jwt.api_jwt, "datetime", SimpleNamespace(now=lambda tz: SimpleNamespace(timestamp=lambda: vector["now"]))
    )
    try:
        keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(vector["key_set"]).keys}
        key = keys[jwt.get_unverified_header(vector["token"])["kid"]]
        options = {"require": ["exp", "iat", "iss", "sub", "client_id", "token_use"], "verify_aud": False}
        issuers = [source["issuer"] for source in SOURCES]
        claims = jwt.decode(vector["token"], key, algorithms=["RS256"], issuer=issuers, options=options, leeway=30)
    except (jwt.PyJWTError, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return False
    [source] = [source for source in SOURCES if source["issuer"] == claims["iss"]]
    is_machine = claims["sub"] == claims["client_id"] and "username" not in claims
    machines = [machine["client"] for machine in source.get("machines", [])]
    clients = machines if is_machine else source["people"]
    is_person = claims["sub"] != claims["client_id"] and bool(claims.get("username"))
    return claims["token_use"] == "access" and (is_machine or is_person) and claims["client_id"] in clients


def check(library: str, vectors: list[dict], accepted: list[bool]) -> None:
    assert len(vectors) > 1000
    ours = [not vector["expect"].startswith("reject") for vector in vectors]
    judged = list(zip(vectors, ours, accepted, strict=True))
    assert not {vector["name"] for vector, we_accept, accepts in judged if we_accept and not accepts}
    laxer = {vector["name"] for vector, we_accept, accepts in judged if accepts and not we_accept}
    listed = [name for names in OPINIONS[library].values() for name in names]
    assert laxer == set(listed) and len(listed) == len(laxer)


def test_pyjwt_agrees_on_every_vector(vectors, monkeypatch):
    check("PyJWT", vectors, [pyjwt_accepts(vector, monkeypatch) for vector in vectors])


def test_aws_jwt_verify_agrees_on_every_vector(vectors):
    """It derives the issuer from the pool's id, which gives no replica's issuer and no host in aws-cn and aws-eusc."""
    hosts = {
        "cognito-idp.us-west-1.amazonaws.com",
        "issuer-cognito-idp.eu-west-1.amazonaws.com",
        "cognito-idp.us-gov-west-1.amazonaws.com",
    }
    known = [vector for vector in vectors if vector["issuer"].split("/")[2] in hosts]
    given = json.dumps({"sources": SOURCES, "vectors": known})
    script = ROOT / "dashboard/tests/aws-jwt-verify.js"
    result = subprocess.run(["node", script], input=given, capture_output=True, text=True, check=True)
    check("aws-jwt-verify", known, json.loads(result.stdout))
