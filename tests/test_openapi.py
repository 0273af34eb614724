"""docs/openapi.json is accurate: it is served, its examples are valid, and schemathesis finds no difference."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema_rs
import pytest
from conftest import BASE_URL, PROVIDER, bearer

TESTS = Path(__file__).resolve().parent
DOCUMENT = json.loads((TESTS.parent / "docs" / "openapi.json").read_text())


def test_the_openapi_document_is_public(api):
    served = api.get("/v1/openapi.json")
    assert (served.status_code, served.headers["content-type"], served.json()) == (200, "application/json", DOCUMENT)


@pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="needs the local stack's build")
def test_only_the_openapi_function_contains_the_document():
    """The descriptions are beside the handlers, but are not linked into the deployed functions."""
    built = (TESTS.parent / ".aws-sam" / "build").glob("*/bootstrap")
    assert [path.parent.name for path in built if b"#/components/responses/" in path.read_bytes()] == ["OpenApiFunction"]


def contents(node: object):
    """Each schema with its examples."""
    if isinstance(node, dict):
        if "schema" in node:
            for example in [node[name] for name in ("example",) if name in node] + [
                one["value"] for one in node.get("examples", {}).values()
            ]:
                yield node["schema"], example
        for value in node.values():
            yield from contents(value)
    elif isinstance(node, list):
        for value in node:
            yield from contents(value)


def test_every_example_matches_its_schema():
    examples = list(contents(DOCUMENT))
    assert len(examples) > 50
    for schema, example in examples:
        # References point into the whole document.
        jsonschema_rs.validate({"components": DOCUMENT["components"], **schema}, example, validate_formats=True)


@pytest.fixture
def token(api, token_of: Callable[[str], str]):
    """The token of a person whose keys are revoked afterwards, since the test creates many."""
    token = token_of("user")
    yield token
    for status in ("active", "disabled"):
        # At most 100 of them are live, which fits on one page.
        page = api.get("/v1/api-keys", headers=bearer(token), params={"status": status, "limit": 100}).json()
        for key in page["items"]:
            api.delete(f"/v1/api-keys/{key['id']}", headers=bearer(token))


def test_schemathesis_finds_no_difference_from_the_document(token: str, tmp_path: Path):
    command = [
        Path(sys.executable).parent / "schemathesis",
        "--config-file",
        TESTS / "schemathesis.toml",
        "run",
        TESTS.parent / "docs" / "openapi.json",
    ]
    if PROVIDER == "custom":
        command += ["--phases", "examples,coverage,fuzzing,stateful"]
    else:
        # The functions behind the authorizer are the same, so only the other provider runs the phases that take minutes.
        command += ["--phases", "examples", "--exclude-tag", "login-debug"]
    # In the environment, so that no command line contains the token.
    environment = {**os.environ, "VEGA_TEST_TOKEN": token, "VEGA_BASE_URL": BASE_URL, "NO_COLOR": "1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]
