"""A key's life over HTTP: creation, rotation, administration, revocation; and repeated requests."""

import concurrent.futures
import uuid

import httpx
import pytest
from conftest import bearer

# Enough for races. The emulator is one Python process: more clients only wait there, until a function's own deadline passes.
PARALLEL = 4


def works(api: httpx.Client, key: dict) -> bool:
    answer = api.get("/v1/projects", headers=bearer(key["key"]))
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


def rotate(api: httpx.Client, user: dict, key: dict, **body) -> httpx.Response:
    return api.post(f"/v1/api-keys/{key['id']}/rotate", headers=user, json=body)


def test_both_keys_of_a_rotation_work_during_the_overlap(api, user, key):
    new = rotate(api, user, key, overlap_seconds=600)
    assert (new.status_code, new.json()["rotated_from"]) == (201, key["id"])
    assert new.json()["expires_at"] == key["expires_at"]
    assert works(api, key) and works(api, new.json())
    again = rotate(api, user, key, overlap_seconds=600)
    assert (again.status_code, again.json()["error"]) == (409, "key_rotated")
    api.delete(f"/v1/api-keys/{key['id']}", headers=user)
    assert not works(api, key) and works(api, new.json())
    api.delete(f"/v1/api-keys/{new.json()['id']}", headers=user)


def test_without_overlap_the_old_key_fails_on_the_next_request(api, user, key):
    new = rotate(api, user, key, overlap_seconds=0).json()
    assert not works(api, key) and works(api, new)
    api.delete(f"/v1/api-keys/{new['id']}", headers=user)


def test_a_key_can_read_and_revoke_itself(api, user, key):
    itself = bearer(key["key"])
    assert api.get("/v1/api-keys/self", headers=itself).json()["id"] == key["id"]
    for method, path in (
        ("GET", f"/v1/api-keys/{key['id']}"),
        ("POST", f"/v1/api-keys/{key['id']}/rotate"),
        ("GET", f"/v1/api-keys/{key['id']}/events"),
    ):
        assert api.request(method, path, headers=itself).status_code == 403, path
    assert api.get("/v1/api-keys/self", headers=user).json()["error"] == "forbidden"
    assert api.delete("/v1/api-keys/self", headers=itself, params={"reason": "in a log"}).status_code == 204
    assert not works(api, key)
    assert api.get(f"/v1/api-keys/{key['id']}", headers=user).json()["revoked_reason"] == "in a log"


def test_the_audit_trail_shows_the_events_and_never_the_key(api, user, key):
    path = f"/v1/api-keys/{key['id']}"
    api.patch(path, headers=user, params={"reason": "laptop lost"}, json={"status": "disabled"})
    api.delete(path, headers=user, params={"reason": "not found"})
    seen = api.get(f"{path}/events", headers=user)
    assert [event["event"] for event in seen.json()["items"]] == ["revoked", "disabled", "created"]
    assert [event["reason"] for event in seen.json()["items"]] == ["not found", "laptop lost", None]
    for event in seen.json()["items"]:
        assert event["actor"] and event["actor_username"] and event["address"] and event["request_id"]
    assert len({event["request_id"] for event in seen.json()["items"]}) == 3
    assert key["key"][16:59] not in seen.text and "digest" not in seen.text


