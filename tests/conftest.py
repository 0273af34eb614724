"""Fixtures of the end-to-end tests: the API at VEGA_BASE_URL, and people who sign in to it.

What they need to know of a deployment stands in the environment: see tests/README.md.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator

import boto3
import httpx
import pytest
from pycognito import AWSSRP

PROVIDER = os.environ.get("VEGA_AUTH_PROVIDER", "custom")
BASE_URL = os.environ.get("VEGA_BASE_URL", "http://localhost:8000")
DEBUG = {"email": "debug@example.com", "password": "vega-debug-password"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("provider")
        if marker and marker.args[0] != PROVIDER:
            item.add_marker(pytest.mark.skip(reason=f"provider {marker.args[0]} only"))


@pytest.fixture(scope="session")
def api() -> Iterator[httpx.Client]:
    with httpx.Client(base_url=BASE_URL, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def cognito():
    return boto3.client("cognito-idp", region_name=os.environ["VEGA_COGNITO_REGION"])


def srp_tokens(cognito, email: str, password: str) -> dict[str, str]:
    """Signs in as a browser does: over SRP, so that the password isn't sent."""
    pool, client = os.environ["VEGA_COGNITO_USER_POOL_ID"], os.environ["VEGA_COGNITO_APP_CLIENT_ID"]
    srp = AWSSRP(username=email, password=password, pool_id=pool, client_id=client, client=cognito)
    return srp.authenticate_user()["AuthenticationResult"]


@pytest.fixture(scope="session")
def token_of(api: httpx.Client, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """The access token of a user of a group; provider custom has one user, in group `user`."""
    tokens: dict[str, str] = {}

    def token(group: str) -> str:
        if group not in tokens:
            if PROVIDER == "custom":
                assert group == "user"
                tokens[group] = api.post("/v1/auth/login", json=DEBUG).raise_for_status().json()["access_token"]
            else:
                user = json.loads(os.environ["VEGA_TEST_USERS"])[group]
                tokens[group] = srp_tokens(request.getfixturevalue("cognito"), **user)["AccessToken"]
        return tokens[group]

    return token


@pytest.fixture
def user(token_of: Callable[[str], str]) -> dict[str, str]:
    """The headers of a signed-in user of group `user`."""
    return bearer(token_of("user"))


@pytest.fixture
def key(api: httpx.Client, user: dict[str, str]) -> Iterator[dict]:
    """A new API key of that user's, revoked afterwards."""
    made = api.post("/v1/api-keys", headers=user, json={"name": f"e2e {uuid.uuid4()}"})
    assert made.status_code == 201, made.text
    yield made.json()
    api.delete(f"/v1/api-keys/{made.json()['id']}", headers=user)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
