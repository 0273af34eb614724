"""Provokes every error in docs/openapi.json over HTTP, on every route that documents it, or names the test that does."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from conftest import DEBUG, PROVIDER, bearer

DOCUMENT = json.loads((Path(__file__).resolve().parent.parent / "docs" / "openapi.json").read_text())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def errors(operation: dict) -> dict[str, int]:
    """The error codes of an operation, each with its status."""
    found = {}
    for status, response in operation["responses"].items():
        response = DOCUMENT["components"]["responses"][response["$ref"].split("/")[-1]] if "$ref" in response else response
        if problem := response.get("content", {}).get("application/problem+json"):
            _, constraints = problem["schema"]["allOf"]
            found |= dict.fromkeys(constraints["properties"]["error"]["enum"], int(status))
    return found


DOCUMENTED = [(name, code) for name, (_, _, operation) in OPERATIONS.items() for code in errors(operation)]

# Errors that can't be provoked here, with the test that provokes them elsewhere.
ELSEWHERE = {
    # The emulator doesn't throttle.
    "too_many_requests": "test_gateway_responses_are_readable_and_as_documented",
    # No HTTP client sends a control character.
    "malformed_request": "a_control_character_in_a_header_is_unreadable_not_a_fault",
    # A working stack has no faults.
    "temporarily_unavailable": "an_outage_is_503_without_details",
    # It would take a hundred keys per provider.
    "key_limit_reached": "the_limit_error_contains_the_limit",
    # The shortest lifetime is a day, or an `expires_at` that the test would have to wait for.
    "key_expired": "expired_is_in_the_trail_from_that_second_on",
    # Two concurrent requests meet only by chance.
    "idempotency_in_progress": "concurrent_repetitions_of_a_request_create_one_key",
    # The emulator can't insert the authorizer's word into the body of a 403: local/README.md.
    "insufficient_scope": "test_a_missing_scope_differs_from_a_missing_group",
    # Only the own pool issues tokens to the tests.
    "person_required": "machines_and_people_of_other_pools_have_no_keys",
    # It would bar the tokens of the other tests.
    "owner_disabled": "only_keys_disabled_with_their_owner_are_enabled_with_them",
    "token_outdated": "an_administrator_can_bar_older_tokens_from_key_changes",
    # The local stack accepts GitHub's reports, and these need its signature.
    (
        "reportGithubSecrets",
        "not_found",
    ): "without_githubs_keys_reports_are_503_or_404_if_turned_off",
    ("reportGithubSecrets", "invalid_body"): "an_unsigned_github_report_revokes_and_reveals_nothing",
}
ADMINISTRATORS = {"adminListApiKeys", "adminRevokeApiKeys", "adminEnableApiKeys", "adminRevokeApiKey"}
# A valid body for each operation that has one.
BODIES = {
    "createApiKey": {"name": "e2e errors"},
    "changeApiKey": {"name": "e2e errors"},
    "rotateApiKey": {"overlap_seconds": 0},
    "login": DEBUG,
    "refresh": {"refresh_token": "x"},
    "renewSession": {"refresh_token": "x"},
    "reportLeakedKey": {"key": "x"},
    "reportGithubSecrets": [],
}
BAD_VALUES = {
    "createApiKey": {"name": " "},
    "changeApiKey": {"name": " "},
    "rotateApiKey": {"overlap_seconds": -1},
    "reportLeakedKey": {"key": "x", "found_at": "x" * 501},
}


class Caller:
    """Sends a valid request for an operation, except for the arguments given."""

    def __init__(self, api: httpx.Client, user: dict[str, str], token_of: Callable[[str], str]) -> None:
        self.api, self.user, self.token_of = api, user, token_of

    def key(self, **attributes) -> dict:
        made = self.api.post("/v1/api-keys", headers=self.user, json={"name": f"e2e {uuid.uuid4()}", **attributes})
        assert made.status_code == 201, made.text
        return made.json()

    def send(
        self, name: str, id: str = "000000000000", headers: dict | None = None, as_: dict | None = None, **content
    ) -> httpx.Response:
        method, path, operation = OPERATIONS[name]
        if as_ is None:
            as_ = bearer(self.token_of("operator")) if name in ADMINISTRATORS else self.user
        # A browser's header: without it, the session's routes are forbidden.
        headers = {"sec-fetch-site": "same-origin"} | (headers or {}) if "session" in operation["tags"] else headers
        params = {"owner": "nobody"} if "owner" in str(operation.get("parameters")) else {}
        params |= content.pop("params", {})
        if not content and name in BODIES:
            content = {"json": BODIES[name]}
        path = path.replace("{id}", id).replace("{file}", "nothing.js")
        return self.api.request(method, path, headers={**as_, **(headers or {})}, params=params, **content)

    def own(self, name: str, **content) -> httpx.Response:
        """Sends it with one of the caller's keys in the path or, for operations on the calling key, as that key."""
        key = self.key()
        return self.send(name, id=key["id"], **({"as_": bearer(key["key"])} if name.endswith("OwnApiKey") else {}), **content)


# The function that provokes each code for an operation.
PROVOKED: dict[str, Callable[[Caller, str], httpx.Response]] = {}


