"""MiniStack, behind checks of the caller.

An AWS emulator executes any code that it receives, with the developer's permissions, and MiniStack does so for anybody: it
checks no signatures and lets every web page read its responses. So this guard runs in front of it, in the same process:

- Calls to AWS must be signed with this stack's own secret key: by its functions, its deployment or its owner's tools.
- As on AWS, calls to the API itself, to the pool's key set and for signing in to the pool need no signature.
- A page of another origin, another host name for this machine and another user of the machine are always rejected.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from peers import is_own_user
from recorder import Recorder

Messages = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Calls by Amplify for the dashboard, and by pycognito on a terminal: Cognito accepts these from everybody.
SIGN_IN = {
    "AWSCognitoIdentityProviderService." + operation
    for operation in (
        "InitiateAuth",
        "RespondToAuthChallenge",
        "GetTokensFromRefreshToken",
        "RevokeToken",
        "ForgotPassword",
        "ConfirmForgotPassword",
        "AssociateSoftwareToken",
        "VerifySoftwareToken",
    )
}
KEY_SET = re.compile(r"/[\w-]+/\.well-known/jwks\.json")
# The outcome of a custom resource: whoever knows the random id may send it, as on AWS.
OUTCOME = re.compile(r"/_ministack/cfn-response/[0-9a-f-]{36}")
STAGE = re.compile(r"/restapis/[^/]+/[^/]+/_user_request_(/.*)?", re.DOTALL)


@dataclass(frozen=True)
class Guard:
    """An ASGI application around another."""

    app: Callable[[dict, Messages, Send], Awaitable[None]]
    port: int
    page_port: int
    domain: str
    # Whether this stack's key signed a request, given by method, path, query, headers and body.
    is_signed: Callable[[str, str, str, dict[str, str], bytes], bool]
    # The stage path for a path of the custom domain, or None before the deployment.
    stage_path: Callable[[str, str], str | None]
    # Records a signed request, given by method, path, headers and body.
    record: Callable[[str, str, dict[str, str], bytes], None]
    is_own_user: Callable[[tuple[str, int], int], bool] = is_own_user

    async def __call__(self, scope: dict, receive: Messages, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})  # Nothing here is a WebSocket. Closing it unaccepted gives a 403.
        headers = joined(scope["headers"])
        host, origin, path = headers.get("host", "").lower(), headers.get("origin"), scope["path"]
        if origin is not None and origin not in self.origins():
            return await refuse(send, f"pages of {origin} can't call this stack")
        if host not in self.hosts():
            return await refuse(send, f"this stack isn't called {host}: use http://127.0.0.1:{self.port}")
        if host == f"{self.domain}:{self.port}":
            # Under this name, MiniStack's own paths, such as /_ministack/reset, would take precedence over the API's.
            stage = self.stage_path(host, path)
            if stage is None:
                return await refuse(send, "nothing is deployed yet")
            raw = stage.encode() + (scope.get("raw_path") or quote(path).encode())
            scope, path = {**scope, "path": stage + path, "raw_path": raw}, stage + path
        if STAGE.fullmatch(path):
            if not self.is_own_user(scope["client"], self.port):
                return await refuse(send, "it belongs to another user")
            return await self.app(scope, receive, send)
        if headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
            body = await whole(receive)
            raw = (scope.get("raw_path") or quote(path).encode()).decode("latin-1")
            if body is None or not self.is_signed(scope["method"], raw, scope["query_string"].decode("latin-1"), headers, body):
                return await refuse(send, "the signature wasn't made with this stack's key: see local/README.md")
            self.record(scope["method"], path, headers, body)
            receive = again(body, receive)
        elif not is_open(scope, headers):
            return await refuse(send, "sign the request with this stack's key: see local/README.md")
        elif not self.is_own_user(scope["client"], self.port):
            return await refuse(send, "it belongs to another user")
        await self.app(scope, receive, with_origin(origin, send))

    def origins(self) -> set[str]:
        """Origins of the page: the front end, and the API's own stage."""
        return {f"http://localhost:{self.page_port}", f"http://127.0.0.1:{self.page_port}", f"http://127.0.0.1:{self.port}"}

    def hosts(self) -> set[str]:
        """The host names that clients use. The last is the machine's name inside a container, for `sam local invoke`."""
        return {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", self.domain, "host.docker.internal")}


def is_open(scope: dict, headers: dict[str, str]) -> bool:
    """Whether a request needs no signature. Only method, path and target may determine where MiniStack routes it."""
    method, path = scope["method"], scope["path"]
    if scope["query_string"] or "authorization" in headers:
        return False
    if method == "GET":
        return path == "/_ministack/health" or KEY_SET.fullmatch(path) is not None
    if method == "OPTIONS":
        return path == "/" and "origin" in headers
    if method == "PUT":
        return OUTCOME.fullmatch(path) is not None
    return method == "POST" and path == "/" and headers.get("x-amz-target") in SIGN_IN


def joined(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Joins headers like MiniStack: a duplicate header becomes one value, so two hosts or origins match no known one."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def whole(receive: Messages) -> bytes | None:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def again(body: bytes, receive: Messages) -> Messages:
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> dict[str, Any]:
        return unread.pop() if unread else await receive()

    return receive_again


def with_origin(origin: str | None, send: Send) -> Send:
    """MiniStack lets pages of every origin read its responses; this restricts it to the stack's own page."""

    async def send_with_origin(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name.lower() != b"access-control-allow-origin"]
            own = [] if origin is None else [(b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin")]
            message = {**message, "headers": kept + own}
        await send(message)

    return send_with_origin


async def refuse(send: Send, why: str) -> None:
    body = json.dumps({"__type": "AccessDeniedException", "message": f"The local stack refused this: {why}."}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# --- MiniStack, whose version local/ministack.txt pins by its hash -------------------------------------------------------


def is_signed_with(secret: str) -> Callable[[str, str, str, dict[str, str], bytes], bool]:
    from ministack.core import sigv4

    def is_signed(method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> bool:
        signature = sigv4.parse_header_signature(headers)
        if isinstance(signature, tuple):  # The missing part.
            return False
        parameters = parse_qs(query, keep_blank_values=True)
        return sigv4.header_signature_failure(signature, secret, method, path, parameters, headers, body) is None

    return is_signed


def prepare_functions() -> None:
    """Puts the functions' Runtime APIs behind a secret path, and gives each function an access key of its own.

    Each function gets its events from its own port, which would serve anybody and accept their responses. The path is as long
    as a key, and the Rust runtime accepts an address with a path. The access key's id is the function's name; its secret is the
    stack's.
    """
    from ministack.core.lambda_runtime import ProvidedWorker
    from ministack.services import lambda_svc

    path = f"/{secrets.token_urlsafe(32)}"
    environment, build = lambda_svc._provided_worker_env, ProvidedWorker._build_handler_class

    def own_environment(*arguments: Any) -> dict[str, str]:
        variables = environment(*arguments)
        return {
            **variables,
            "AWS_LAMBDA_RUNTIME_API": f"http://{variables['AWS_LAMBDA_RUNTIME_API']}{path}",
            "AWS_ACCESS_KEY_ID": variables["AWS_LAMBDA_FUNCTION_NAME"],
        }

    def reserved_concurrency(function: dict, config: dict) -> int | None:
        # On AWS, a function's versions share its concurrency; MiniStack ignores it for them.
        return reserved(lambda_svc._functions.get(config["FunctionName"], function), config)

    def build_with_path(worker: ProvidedWorker, *arguments: Any) -> type:
        class Handler(build(worker, *arguments)):
            # As in local/forward.py: otherwise each invocation waits 40 ms for a delayed ACK.
            disable_nagle_algorithm = True

            def parse_request(self) -> bool:
                if not super().parse_request():
                    return False
                if secrets.compare_digest(self.path[: len(path) + 1].encode(), f"{path}/".encode()):
                    return True
                self.send_error(403)
                return False

        return Handler

    lambda_svc._provided_worker_env, ProvidedWorker._build_handler_class = own_environment, build_with_path
    reserved, lambda_svc._reserved_concurrency = lambda_svc._reserved_concurrency, reserved_concurrency


def main() -> None:
    import os

    from ministack import app as ministack

    _, page_port, domain, calls = sys.argv
    del sys.argv[1:]  # MiniStack would read them too.

    def stage_path(host: str, path: str) -> str | None:
        found = ministack._resolve_custom_domain_request(host, path)
        return None if found is None else f"/restapis/{found[0]}/{found[1]}/_user_request_"

    prepare_functions()
    ministack.app = Guard(
        ministack.app,
        port=int(os.environ["GATEWAY_PORT"]),
        page_port=int(page_port),
        domain=domain,
        is_signed=is_signed_with(os.environ["AWS_SECRET_ACCESS_KEY"]),
        stage_path=stage_path,
        record=Recorder(Path(calls), own_key=os.environ["AWS_ACCESS_KEY_ID"]).record,
    )
    ministack.main()


if __name__ == "__main__":
    main()
