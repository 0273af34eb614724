"""local/guard.py and local/forward.py serve only permitted callers: tested without an emulator behind them."""

import asyncio
import http.client
import json
import os
import socket
import stat
import threading

import emulator
import pytest
from forward import forwarding
from guard import Guard
from peers import is_own_user

HOST = {"host": "127.0.0.1:8001"}
PAGE = {"origin": "http://localhost:8000"}
API = {"host": "api.vega.localhost:8001"}
EVIL = {"origin": "https://evil.example"}
SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=local/…, Signature=good"}
FORGED = {"authorization": "AWS4-HMAC-SHA256 Credential=local/…, Signature=bad"}
SIGN_IN = {"x-amz-target": "AWSCognitoIdentityProviderService.InitiateAuth"}
STAGE = "/restapis/abc/live/_user_request_"
FUNCTIONS = "/2015-03-31/functions"
LOGIN = "/v1/auth/login"


def ask(method: str, path: str, headers: dict[str, str], *, kind: str = "http", **changes) -> tuple[int | None, dict, dict]:
    """Returns the status, the scope that reached the emulator, and the response's headers."""
    reached, answered = {}, []

    async def ministack(scope, receive, send):
        reached.update(scope, read=(await receive())["body"])
        headers = [(b"Access-Control-Allow-Origin", b"*")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        return {"type": "http.request", "body": b"body", "more_body": False}

    async def send(message):
        answered.append(message)

    guard = {
        "port": 8001,
        "page_port": 8000,
        "domain": "api.vega.localhost",
        "is_signed": lambda method, path, query, headers, body: headers["authorization"].endswith("=good") and body == b"body",
        "stage_path": lambda host, path: STAGE,
        "record": lambda *_: None,
        "is_own_user": lambda client, port: True,
    } | changes
    path, _, query = path.partition("?")
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
    }
    asyncio.run(Guard(ministack, **guard)(scope, receive, send))
    start = next((message for message in answered if message["type"] == "http.response.start"), {})
    sent = {name.decode().lower(): value.decode() for name, value in start.get("headers", [])}
    return start.get("status"), reached, sent


ALLOWED = [
    ("GET", FUNCTIONS, HOST | SIGNED),
    ("POST", "/", HOST | SIGNED),
    ("POST", "/", {"host": "host.docker.internal:8001"} | SIGNED),
    ("POST", FUNCTIONS, HOST | PAGE | SIGNED),
    ("GET", "/us-west-1_abc/.well-known/jwks.json", HOST),
    ("GET", "/_ministack/health", HOST),
    ("PUT", "/_ministack/cfn-response/0e7d1f9a-7b61-41e6-9a41-93e8deadbeef", HOST),
    ("POST", "/", HOST | SIGN_IN),
    ("POST", "/", HOST | PAGE | SIGN_IN),
    ("OPTIONS", "/", HOST | PAGE),
    ("POST", LOGIN, API | PAGE),
    ("POST", LOGIN, API | {"origin": "http://127.0.0.1:8000"}),
    ("GET", "/v1/projects", API | {"authorization": "Bearer vk_…"}),
    ("POST", STAGE + LOGIN, HOST | {"origin": "http://127.0.0.1:8001"}),
    ("GET", STAGE, HOST),
]
REFUSED = [
    # A page of another origin: requests that a browser sends without a preflight, and the preflight.
    ("POST", FUNCTIONS, HOST | EVIL | {"content-type": "text/plain"}),
    ("POST", FUNCTIONS, HOST | {"origin": "null"}),
    ("GET", FUNCTIONS, HOST),
    ("OPTIONS", "/", HOST | EVIL),
    ("POST", "/", HOST | EVIL | SIGN_IN),
    ("POST", "/", HOST | EVIL | SIGNED),
    ("POST", LOGIN, API | EVIL | {"content-type": "text/plain"}),
    ("OPTIONS", LOGIN, API | EVIL),
    ("POST", LOGIN, API | {"origin": "http://localhost:8002"}),
    ("POST", LOGIN, API | {"origin": "http://localhost:8000.evil.example"}),
    ("POST", "/_ministack/reset", HOST),
    ("PUT", "/_ministack/cfn-response/../reset", HOST),
    ("PUT", "/_ministack/cfn-response/0e7d1f9a-7b61-41e6-9a41-93e8deadbeef", HOST | EVIL),
    ("GET", "/_ministack/ses/messages", HOST),
    ("GET", "/a-bucket/object", HOST),
    # A foreign name that resolves to this machine.
    ("GET", "/_ministack/health", {"host": "evil.example:8001"}),
    ("POST", "/", {"host": "evil.example:8001"} | SIGN_IN),
    ("POST", LOGIN, {"host": "evil.example"}),
    ("POST", LOGIN, {"host": "api.vega.localhost.evil.example:8001"}),
    ("POST", LOGIN, {"host": "127.0.0.1:8000"}),
    ("GET", "/", {"host": "a-bucket.s3.localhost:8001"}),
    ("GET", "/live" + LOGIN, {"host": "abc.execute-api.localhost:8001"}),
    ("GET", "/_ministack/health", {}),
    # A key other than this stack's, and requests that only appear to need none.
    ("GET", FUNCTIONS, HOST | FORGED),
    ("GET", FUNCTIONS, HOST | {"authorization": "Bearer good"}),
    ("POST", "/", HOST),
    ("POST", "/", HOST | {"x-amz-target": "AWSCognitoIdentityProviderService.AdminCreateUser"}),
    ("POST", "/", HOST | {"x-amz-target": "DynamoDB_20120810.Scan"}),
    ("POST", "/", HOST | SIGN_IN | FORGED),
    ("POST", "/?Action=ListUsers", HOST | SIGN_IN),
    ("POST", FUNCTIONS, HOST | SIGN_IN),
    ("GET", "/a-bucket/us-west-1_abc/.well-known/jwks.json", HOST),
    ("GET", "/restapis/abc", HOST),
    ("GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=local&X-Amz-Signature=good", HOST),
]


