"""Keys limited to scopes and networks."""

import os
import uuid

import boto3
import pytest
from conftest import bearer, eventually

IS_LOCAL = "VEGA_LOCAL_STATE" in os.environ


@pytest.fixture
def make(api, user):
    """Creates keys, and revokes them afterwards."""
    made = []

    def key(**wanted) -> dict:
        answer = api.post("/v1/api-keys", headers=user, json={"name": f"e2e {uuid.uuid4()}", **wanted})
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
        return made[-1]

    yield key
    for one in made:
        api.delete(f"/v1/api-keys/{one['id']}", headers=user)


def status(api, key: dict, path: str) -> int:
    return api.get(path, headers=bearer(key["key"])).status_code


def test_people_and_keys_can_list_the_scopes(api, user, make):
    for headers in (user, bearer(make(scopes=["read"])["key"])):
        scopes = {scope["name"]: scope["routes"] for scope in api.get("/v1/scopes", headers=headers).json()["items"]}
        assert scopes["read"] == ["GET /*", "HEAD /*"]
        assert "GET /v1/projects" in scopes["projects:read"]


def test_a_key_with_a_scope_can_call_only_its_routes(api, user, make):
    narrow, read = make(scopes=["projects:read"]), make(scopes=["read"])
    assert narrow["scopes"] == ["projects:read"]
    assert (status(api, narrow, "/v1/projects"), status(api, narrow, "/v1/auth/me")) == (200, 403)
    assert (status(api, read, "/v1/projects"), status(api, read, "/v1/auth/me")) == (200, 200)
    assert api.get("/v1/auth/me", headers=bearer(read["key"])).json()["scopes"] == ["read"]
    # A scope doesn't grant what the groups don't.
    assert status(api, narrow, "/v1/admin/projects") == 403
    # The limit can be removed.
    api.patch(f"/v1/api-keys/{narrow['id']}", headers=user, json={"scopes": []}).raise_for_status()
    assert status(api, narrow, "/v1/auth/me") == 200


def test_a_missing_scope_differs_from_a_missing_group(api, make):
    key = make(scopes=["projects:read"])
    for path, error in (("/v1/auth/me", "insufficient_scope"), ("/v1/admin/projects", "forbidden")):
        refused = api.get(path, headers=bearer(key["key"]))
        assert refused.status_code == 403
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        # The emulator can't insert the authorizer's word into the body: local/README.md.
        assert refused.json()["error"] == ("forbidden" if IS_LOCAL else error)
        if IS_LOCAL:
            assert eventually(lambda code=error: logged(key["id"], code))


def logged(key_id: str, code: str) -> bool:
    """Whether the authorizer logged this code about the key. The emulator writes its log after the response."""
    logs = boto3.client("logs")
    for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
        events = logs.filter_log_events(logGroupName=group["logGroupName"], filterPattern=key_id)["events"]
        if any(key_id in event["message"] and f'"code":"{code}"' in event["message"] for event in events):
            return True
    return False


def test_a_key_with_networks_works_only_from_them(api, user, make):
    probe = make()
    assert status(api, probe, "/v1/projects") == 200
    address = api.get(f"/v1/api-keys/{probe['id']}", headers=user).json()["last_used_address"]
    here = f"{address}/{128 if ':' in address else 32}"
    assert status(api, make(cidrs=[here]), "/v1/projects") == 200
    assert status(api, make(cidrs=["192.0.2.0/24", here]), "/v1/projects") == 200
    elsewhere = make(cidrs=["192.0.2.0/24"])
    for headers in ({}, {"X-Forwarded-For": "192.0.2.1"}, {"Forwarded": "for=192.0.2.1"}):
        refused = api.get("/v1/projects", headers={**bearer(elsewhere["key"]), **headers})
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
    api.patch(f"/v1/api-keys/{elsewhere['id']}", headers=user, json={"cidrs": [here]}).raise_for_status()
    assert status(api, elsewhere, "/v1/projects") == 200


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("scopes", ["nothing"]),
        ("scopes", ["READ"]),
        ("cidrs", ["203.0.113.7/24"]),
        ("cidrs", ["here"]),
        ("cidrs", ["192.0.2.0/24"] * 21),
    ],
)
def test_an_invalid_restriction_is_rejected_by_its_name(api, user, member, value):
    refused = api.post("/v1/api-keys", headers=user, json={"name": "x", member: value})
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_value")
    assert refused.json()["detail"].startswith(member)
