"""API keys over HTTP: create, use, change and revoke."""

import concurrent.futures

from conftest import bearer


def test_a_new_key_opens_the_api_as_its_owner(api, user, key):
    projects = api.get("/v1/projects", headers=bearer(key["key"]))
    assert (projects.status_code, len(projects.json()["items"])) == (200, 2)
    me, owner = api.get("/v1/auth/me", headers=bearer(key["key"])).json(), api.get("/v1/auth/me", headers=user).json()
    assert (me["id"], me["authenticated_by"], me["key_id"]) == (owner["id"], "api_key", key["id"])


def test_a_revoked_key_fails_on_the_next_request(api, user, key):
    assert api.get("/v1/projects", headers=bearer(key["key"])).status_code == 200
    assert api.delete(f"/v1/api-keys/{key['id']}", headers=user).status_code == 204
    refused = api.get("/v1/projects", headers=bearer(key["key"]))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
    assert api.delete(f"/v1/api-keys/{key['id']}", headers=user).status_code == 204


def test_a_disabled_key_is_rejected_until_it_is_enabled(api, user, key):
    for status, expected in (("disabled", 401), ("active", 200)):
        changed = api.patch(f"/v1/api-keys/{key['id']}", headers=user, json={"status": status})
        assert (changed.status_code, changed.json()["status"]) == (200, status)
        assert api.get("/v1/projects", headers=bearer(key["key"])).status_code == expected


def test_a_key_is_shown_whole_once(api, user, key):
    shown = api.get(f"/v1/api-keys/{key['id']}", headers=user)
    listed = api.get("/v1/api-keys", headers=user, params={"q": key["name"]})
    assert shown.json()["id"] == listed.json()["items"][0]["id"] == key["id"]
    assert key["key"] not in shown.text + listed.text and "digest" not in shown.text + listed.text


def test_a_key_with_one_changed_character_is_rejected(api, key):
    text = key["key"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        changed = [text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :] for at in range(0, len(text), 4)]
        for answer in pool.map(lambda key: api.get("/v1/projects", headers=bearer(key)), changed):
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_a_key_never_manages_keys(api, key):
    for method, path in (("GET", "/v1/api-keys"), ("POST", "/v1/api-keys"), ("DELETE", f"/v1/api-keys/{key['id']}")):
        refused = api.request(method, path, headers=bearer(key["key"]))
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")


def test_a_key_never_outranks_its_owner(api, user):
    refused = api.post("/v1/api-keys", headers=user, json={"name": "root", "groups": ["root"]})
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_value")


def test_an_outdated_change_is_rejected(api, user, key):
    path = f"/v1/api-keys/{key['id']}"
    etag = api.get(path, headers=user).headers["etag"]
    assert api.patch(path, headers={**user, "If-Match": etag}, json={"name": "first tab"}).status_code == 200
    stale = api.patch(path, headers={**user, "If-Match": etag}, json={"name": "second tab"})
    assert (stale.status_code, stale.json()["error"]) == (412, "version_mismatch")
    assert api.get(path, headers=user).json()["name"] == "first tab"


def test_invalid_bodies_are_rejected_and_change_nothing(api, user):
    before = api.get("/v1/api-keys", headers=user).json()
    json = {**user, "content-type": "application/json"}
    for content, status, error in (
        ("{", 400, "invalid_body"),
        ('{"name":"x","owner":"somebody else"}', 400, "invalid_body"),
        ('{"name":"' + "x" * 10_000 + '"}', 422, "invalid_value"),
        ('{"name":"x","description":"' + "x" * 20_000 + '"}', 413, "body_too_large"),
    ):
        refused = api.post("/v1/api-keys", headers=json, content=content)
        assert (refused.status_code, refused.json()["error"]) == (status, error)
        assert refused.headers["content-type"] == "application/problem+json"
    assert api.get("/v1/api-keys", headers=user).json() == before


def test_the_use_of_a_key_is_recorded(api, user, key):
    assert api.get(f"/v1/api-keys/{key['id']}", headers=user).json()["last_used_at"] is None
    api.get("/v1/projects", headers={**bearer(key["key"]), "User-Agent": "ci/1"})
    noted = api.get(f"/v1/api-keys/{key['id']}", headers=user).json()
    assert noted["last_used_at"] and noted["last_used_address"]
