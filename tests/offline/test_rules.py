"""The authorizer's parser of access rules, as `make check-rules` runs it, and access/schema.json, which editors use."""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
from rules_from_openapi import Refused, rules_of, written

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "rules.json").read_text())
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "access" / "schema.json").read_text()))
# The parser's messages about several valid parts that contradict each other. A schema describes all other problems too.
CONTRADICTIONS = (
    "is defined twice",
    "occurs twice",
    "unknown group",
    "also opens",
    "no rule lets a key",
    "too long",
    "two parameters",
    "other names",
    "can't be told from",
)


@pytest.fixture(scope="session")
def check(tmp_path_factory) -> Callable[[bytes], str]:
    """Checks a rules file. Returns the problems, or nothing."""
    build = [
        "cargo",
        "build",
        "--quiet",
        "--locked",
        "-p",
        "authorizer",
        "--example",
        "check-rules",
        "--message-format",
        "json",
    ]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [program] = [one["executable"] for one in map(json.loads, built.splitlines()) if one.get("executable")]
    folder = tmp_path_factory.mktemp("rules")
    (folder / "access").mkdir()

    def run(content: bytes) -> str:
        (folder / "access" / "vega.json").write_bytes(content)
        checked = subprocess.run([program, folder], capture_output=True, text=True)
        assert (checked.returncode == 0) == (checked.stderr == ""), checked
        assert all(line.startswith("access/vega.json:") for line in checked.stderr.splitlines()), checked.stderr
        return checked.stderr

    return run


def content(vector: dict) -> bytes:
    if "bytes" in vector:
        return bytes.fromhex(vector["bytes"])
    return (vector["text"] if "text" in vector else json.dumps(vector["rules"])).encode()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_parser_and_schema_agree_on_each_vector(check, vector):
    problems = check(content(vector))
    assert vector.get("problem", "") in problems and bool(problems) == ("problem" in vector)
    if vector.get("schema") == "no JSON":
        with pytest.raises(ValueError):
            json.loads(content(vector).decode())
    else:
        assert SCHEMA.is_valid(json.loads(content(vector).decode())) == vector.get("schema", True)


def changes(document: object) -> Iterator[object]:
    """The document with one part replaced, removed, added or repeated."""
    for replacement in (None, True, 7, "", "any", "x", [], ["x"], {}, {"x": 1}):
        if replacement != document:
            yield replacement
    if isinstance(document, dict):
        yield {**document, "x": "y"}
        yield from ({name: value for name, value in document.items() if name != gone} for gone in document)
        for name, value in document.items():
            yield from ({**document, name: changed} for changed in changes(value))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from ([*document[:index], changed, *document[index + 1 :]] for changed in changes(value))


def test_whatever_the_schema_refuses_the_parser_refuses(check):
    """And the parser refuses nothing else but contradictions between valid parts."""
    seen, accepted = 0, 0
    for vector in (vector for vector in VECTORS if "problem" not in vector):
        for changed in changes(copy.deepcopy(vector["rules"])):
            problems, is_valid = check(json.dumps(changed).encode()), SCHEMA.is_valid(changed)
            structural = [one for one in problems.splitlines() if not any(text in one for text in CONTRADICTIONS)]
            assert bool(structural) == (not is_valid), (changed, problems)
            seen, accepted = seen + 1, accepted + (not problems)
    assert seen > 200 and accepted > 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (" " * 5_000_000, "larger than 1 MiB"),
        (json.dumps({"rules": [{"route": f"GET /{n}", "groups": "any"} for n in range(10_000)]}), "more than 5000 rules"),
    ],
    ids=["5 MB", "10,000 rules"],
)
def test_a_file_that_is_too_large_is_refused(check, text, problem):
    assert problem in check(text.encode())


def test_the_repositorys_rules_satisfy_the_schema():
    for path in (ROOT / "access").glob("*.json"):
        if path.name != "schema.json":
            rules = json.loads(path.read_text())
            SCHEMA.validate(rules)
            assert rules["$schema"] == "schema.json"


def openapi(paths: dict, **more: object) -> dict:
    return {"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": paths, **more}


ANYONE, ROOT_ONLY = {"groups": "any"}, {"groups": ["root"], "api_keys": False}


def test_rules_come_from_an_openapi_document(check):
    document = openapi(
        {
            "/a": {"get": {"x-vega-access": {**ANYONE, "scopes": ["reports"]}}, "post": {}, "x-vega-access": ROOT_ONLY},
            "/a/{id}": {"get": {}},
            "/a/{key}": {"put": {"x-vega-access": {**ANYONE, "scopes": False}}},
            "/public": {"get": {"security": []}},
            "/files/{path+}": {"get": {}, "parameters": []},
        },
        **{"x-vega-access": {"groups": ["user"]}},
    )
    rules = rules_of(document, "none")
    assert rules["rules"] == [
        {"route": "GET /a", "groups": "any"},
        {"route": "POST /a", "groups": ["root"], "api_keys": False},
        {"route": "GET /a/{id}", "groups": ["user"]},
        {"route": "PUT /a/{id}", "groups": "any", "scopes": False},
        {"route": "GET /files/{path+}", "groups": ["user"]},
    ]
    assert rules["scopes"] == {"reports": ["GET /a"]}
    assert json.loads(written(rules)) == rules and check(written(rules).encode()) == ""


def test_operations_without_access_are_listed():
    paths = {
        "/a": {"get": {}, "post": {"x-vega-access": ANYONE}, "put": {"x-vega-access": {"group": "any"}}},
        "/b": {"delete": {"x-vega-access": {**ANYONE, "scope": "x"}}, "patch": {"x-vega-access": {**ANYONE, "scopes": "x"}}},
    }
    with pytest.raises(Refused) as refused:
        rules_of(openapi(paths), "none")
    assert str(refused.value).splitlines() == [
        "GET /a: no x-vega-access",
        "PUT /a: x-vega-access: expected an object with groups",
        "PATCH /b: x-vega-access: scopes is a list of names, or false",
        "DELETE /b: x-vega-access: unknown member scope; expected groups, api_keys, scopes",
    ]
    for other in ({"swagger": "2.0", "paths": {}}, [], {"openapi": "3.0.0"}):
        with pytest.raises(Refused, match="OpenAPI 3"):
            rules_of(other, "none")


def test_rules_of_github_come_from_its_operations(check):
    paths: dict = {}
    for line in (ROOT / "tests" / "vectors" / "github-operations.txt").read_text().splitlines():
        method, path = line.split(" ")
        # API Gateway can't have it, and its other form is in the list.
        if "{base}...{head}" not in path:
            paths.setdefault(path, {})[method.lower()] = {"x-vega-access": {"groups": ["user"], "scopes": ["github"]}}
    rules = rules_of(openapi(paths), "none")
    assert len(rules["rules"]) == len(rules["scopes"]["github"]) == 1222
    assert check(written(rules).encode()) == ""
