"""While the local stack runs, a web page or another user of the machine gets nothing from it."""

import base64
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import BASE_URL, DEBUG, PROVIDER

pytestmark = pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="needs the local stack")
ROOT = Path(__file__).resolve().parent.parent
AWS = os.environ.get("AWS_ENDPOINT_URL", "")
EVIL = {"Origin": "https://evil.example"}
PLAIN = {"Content-Type": "text/plain"}


def drive_by() -> str:
    """A function that creates a file if it ever runs."""
    program = io.BytesIO()
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("bootstrap", "#!/bin/sh\nid > /tmp/vega-drive-by\n")
    code = {"ZipFile": base64.b64encode(program.getvalue()).decode()}
    role = "arn:aws:iam::000000000000:role/x"
    function = {"FunctionName": "drive-by", "Runtime": "provided.al2023", "Handler": "bootstrap", "Role": role, "Code": code}
    return json.dumps(function)


# Requests that a browser sends for a page without a preflight, or another user of the machine with curl.
CALLS = [
    ("POST", "/2015-03-31/functions", PLAIN, drive_by()),
    ("POST", "/2015-03-31/functions/drive-by/invocations", PLAIN, ""),
    ("GET", "/2015-03-31/functions", {}, ""),
    ("POST", "/", PLAIN, "Action=GetCallerIdentity&Version=2011-06-15"),
    ("POST", "/", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, "{}"),
    ("POST", "/", {"X-Amz-Target": "AWSCognitoIdentityProviderService.ListUserPools"}, '{"MaxResults":10}'),
    ("GET", "/_ministack/ses/messages", {}, ""),
    ("POST", "/_ministack/config", PLAIN, "{}"),
    ("POST", "/_ministack/reset", PLAIN, ""),
    ("GET", "/", {}, ""),
]


@pytest.mark.parametrize("who", [EVIL, {"Origin": "null"}, {}], ids=["other-origin", "no-origin", "unsigned"])
@pytest.mark.parametrize(("method", "path", "headers", "body"), CALLS)
def test_nobody_calls_the_emulator_without_the_stacks_key(who, method, path, headers, body):
    refused = httpx.request(method, AWS + path, headers=headers | who, content=body)
    assert refused.status_code == 403 and "local stack refused" in refused.json()["message"]
    assert "access-control-allow-origin" not in refused.headers


def test_another_stacks_key_is_rejected_and_creates_nothing():
    stranger = boto3.client("lambda", aws_access_key_id="test", aws_secret_access_key="test")
    with pytest.raises(ClientError, match="wasn't made with this stack's key"):
        stranger.list_functions()
    names = [function["FunctionName"] for function in boto3.client("lambda").list_functions()["Functions"]]
    assert names and "drive-by" not in names


def test_a_signature_is_valid_only_for_the_signed_request():
    signed = {}
    client = boto3.client("dynamodb", config=Config(retries={"total_max_attempts": 1}))
    client.meta.events.register("before-send.dynamodb.*", lambda request, **_: signed.update(request.headers))
    client.list_tables()
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in signed.items()}
    assert httpx.post(AWS, headers=headers, content="{}").status_code == 200
    assert httpx.post(AWS, headers=headers, content="[]").status_code == 403
    assert httpx.post(f"{AWS}/x", headers=headers, content="{}").status_code == 403
    changed = headers | {"X-Amz-Target": "DynamoDB_20120810.DescribeEndpoints"}
    assert httpx.post(AWS, headers=changed, content="{}").status_code == 403


def test_another_name_for_this_machine_is_rejected():
    for url in (BASE_URL, AWS):
        port = urlsplit(url).port
        for host in ("evil.example", f"evil.example:{port}", f"evil.localhost:{port}", "localhost"):
            for path in ("/api-keys", "/v1/auth/config", "/_ministack/health"):
                assert httpx.get(url + path, headers={"Host": host}).status_code == 403, (url, host, path)


def test_no_other_page_signs_in_to_the_local_api():
    for origin in ("https://evil.example", "null", "http://localhost:1", f"{BASE_URL}.evil.example"):
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        for answer in (
            httpx.options(f"{BASE_URL}/v1/auth/login", headers=asks),
            httpx.post(f"{BASE_URL}/v1/auth/login", headers={"Origin": origin} | PLAIN, content=json.dumps(DEBUG)),
            httpx.post(f"{BASE_URL}/v1/auth/login", headers={"Origin": origin}, json=DEBUG),
        ):
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers and "token" not in answer.text


def test_no_response_can_be_read_by_every_page(api, user):
    for path, headers in (("/v1/auth/me", user), ("/v1/auth/me", {}), ("/v1/projects", {}), ("/v1/nothing", {})):
        for asked in ({}, {"Origin": BASE_URL}):
            assert api.get(path, headers=headers | asked).headers["access-control-allow-origin"] == BASE_URL, path


@pytest.mark.provider("custom")
def test_the_stacks_own_page_signs_in(api):
    answer = api.post("/v1/auth/login", headers={"Origin": BASE_URL}, json=DEBUG)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, BASE_URL)


