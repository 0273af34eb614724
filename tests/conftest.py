"""Fixtures for the end-to-end tests: the API at VEGA_BASE_URL, and people who sign in to it.

The environment describes the deployment: see tests/README.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from pycognito import AWSSRP
from stack import Stack, update_packages

PROVIDER = os.environ.get("VEGA_AUTH_PROVIDER", "custom")
BASE_URL = os.environ.get("VEGA_BASE_URL", "http://localhost:8000")
DEBUG = {"email": "debug@example.com", "password": "vega-debug-password"}


@dataclass
class Answer:
    """A response from the API, with the secrets that it was supposed to contain."""

    request: str
    text: str
    handed_out: str


@dataclass
class Seen:
    """All secrets that the suite sent or received, and all responses: test_secrets.py searches the latter for the former."""

    by_secret: dict[str, str] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)

    def note(self, secret: str, name: str) -> None:
        self.by_secret.setdefault(secret, name)
        if secret.startswith("vk_"):
            self.by_secret.setdefault(secret[16:59], f"the secret part of {name}")

    def secrets(self) -> Iterator[str]:
        """The secrets that are too long to be found by chance."""
        return (secret for secret in self.by_secret if len(secret) >= 19)

    def name(self, secret: str) -> str:
        return self.by_secret[secret]

    def watch(self, response: httpx.Response) -> None:
        """Records what a client sends and receives; called for each response of `api`."""
        request = response.request
        response.read()
        place = f"{request.method} {request.url.path}"
        for value in request.headers.get_list("authorization"):
            self.note(value.partition(" ")[2], f"a credential sent to {place}")
        for body in (request.content, response.content):
            for name, value in secret_members(body):
                self.note(value, f"{name} of {place}")
        handed_out = " ".join(value for _, value in secret_members(response.content)) if response.is_success else ""
        self.answers.append(Answer(place, f"{response.headers}\n{response.text}", handed_out))


def secret_members(body: bytes) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(ValueError):
        read = json.loads(body)
        for members in read if isinstance(read, list) else [read]:
            # GitHub requires each result to repeat the reported token.
            for name in ("key", "access_token", "refresh_token", "password", "token_raw"):
                if isinstance(members, dict) and isinstance(members.get(name), str):
                    yield name, members[name]


SEEN = Seen()
SEEN.note(os.environ.get("VEGA_AUTH_SECRET", ""), "the HMAC secret")
for _group, _user in json.loads(os.environ.get("VEGA_TEST_USERS", "{}")).items():
    SEEN.note(_user["password"], f"the password of {_group}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (bool(item.get_closest_marker("last")), bool(item.get_closest_marker("floods"))))
    for item in items:
        marker = item.get_closest_marker("provider")
        if marker and marker.args[0] != PROVIDER:
            item.add_marker(pytest.mark.skip(reason=f"provider {marker.args[0]} only"))


@pytest.fixture(scope="session")
def api() -> Iterator[httpx.Client]:
    with httpx.Client(base_url=BASE_URL, timeout=30, event_hooks={"response": [SEEN.watch]}) as client:
        yield client


@pytest.fixture(scope="session")
def cognito():
    return boto3.client("cognito-idp", region_name=os.environ["VEGA_COGNITO_REGION"])


def srp_tokens(cognito, email: str, password: str) -> dict[str, str]:
    """Signs in like a browser: over SRP, so that the password isn't sent."""
    pool, client = os.environ["VEGA_COGNITO_USER_POOL_ID"], os.environ["VEGA_COGNITO_APP_CLIENT_ID"]
    srp = AWSSRP(username=email, password=password, pool_id=pool, client_id=client, client=cognito)
    tokens = srp.authenticate_user()["AuthenticationResult"]
    for name in ("AccessToken", "IdToken", "RefreshToken"):
        SEEN.note(tokens[name], f"{name} of {email}")
    return tokens


@pytest.fixture(scope="session")
def token_of(api: httpx.Client, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """The access token of a group's user. Provider custom has one user, in group `user`."""
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
    """The headers of a signed-in user in group `user`."""
    return bearer(token_of("user"))


@pytest.fixture
def key(api: httpx.Client, user: dict[str, str]) -> Iterator[dict]:
    """A new API key of that user, revoked afterwards."""
    made = api.post("/v1/api-keys", headers=user, json={"name": f"e2e {uuid.uuid4()}"})
    assert made.status_code == 201, made.text
    yield made.json()
    api.delete(f"/v1/api-keys/{made.json()['id']}", headers=user)


def eventually(look: Callable):
    """Repeats `look` until it finds something: for what the stack does after its response, such as logs and mail."""
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline, "still not there after 60 s"
        time.sleep(0.1)
    return found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def signed(method: str, url: str, body: str = "") -> httpx.Response:
    """Sends a request with the stack's key, as its guard wants it: on AWS, neither of ours needs a signature."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest(method, url, headers, body)
    SigV4Auth(boto3.Session().get_credentials(), "cognito-idp", os.environ["VEGA_COGNITO_REGION"]).add_auth(request)
    return httpx.request(method, url, headers=dict(request.headers), content=body)


def local_stack() -> Stack:
    """The local stack that the suite runs against."""
    return Stack(PROVIDER, urlsplit(BASE_URL).port, Path(os.environ["VEGA_LOCAL_STATE"]))


def function_name(part: str) -> str:
    """The name of the local stack's function with this logical id."""
    found = boto3.client("cloudformation").describe_stack_resource(StackName="vega-auth", LogicalResourceId=part)
    return found["StackResourceDetail"]["PhysicalResourceId"]


@contextlib.contextmanager
def authorizer_with(files: dict[str, str]) -> Iterator[None]:
    """Deploys the local stack's authorizer with these files in its package, and the old package again afterwards."""
    functions, name = boto3.client("lambda"), function_name("AuthorizerFunction")
    package = signed("GET", functions.get_function(FunctionName=name)["Code"]["Location"]).raise_for_status().content

    def deploy(content: bytes) -> None:
        update_packages(local_stack(), {"AuthorizerFunction": content})

    changed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(package)) as old,
        zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for entry in old.infolist():
            if entry.filename not in files:
                new.writestr(entry, old.read(entry))
        for path, content in files.items():
            new.writestr(path, content)
    deploy(changed.getvalue())
    try:
        yield
    finally:
        deploy(package)
