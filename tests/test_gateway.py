"""What API Gateway answers by itself: routes, CORS, odd headers."""

import json
import os
from pathlib import Path

import pytest

from conftest import BASE_URL, bearer


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic Zm9vOmJhcg==", "bearer  two.spaces.here", "x" * 5000])
def test_no_or_another_credential_is_401(api, header):
    refused = api.get("/v1/projects", headers={} if header is None else {"Authorization": header})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")


def test_the_scheme_may_be_in_any_case(api, user):
    token = user["Authorization"].removeprefix("Bearer ")
    for scheme in ("bearer", "BEARER"):
        assert api.get("/v1/auth/me", headers={"Authorization": f"{scheme} {token}"}).status_code == 200


def test_two_credentials_are_refused(api, user):
    doubled = [("Authorization", user["Authorization"]), ("Authorization", user["Authorization"])]
    assert api.get("/v1/auth/me", headers=doubled).status_code == 401


def test_a_credential_in_the_query_string_is_refused_even_beside_a_good_one(api, user):
    token = user["Authorization"].removeprefix("Bearer ")
    assert api.get("/v1/auth/me", params={"access_token": token}).status_code == 401
    assert api.get("/v1/auth/me", params={"access_token": token}, headers=user).status_code == 401


def test_an_unknown_route_is_404_and_says_so(api, user):
    missing = api.get("/v1/nothing", headers=user)
    assert (missing.status_code, missing.json()["error"]) == (404, "not_found")


def test_a_preflight_needs_no_credential_and_names_the_header(api):
    answer = api.options(
        "/v1/projects",
        headers={"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"},
    )
    assert answer.status_code in (200, 204)
    assert "authorization" in answer.headers["access-control-allow-headers"].lower().split(",")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_no_stage_shows_in_the_path(api, user):
    assert api.get("/live/v1/auth/me", headers=user).status_code != 200
    assert api.get("/v1/auth/me", headers=user).status_code == 200


@pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="reads the local stack's logs")
def test_nothing_secret_is_in_any_log(api, user, key):
    """Uses each kind of secret, then looks for all of them in everything that the stack has written."""
    import boto3

    used = [user["Authorization"].removeprefix("Bearer "), key["key"], os.environ["VEGA_AUTH_SECRET"], "vega-debug-password"]
    used += [account["password"] for account in json.loads(os.environ["VEGA_TEST_USERS"]).values()]
    for headers in (user, bearer(key["key"]), bearer(key["key"][:-1] + "x"), bearer(used[0][:-3] + "xyz")):
        api.get("/v1/projects", headers=headers)
    api.post("/v1/api-keys", headers=user, json={"name": key["key"], "secret": key["key"]})
    logs = boto3.client("logs")
    written = ""
    for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        written += "".join(event["message"] for page in pages for event in page["events"])
    assert '"outcome":"allow"' in written and '"outcome":"reject"' in written, "the logs were read"
    written += (Path(os.environ["VEGA_LOCAL_STATE"]) / "ministack.log").read_text()
    for secret in used:
        assert secret not in written
    assert key["key"][16:59] not in written


def test_the_base_url_is_as_the_documents_write_it():
    assert BASE_URL.startswith(("http://localhost:", "https://"))
