"""Leaked keys: anyone can report one, which revokes it, and so can GitHub under its signature."""

import base64
import http.server
import json
import os
import threading
from collections.abc import Iterator

import pytest
from conftest import bearer
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PLACE = "https://example.com/octocat/hello/commit/1"


def test_a_reported_key_fails_on_the_next_request(api, key):
    assert api.get("/v1/projects", headers=bearer(key["key"])).status_code == 200
    for _ in range(2):
        handed_in = api.post("/v1/leaked-keys", json={"key": key["key"], "found_at": PLACE})
        assert (handed_in.status_code, handed_in.content) == (202, b"")
    refused = api.get("/v1/projects", headers=bearer(key["key"]))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")


def test_one_report_revokes_several_keys(api, user):
    keys = [api.post("/v1/api-keys", headers=user, json={"name": f"leaked {number}"}).json()["key"] for number in range(5)]
    reported = api.post("/v1/leaked-keys", json={"keys": [*keys, *["hunter2"] * 95], "found_at": PLACE})
    assert (reported.status_code, reported.content) == (202, b"")
    assert {api.get("/v1/projects", headers=bearer(key)).status_code for key in keys} == {401}


def test_reporting_less_than_a_whole_key_revokes_nothing(api, key):
    text = key["key"]
    for candidate in ("", "hunter2", text[:-1], text.replace("vk_", "VK_"), text[:16] + "0" * 49):
        handed_in = api.post("/v1/leaked-keys", json={"key": candidate})
        assert (handed_in.status_code, handed_in.content) == (202, b"")
    assert api.get("/v1/projects", headers=bearer(text)).status_code == 200


def test_a_malformed_report_is_rejected(api):
    for body, status, error in (
        ({}, 422, "invalid_value"),
        ({"key": "x", "keys": ["x"]}, 422, "invalid_value"),
        ({"keys": ["x"] * 101}, 422, "invalid_value"),
        ({"key": "x", "owner": "me"}, 400, "invalid_body"),
        ({"key": "x", "found_at": "x" * 501}, 422, "invalid_value"),
        ({"key": "x" * 20_000}, 413, "body_too_large"),
    ):
        refused = api.post("/v1/leaked-keys", json=body)
        assert (refused.status_code, refused.json()["error"]) == (status, error)


@pytest.fixture
def sign() -> Iterator:
    """Plays GitHub: publishes a key where the local stack expects GitHub's, and signs with it."""
    if "VEGA_LOCAL_GITHUB_PORT" not in os.environ:
        pytest.skip("needs the local stack, which accepts the test's key as GitHub's")
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    document = json.dumps({"public_keys": [{"key_identifier": "k1", "key": pem.decode(), "is_current": True}]}).encode()

    class Publish(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["User-Agent"] else 403)  # GitHub requires a User-Agent, too.
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_) -> None:
            pass

    def headers(body: str) -> dict[str, str]:
        signature = private.sign(body.encode(), ec.ECDSA(hashes.SHA256()))
        return {
            "Github-Public-Key-Identifier": "k1",
            "Github-Public-Key-Signature": base64.b64encode(signature).decode(),
            "Content-Type": "application/json",
        }

    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["VEGA_LOCAL_GITHUB_PORT"])), Publish)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with server:
        yield headers
        server.shutdown()


def test_githubs_signed_reports_revoke_keys_and_no_others_do(api, key, sign):
    path = "/v1/leaked-keys/github"
    body = json.dumps(
        [
            {"token": key["key"], "type": "vega_api_key", "url": PLACE, "source": "content"},
            {"token": "some_token", "type": "vega_api_key", "url": "", "source": "commit"},
        ]
    )
    for content, headers in (
        (body, {}),
        (body + " ", sign(body)),
        (body, {**sign(body), "Github-Public-Key-Identifier": "k2"}),
    ):
        refused = api.post(path, content=content, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_signature")
    assert api.get("/v1/projects", headers=bearer(key["key"])).status_code == 200
    reported = api.post(path, content=body, headers=sign(body))
    assert reported.status_code == 200, reported.text
    assert reported.json() == [
        {"token_raw": key["key"], "token_type": "vega_api_key", "label": "true_positive"},
        {"token_raw": "some_token", "token_type": "vega_api_key", "label": "false_positive"},
    ]
    assert api.get("/v1/projects", headers=bearer(key["key"])).status_code == 401
