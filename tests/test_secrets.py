"""No secret that the suite sent or received appears in a log or in an unrelated response.

These tests run last, whatever files are run with them: conftest.py has recorded every secret by then.
"""

import base64
import hashlib
import os
from pathlib import Path

import pytest
from conftest import SEEN, bearer

pytestmark = pytest.mark.last


@pytest.fixture
def used(api, user, key) -> None:
    """Uses each kind of secret at least once, correctly and incorrectly, also in places where none belongs."""
    token = user["Authorization"].removeprefix("Bearer ")
    for headers in (user, bearer(key["key"]), bearer(key["key"][:-1] + "x"), bearer(token[:-3] + "xyz")):
        api.get("/v1/projects", headers=headers)
    api.get("/v1/projects", params={"access_token": token})
    api.get(f"/v1/api-keys/{key['key']}", headers=user)
    api.get("/v1/api-keys", headers=user, params={"cursor": key["key"]})
    api.post("/v1/api-keys", headers=user, json={"secret": key["key"]})
    api.post("/v1/api-keys", headers=user, content=key["key"])


@pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="reads the local stack's logs")
def test_no_log_contains_a_secret(used):
    import boto3

    logs = boto3.client("logs")
    written = ""
    for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        written += "".join(event["message"] for page in pages for event in page["events"])
    assert '"outcome":"allow"' in written and '"outcome":"reject"' in written, "the logs were read"
    written += (Path(os.environ["VEGA_LOCAL_STATE"]) / "ministack.log").read_text()
    found = [SEEN.name(secret) for secret in SEEN.secrets() if secret in written]
    assert not found, found


def test_only_the_issuing_response_contains_a_secret(used):
    assert len(SEEN.answers) > 10 and len(list(SEEN.secrets())) > 5, "the suite was recorded"
    found = [
        f"{SEEN.name(secret)} in the answer to {answer.request}"
        for answer in SEEN.answers
        for secret in SEEN.secrets()
        # The OpenAPI document contains the debug login's password, as does the README.
        if secret in answer.text and secret not in answer.handed_out and answer.request != "GET /v1/openapi.json"
    ]
    assert not found, found


def test_no_response_contains_a_keys_digest(used):
    digests = [hashlib.sha256(secret.encode()).digest() for secret in SEEN.secrets() if secret.startswith("vk_")]
    assert digests
    for digest in digests:
        for text in (digest.hex(), base64.b64encode(digest).decode(), base64.urlsafe_b64encode(digest).decode().rstrip("=")):
            assert not [answer.request for answer in SEEN.answers if text in answer.text]