@pytest.mark.provider("cognito")
def test_the_stacks_own_page_reaches_the_pool_and_no_other():
    target = {"X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth", "Content-Type": "application/x-amz-json-1.1"}
    body = {
        "ClientId": os.environ["VEGA_COGNITO_APP_CLIENT_ID"],
        "AuthFlow": "USER_SRP_AUTH",
        "AuthParameters": {"USERNAME": "user@example.com", "SRP_A": "1" * 64},
    }
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-amz-target"}
    for answer in (
        httpx.options(AWS, headers=asks | {"Origin": BASE_URL}),
        httpx.post(AWS, headers=target | {"Origin": BASE_URL}, json=body),
    ):
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, BASE_URL)
    for answer in (httpx.options(AWS, headers=asks | EVIL), httpx.post(AWS, headers=target | EVIL, json=body)):
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_the_api_has_none_of_the_emulators_own_paths(api):
    for method, path in (
        ("POST", "/_ministack/reset"),
        ("POST", "/_ministack/config"),
        ("GET", "/_ministack/ses/messages"),
        ("GET", "/_ministack/health"),
        ("GET", "/v2/email/identities"),
        ("GET", "/oauth2/authorize"),
    ):
        answer = api.request(method, path)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found"), path


def listening(table: str) -> Iterator[tuple[str, int, str]]:
    """Address in the kernel's notation, port and inode of each listening socket."""
    for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            address, _, port = fields[1].partition(":")
            yield address, int(port, 16), fields[9]


def holders() -> dict[str, set[int]]:
    """The processes that have a socket open, by its inode."""
    found: dict[str, set[int]] = {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if inode := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                found.setdefault(inode[1], set()).add(int(link.parts[2]))
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's socket tables")
def test_every_port_is_on_loopback_and_no_event_is_readable(api):
    """Each function instance gets its events, with their tokens, from its own port."""
    assert api.get("/v1/auth/config").status_code == 200
    by_inode = holders()
    sockets = [
        (table, address, port, pid)
        for table in ("tcp", "tcp6")
        for address, port, inode in listening(table)
        for pid in by_inode.get(inode, ())
    ]
    front, emulator = (next(pid for *_, port, pid in sockets if port == urlsplit(url).port) for url in (BASE_URL, AWS))
    group = os.getpgid(emulator)
    ours = [
        (table, address, port)
        for table, address, port, pid in sockets
        if pid == front or (os.path.exists(f"/proc/{pid}") and os.getpgid(pid) == group)
    ]
    assert {(table, address) for table, address, _ in ours} == {("tcp", "0100007F")}
    events = {port for _, _, port in ours} - {urlsplit(url).port for url in (BASE_URL, AWS)}
    assert events
    for port in events:
        for path in ("/2018-06-01/runtime/invocation/next", "//2018-06-01/runtime/invocation/next"):
            assert httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 403
        assert httpx.post(f"http://127.0.0.1:{port}/2018-06-01/runtime/init/error", content="{}").status_code == 403


SOMEBODY_ELSE = r"""
import json, os, sys, urllib.request, urllib.error
state, base, aws, login = sys.argv[1:]
def status(url, headers={}, body=None):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, body, headers)).status
    except urllib.error.HTTPError as error:
        return error.code
try:
    found = os.listdir(state)
except PermissionError:
    found = "private"
json_type = {"Content-Type": "application/json"}
sign_in = {"X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth"}
print(json.dumps([
    found,
    status(f"{base}/v1/auth/login", json_type, login.encode()),
    status(f"{base}/v1/auth/config"),
    status(f"{aws}/v1/auth/config", {"Host": f"api.vega.localhost:{aws.rsplit(':')[-1]}"}),
    status(aws, sign_in, b"{}"),
    status(f"{aws}/2015-03-31/functions"),
]))
"""


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root on Linux can try this as another user")
def test_another_user_of_the_machine_can_read_and_call_nothing():
    command = ["/usr/bin/python3", "-c", SOMEBODY_ELSE, os.environ["VEGA_LOCAL_STATE"], BASE_URL, AWS, json.dumps(DEBUG)]
    asked = subprocess.run(command, user=65534, group=65534, extra_groups=[], env={}, cwd="/", capture_output=True, text=True)
    assert (asked.stderr, json.loads(asked.stdout)) == ("", ["private", 403, 403, 403, 403, 403])


def test_local_state_is_private_to_its_owner():
    state = Path(os.environ["VEGA_LOCAL_STATE"])
    assert state.parent.name == ".state" and state.parent.stat().st_mode & 0o077 == 0
    written = [path for path in (state / "ministack" / "state").rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [*written, state / "settings.json"])
    assert PROVIDER in state.name


def test_make_logs_shows_the_newest_decisions():
    httpx.get(f"{BASE_URL}/v1/auth/me", headers={"Authorization": "Bearer not-a-token"})
    command = [sys.executable, "local/stack.py", "--port", str(urlsplit(BASE_URL).port), "logs", "--only", "authorizer reject"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown and len(shown) <= 200
    assert re.search(r"^\d\d:\d\d:\d\d authorizer reject \w+ GET /v1/auth/me \d+ ms$", shown[-1])