def test_a_repeated_request_gets_the_same_response(api, user):
    headers = {**user, "Idempotency-Key": str(uuid.uuid4())}
    body = {"name": f"e2e {uuid.uuid4()}"}
    first, second = (api.post("/v1/api-keys", headers=headers, json=body) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.text == second.text and works(api, second.json())
    for header in ("etag", "location"):
        assert first.headers[header] == second.headers[header]
    assert len(api.get("/v1/api-keys", headers=user, params={"q": body["name"]}).json()["items"]) == 1
    other = api.post("/v1/api-keys", headers=headers, json={**body, "description": "another"})
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
    api.delete(first.headers["location"], headers=user)


@pytest.mark.floods
@pytest.mark.provider("custom")
def test_200_parallel_creations_stop_exactly_at_the_limit(api, user):
    def live() -> int:
        pages = [
            api.get("/v1/api-keys", headers=user, params={"status": status, "limit": 100}) for status in ("active", "disabled")
        ]
        return sum(len(page.json()["items"]) for page in pages)

    def make(number: int) -> httpx.Response:
        return api.post("/v1/api-keys", headers=user, json={"name": f"limit {number}"})

    before = live()
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(make, range(200)))
        made = [answer.json() for answer in answers if answer.status_code == 201]
        try:
            assert {answer.json()["error"] for answer in answers if answer.status_code != 201} == {"key_limit_reached"}
            assert (before + len(made), live()) == (100, 100)
            assert rotate(api, user, made[0], overlap_seconds=60).json()["error"] == "key_limit_reached"
            successor = rotate(api, user, made[0], overlap_seconds=0)
            assert successor.status_code == 201 and live() == 100
            made.append(successor.json())
        finally:
            list(pool.map(lambda key: api.delete(f"/v1/api-keys/{key['id']}", headers=user), made))
    assert live() == before


@pytest.mark.floods
@pytest.mark.provider("custom")
def test_a_revoked_key_fails_on_the_next_request_250_times(api, user):
    def refused(number: int) -> bool:
        key = api.post("/v1/api-keys", headers=user, json={"name": f"revoke then use {number}"}).raise_for_status().json()
        if number % 20 == 0:
            assert works(api, key)
        api.delete(f"/v1/api-keys/{key['id']}", headers=user).raise_for_status()
        return not works(api, key)

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        tries = list(pool.map(refused, range(250)))
    assert (len(tries), sum(tries)) == (250, 250)


@pytest.mark.provider("cognito")
def test_root_and_operator_manage_other_peoples_keys(api, token_of, user, key):
    owner = api.get("/v1/auth/me", headers=user).json()["id"]
    root, operator = bearer(token_of("root")), bearer(token_of("operator"))
    for admin in (root, operator):
        listed = api.get("/v1/admin/api-keys", headers=admin, params={"owner": owner, "q": key["name"]})
        assert [one["id"] for one in listed.json()["items"]] == [key["id"]]
        assert key["key"][16:59] not in listed.text
    for method, path in (
        ("GET", "/v1/admin/api-keys"),
        ("DELETE", "/v1/admin/api-keys"),
        ("DELETE", f"/v1/admin/api-keys/{key['id']}"),
    ):
        for headers in (user, bearer(key["key"])):
            refused = api.request(method, path, headers=headers, params={"owner": owner})
            assert (refused.status_code, refused.json()["error"]) == (403, "forbidden"), path
    assert works(api, key)
    assert api.delete(f"/v1/admin/api-keys/{key['id']}", headers=operator, params={"reason": "incident"}).status_code == 204
    assert not works(api, key)
    newest = api.get(f"/v1/api-keys/{key['id']}/events", headers=user).json()["items"][0]
    assert (newest["event"], newest["reason"]) == ("revoked", "incident")
    assert newest["actor"] == api.get("/v1/auth/me", headers=operator).json()["id"]


@pytest.mark.provider("cognito")
def test_all_keys_can_be_revoked_but_roots_only_by_root(api, token_of):
    root, operator = bearer(token_of("root")), bearer(token_of("operator"))
    owner = {"owner": api.get("/v1/auth/me", headers=root).json()["id"]}
    keys = [api.post("/v1/api-keys", headers=root, json={"name": f"root's {number}"}).json() for number in range(3)]
    assert all(key["groups"] == ["root"] for key in keys)
    refused = api.delete("/v1/admin/api-keys", headers=operator, params=owner)
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert all(works(api, key) for key in keys)
    revoked = [api.delete("/v1/admin/api-keys", headers=root, params=owner).json()["revoked"] for _ in range(2)]
    assert revoked[0] >= 3 and revoked[1] == 0
    assert not any(works(api, key) for key in keys)