@pytest.mark.parametrize(("method", "path", "headers"), ALLOWED)
def test_what_belongs_to_the_stack_reaches_the_emulator(method, path, headers):
    status, reached, _ = ask(method, path, headers)
    assert (status, reached["method"], reached["read"]) == (200, method, b"body")


@pytest.mark.parametrize(("method", "path", "headers"), REFUSED)
def test_anything_else_is_rejected_and_unreadable_to_a_page(method, path, headers):
    status, reached, sent = ask(method, path, headers)
    assert (status, reached) == (403, {})
    assert "access-control-allow-origin" not in sent


def test_a_duplicate_header_counts_as_neither_value():
    for headers in (HOST | {"Host": "evil.example"}, HOST | PAGE | {"Origin": "https://evil.example"}):
        assert ask("GET", "/_ministack/health", headers)[0] == 403


def test_a_websocket_is_rejected_before_it_is_accepted():
    assert ask("GET", STAGE, HOST, kind="websocket") == (None, {}, {})


def test_another_user_needs_the_stacks_key():
    other = {"is_own_user": lambda client, port: False}
    for method, path, headers in ALLOWED:
        status, _, _ = ask(method, path, headers, **other)
        assert status == (200 if SIGNED.items() <= headers.items() else 403), path


def test_only_the_page_can_read_the_emulators_responses():
    assert ask("POST", "/", HOST | PAGE | SIGN_IN)[2]["access-control-allow-origin"] == PAGE["origin"]
    assert "access-control-allow-origin" not in ask("POST", "/", HOST | SIGN_IN)[2]
    # The API's own header.
    assert ask("POST", LOGIN, API | PAGE)[2]["access-control-allow-origin"] == "*"


def test_the_api_hides_the_emulators_own_paths():
    for path in ("/_ministack/reset", "/_ministack/ses/messages", "/v2/email/identities", "//v1/projects", "/a\nb"):
        _, reached, _ = ask("POST", path, API)
        assert (reached["path"], reached["raw_path"]) == (STAGE + path, (STAGE + path).encode())


def test_the_api_serves_nothing_before_it_is_deployed():
    assert ask("GET", "/_ministack/health", API, stage_path=lambda host, path: None)[0] == 403


def test_the_kernels_table_tells_a_clients_user():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        port, peer = server.getsockname()[1], client.getsockname()
        assert is_own_user(peer, port)
        if os.path.exists("/proc/net/tcp"):
            assert not is_own_user((peer[0], 1), port) and not is_own_user(peer, 1)


@pytest.fixture
def front():
    """The front end with an emulator that returns each request as the response's body."""
    with socket.create_server(("127.0.0.1", 0)) as upstream, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()

        def answer():
            while True:
                try:
                    connection, _ = upstream.accept()
                except OSError:
                    return
                with connection:
                    asked = connection.recv(65536)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(asked), asked)
                    )

        threading.Thread(target=answer, daemon=True).start()
        with forwarding(port, upstream.getsockname()[1], "api.vega.localhost"):
            yield port
        upstream.shutdown(socket.SHUT_RDWR)


def through(port: int, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_the_front_end_forwards_a_path_as_it_was_sent(front):
    for path in ("//v1/projects", "///v1//projects/", "/v1/../x", "/v1/%2e%2e/x?a=//b", "/"):
        status, asked = through(front, path, Host=f"localhost:{front}")
        assert (status, asked.splitlines()[0]) == (200, f"GET {path} HTTP/1.1")


def test_the_front_end_serves_only_its_own_names(front):
    for host in ("localhost", "127.0.0.1"):
        assert through(front, "/", Host=f"{host}:{front}")[0] == 200
    for host in (
        "evil.example",
        f"evil.example:{front}",
        "localhost",
        f"api.vega.localhost:{front}",
        f"localhost:{front + 1}",
        "",
    ):
        assert through(front, "/", Host=host)[0] == 403, host
    assert through(front, "/")[0] == 403
    assert through(front, "http://localhost/", Host=f"localhost:{front}")[0] == 400


def test_the_front_end_forwards_a_pages_origin(front):
    assert "Origin: https://evil.example" in through(front, "/", Host=f"localhost:{front}", Origin="https://evil.example")[1]


def test_an_earlier_versions_state_becomes_private(tmp_path):
    state = tmp_path / ".state"
    (state / "custom").mkdir(parents=True)
    state.chmod(0o755)
    emulator.keep_private(state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_an_earlier_versions_settings_gain_a_key(tmp_path):
    stack = emulator.Stack("custom", 8000, tmp_path)
    (tmp_path / "settings.json").write_text(json.dumps({"auth_secret": "kept", "passwords": {}}))
    first = emulator.settings(stack)
    assert (first["auth_secret"], len(first["secret_access_key"])) == ("kept", 64)
    assert emulator.settings(stack) == first
    assert stat.S_IMODE((tmp_path / "settings.json").stat().st_mode) == 0o600
    assert (
        emulator.settings(emulator.Stack("custom", 8000, tmp_path / "other"))["secret_access_key"] != first["secret_access_key"]
    )
