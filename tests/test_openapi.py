"""docs/openapi.json holds: it is served, its examples are good, and schemathesis finds nothing that isn't as it says."""

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


@pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="looks at the local stack's build")
def test_only_the_openapi_function_contains_the_document():
    """The descriptions stand beside the handlers, and nothing of them is linked into what is deployed."""
    built = (TESTS.parent / ".aws-sam" / "build").glob("*/bootstrap")
    assert [path.parent.name for path in built if b"#/components/responses/" in path.read_bytes()] == ["OpenApiFunction"]


def contents(node: object):
    """Each schema that has an example beside it."""
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
        # the references are to the whole document
        jsonschema_rs.validate({"components": DOCUMENT["components"], **schema}, example, validate_formats=True)


@pytest.fixture
def token(api, token_of: Callable[[str], str]):
    """Of a person whose keys are revoked afterwards: what is tried makes many."""
    token = token_of("user")
    yield token
    for status in ("active", "disabled"):
        # at most 100 of them live, and a page holds as many
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
        # The functions behind the authorizer are the same: the phases that take minutes are left to the other provider.
        command += ["--phases", "examples", "--exclude-tag", "login-debug"]
    # by the environment, so that the token is on no command line
    environment = {**os.environ, "VEGA_TEST_TOKEN": token, "VEGA_BASE_URL": BASE_URL, "NO_COLOR": "1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]