def provokes(code: str):
    def register(provoke: Callable[[Caller, str], httpx.Response]):
        PROVOKED[code] = provoke
        return provoke

    return register


@provokes("invalid_token")
def invalid_token(caller: Caller, name: str) -> httpx.Response:
    return caller.send(name, as_={})


@provokes("invalid_credentials")
def invalid_credentials(caller: Caller, name: str) -> httpx.Response:
    return caller.send(name, json={**DEBUG, "password": "wrong"})


@provokes("invalid_body")
def invalid_body(caller: Caller, name: str) -> httpx.Response:
    return caller.send(name, headers={"content-type": "application/json"}, content="{")


@provokes("unsupported_media_type")
def unsupported_media_type(caller: Caller, name: str) -> httpx.Response:
    return caller.send(name, headers={"content-type": "text/plain"}, content="{}")


@provokes("body_too_large")
def body_too_large(caller: Caller, name: str) -> httpx.Response:
    return caller.send(name, json={"name": "x" * (1_100_000 if "github" in OPERATIONS[name][1] else 20_000)})


@provokes("invalid_signature")
def invalid_signature(caller: Caller, name: str) -> httpx.Response:
    return caller.send(name)


@provokes("invalid_value")
def invalid_value(caller: Caller, name: str) -> httpx.Response:
    return caller.own(name, json=BAD_VALUES[name])


@provokes("invalid_query")
def invalid_query(caller: Caller, name: str) -> httpx.Response:
    return caller.own(name, params={"nonsense": "1"})


@provokes("not_found")
def not_found(caller: Caller, name: str) -> httpx.Response:
    return caller.send(name)


@provokes("forbidden")
def forbidden(caller: Caller, name: str) -> httpx.Response:
    if name in ("renewSession", "endSession"):
        return caller.send(name, headers={"sec-fetch-site": "cross-site"})
    if name in ADMINISTRATORS | {"listAllProjects"} or name.endswith("OwnApiKey"):
        return caller.send(name, as_=caller.user)
    key = caller.key(groups=[])
    return caller.send(name, id=key["id"], as_=bearer(key["key"]))


@provokes("version_mismatch")
def version_mismatch(caller: Caller, name: str) -> httpx.Response:
    return caller.own(name, headers={"If-Match": '"99"'})


@provokes("invalid_if_match")
def invalid_if_match(caller: Caller, name: str) -> httpx.Response:
    return caller.own(name, headers={"If-Match": "1"})


@provokes("key_revoked")
def key_revoked(caller: Caller, name: str) -> httpx.Response:
    key = caller.key()
    caller.send("revokeApiKey", id=key["id"])
    return caller.send(name, id=key["id"])


@provokes("key_disabled")
def key_disabled(caller: Caller, name: str) -> httpx.Response:
    key = caller.key()
    caller.send("changeApiKey", id=key["id"], json={"status": "disabled"})
    return caller.send(name, id=key["id"])


@provokes("key_rotated")
def key_rotated(caller: Caller, name: str) -> httpx.Response:
    key = caller.key()
    caller.send(name, id=key["id"], json={"overlap_seconds": 60})
    return caller.send(name, id=key["id"], json={"overlap_seconds": 60})


@provokes("invalid_idempotency_key")
def invalid_idempotency_key(caller: Caller, name: str) -> httpx.Response:
    return caller.own(name, headers={"Idempotency-Key": "short"})


@provokes("idempotency_key_reused")
def idempotency_key_reused(caller: Caller, name: str) -> httpx.Response:
    key, headers = caller.key(), {"Idempotency-Key": str(uuid.uuid4())}
    other = {"createApiKey": {"name": "another"}, "rotateApiKey": {"overlap_seconds": 60}}[name]
    caller.send(name, id=key["id"], headers=headers)
    return caller.send(name, id=key["id"], headers=headers, json=other)


@pytest.fixture(scope="module")
def caller(api: httpx.Client, token_of: Callable[[str], str]):
    user = bearer(token_of("user"))
    yield Caller(api, user, token_of)
    page = api.get("/v1/api-keys", headers=user, params={"status": "active", "limit": 100}).json()
    for key in page["items"]:
        api.delete(f"/v1/api-keys/{key['id']}", headers=user)


@pytest.mark.parametrize(("name", "code"), [pair for pair in DOCUMENTED if pair[1] not in ELSEWHERE and pair not in ELSEWHERE])
def test_each_documented_error_occurs_as_documented(caller: Caller, name: str, code: str):
    _, _, operation = OPERATIONS[name]
    if PROVIDER != "custom" and "login-debug" in operation["tags"]:
        pytest.skip("provider custom only")
    if PROVIDER == "custom" and name in ADMINISTRATORS and code not in ("invalid_token", "forbidden"):
        pytest.skip("provider custom has no operator")
    refused = PROVOKED[code](caller, name)
    status = errors(operation)[code]
    assert (refused.status_code, refused.json()["error"]) == (status, code), refused.text
    assert refused.json()["status"] == status and refused.json()["title"] and refused.json()["detail"]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["cache-control"] == "no-store"
    if code == "invalid_token":
        assert refused.headers["www-authenticate"].startswith("Bearer ")
