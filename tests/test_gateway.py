"""Responses from API Gateway itself: routes, CORS, unusual headers."""

import http.client

import pytest
from conftest import BASE_URL


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic Zm9vOmJhcg==", "bearer  two.spaces.here", "x" * 5000])
def test_a_missing_or_other_credential_is_401(api, header):
    refused = api.get("/v1/projects", headers={} if header is None else {"Authorization": header})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")


def test_the_scheme_is_case_insensitive(api, user):
    token = user["Authorization"].removeprefix("Bearer ")
    for scheme in ("bearer", "BEARER"):
        assert api.get("/v1/auth/me", headers={"Authorization": f"{scheme} {token}"}).status_code == 200


def test_two_credentials_are_rejected(api, user):
    doubled = [("Authorization", user["Authorization"]), ("Authorization", user["Authorization"])]
    assert api.get("/v1/auth/me", headers=doubled).status_code == 401


def test_a_credential_in_the_query_string_is_rejected(api, user):
    token = user["Authorization"].removeprefix("Bearer ")
    assert api.get("/v1/auth/me", params={"access_token": token}).status_code == 401
    assert api.get("/v1/auth/me", params={"access_token": token}, headers=user).status_code == 401


def test_an_unknown_route_is_404(api, user):
    missing = api.get("/v1/nothing", headers=user)
    assert (missing.status_code, missing.json()["error"]) == (404, "not_found")


# The gateway may route some of these like the plain path, and must then ask the authorizer about that path.
SPELLINGS = [
    "/v1/admin/projects/",
    "/v1//admin/projects",
    "//v1/admin/projects",
    "/v1/./admin/projects",
    "/v1/api-keys/../admin/projects",
    "/v1/api-keys/%2e%2e/admin/projects",
    "/v1/api-keys/..%2f..%2fv1/admin/projects",
    "/v1%2Fadmin%2Fprojects",
    "/v1/admin%2fprojects",
    "/v1/admin/project%73",
    "/v1/projects/../admin/projects",
    "/v1/projects/..;/admin/projects",
    "/v1/api-keys/..\\..\\admin\\projects",
    "/v1/admin/projects;x",
    "/v1/api-keys/%09../admin/projects",
    "/V1/admin/projects",
]


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_spelling_of_a_path_reaches_a_forbidden_route(api, user, path):
    """Sends the path as written: httpx would resolve the dots."""
    secure = api.base_url.scheme == "https"
    connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(api.base_url.host, api.base_url.port)
    connection.request("GET", path, headers=user)
    assert connection.getresponse().status in (403, 404)
    connection.close()


def test_a_preflight_needs_no_credential_and_allows_the_header(api):
    answer = api.options(
        "/v1/projects",
        headers={
            "Origin": BASE_URL,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    assert answer.status_code in (200, 204)
    assert "authorization" in answer.headers["access-control-allow-headers"].lower().split(",")
    assert answer.headers["access-control-allow-origin"] in ("*", BASE_URL)


def test_paths_have_no_stage(api, user):
    assert api.get("/live/v1/auth/me", headers=user).status_code != 200
    assert api.get("/v1/auth/me", headers=user).status_code == 200


def test_the_base_url_has_the_documented_form():
    assert BASE_URL.startswith(("http://localhost:", "https://"))
