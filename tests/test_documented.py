"""The reference document's examples, and the symptom of each entry in its "Debugging auth failures".

The README's section "Debugging" explains each of these.
"""

import base64
import json
import os

import pytest
from conftest import DEBUG, PROVIDER, bearer, srp_tokens


@pytest.mark.provider("custom")
def test_the_documented_login_returns_tokens(api):
    answer = api.post("/v1/auth/login", content=json.dumps(DEBUG), headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert answer.headers["cache-control"] == "no-store"


def test_the_documented_call_with_a_key_lists_the_projects(api, key):
    assert api.get("/v1/projects", headers={"Authorization": f"Bearer {key['key']}"}).json()["items"]


def test_401_from_me_is_an_expired_or_malformed_token(api, user):
    good = user["Authorization"].removeprefix("Bearer ")
    for token in ("garbage", good[:-1], good[: len(good) // 2], good + "x", good + ".x", "a.b.c", "vk_short"):
        refused = api.get("/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
        assert refused.headers["www-authenticate"].startswith("Bearer ")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["access-control-allow-origin"]
    assert api.get("/v1/auth/me", headers=user).status_code == 200


@pytest.mark.provider("custom")
def test_401_on_every_request_is_a_token_from_another_issuer(api):
    """The symptom of a wrong VEGA_COGNITO_… variable or the wrong provider."""
    claims = {"iss": "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_other", "sub": "x", "token_use": "access"}
    parts = [{"alg": "RS256", "kid": "other"}, claims, "signature"]
    token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    for path in ("/v1/auth/me", "/v1/projects", "/v1/api-keys"):
        assert api.get(path, headers=bearer(token)).json()["error"] == "invalid_token"


@pytest.mark.provider("cognito")
def test_an_id_token_is_not_an_access_token(api, cognito):
    user = json.loads(os.environ["VEGA_TEST_USERS"])["user"]
    tokens = srp_tokens(cognito, **user)
    assert api.get("/v1/auth/me", headers=bearer(tokens["AccessToken"])).status_code == 200
    for other in ("IdToken", "RefreshToken"):
        assert api.get("/v1/auth/me", headers=bearer(tokens[other])).status_code == 401


def test_403_forbidden_is_a_user_without_the_group(api, user):
    refused = api.get("/v1/admin/projects", headers=user)
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.provider("cognito")
@pytest.mark.parametrize(
    ("group", "projects", "admin"), [("root", 200, 200), ("operator", 200, 200), ("user", 200, 403), ("none", 403, 403)]
)
def test_each_group_reaches_what_the_rules_allow(api, token_of, group, projects, admin):
    headers = bearer(token_of(group))
    assert api.get("/v1/auth/me", headers=headers).json()["groups"] == ([] if group == "none" else [group])
    assert api.get("/v1/projects", headers=headers).status_code == projects
    assert api.get("/v1/admin/projects", headers=headers).status_code == admin


@pytest.mark.provider("cognito")
def test_cognito_rejects_a_wrong_password_over_srp(cognito):
    user = json.loads(os.environ["VEGA_TEST_USERS"])["user"]
    with pytest.raises(cognito.exceptions.NotAuthorizedException):
        srp_tokens(cognito, user["email"], "Wrong-password-1")


@pytest.mark.provider("cognito")
def test_the_debug_login_is_not_deployed_with_cognito(api):
    refused = api.post("/v1/auth/login", json=DEBUG)
    assert (refused.status_code, refused.json()["error"]) == (404, "not_found")


@pytest.mark.provider("custom")
def test_a_wrong_password_and_a_wrong_email_look_the_same(api):
    wrong = [{**DEBUG, "password": "wrong"}, {**DEBUG, "email": "root@example.com"}, {"email": "", "password": ""}]
    answers = {(answer.status_code, answer.text) for answer in (api.post("/v1/auth/login", json=body) for body in wrong)}
    assert len(answers) == 1 and answers.pop()[0] == 401


@pytest.mark.provider("custom")
def test_a_refresh_token_only_gives_access_tokens(api):
    tokens = api.post("/v1/auth/login", json=DEBUG).json()
    assert api.get("/v1/auth/me", headers=bearer(tokens["refresh_token"])).status_code == 401
    fresh = api.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
    assert api.get("/v1/auth/me", headers=bearer(fresh["access_token"])).status_code == 200
    refused = api.post("/v1/auth/refresh", json={"refresh_token": tokens["access_token"]})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")


def test_the_provider_under_test_signs_the_tokens(api, user):
    payload = user["Authorization"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (claims["iss"] == "vega:custom") == (PROVIDER == "custom")
    assert claims["token_use"] == "access"
