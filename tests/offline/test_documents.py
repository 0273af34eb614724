"""Checks the documents against the code."""

import json
import re
import subprocess
from pathlib import Path

from template import CUSTOM, RESOURCES
from test_template import routes

ROOT = Path(__file__).resolve().parent.parent.parent
OPENAPI = json.loads((ROOT / "docs" / "openapi.json").read_text())
# Sections that don't claim that an attack is stopped.
WITHOUT_CLAIMS = {"Security", "What is protected, from whom", "What is trusted", "What isn't covered"}


def known_tests() -> set[str]:
    """The names of all tests: Rust, Python and browser."""
    attributes = r"(?:#\[[^\n]*\]\s*|///[^\n]*\s*)*"
    rust = re.compile(r"#\[(?:tokio::)?test\b[^\n]*\]\s*" + attributes + r"(?:async )?fn (\w+)\(")
    found = set()
    for folder in ("functions", "shared", "fuzz"):
        for path in (ROOT / folder).rglob("*.rs"):
            found.update(rust.findall(path.read_text()))
    for path in (ROOT / "tests").rglob("test_*.py"):
        found.update(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
    for path in (ROOT / "dashboard" / "tests").glob("*.test.js"):
        found.update(re.findall(r'^ *test\("([^"]+)"', path.read_text(), re.MULTILINE))
    return found


def test_every_test_cited_in_the_documents_exists():
    for page, least in (("security.md", 30), ("comparison.md", 15)):
        claims, in_claims = [], False
        for line in (ROOT / "docs" / page).read_text().splitlines():
            in_claims = line.endswith("| test |") or (in_claims and line.startswith("|"))
            if in_claims and not line.endswith(("| test |", "---|", "--- |")):
                claims.append(line.split(" | ")[-1])
        for claim in claims:
            named = re.findall(r"`([^`]+)`", claim)
            assert named, f"no test behind: {claim}"
            assert set(named) <= known_tests(), set(named) - known_tests()
        assert len(claims) > least


def test_every_documented_make_target_is_in_make_help():
    listed = set(
        re.findall(
            r"^make (\S+)", subprocess.check_output(["make", "--no-print-directory", "help"], cwd=ROOT, text=True), re.MULTILINE
        )
    )
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "local").glob("*.md"), *(ROOT / "tests").glob("*.md")]
    for page in pages:
        named = re.findall(r"(?:`|^|=\w+ )make (?:-s )?([a-z-]+)", page.read_text(), re.MULTILINE)
        assert set(named) <= listed, f"{page.name}: {set(named) - listed}"


def test_the_documentation_index_lists_every_page():
    listed = re.findall(r"^\| \[([^\]]+)\]\(\1\) \|", (ROOT / "docs" / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({path.name for path in (ROOT / "docs").iterdir()} - {"README.md"})
    assert "(docs/README.md)" in (ROOT / "README.md").read_text()


def claims() -> list[str]:
    """The rows of the tables, and the sentences outside the tables."""
    found = []
    for section in re.split(r"^#+ ", (ROOT / "docs" / "security.md").read_text(), flags=re.MULTILINE)[1:]:
        title, *lines = section.splitlines()
        if title in WITHOUT_CLAIMS:
            continue
        found += [
            line for line in lines if line.startswith("| ") and not line.startswith("| ---") and not line.endswith("| test |")
        ]
        prose = " ".join(line for line in lines if line and not line.startswith("|"))
        found += [sentence for sentence in re.split(r"(?<=\.)\s+(?=[A-Z])", prose) if sentence]
    return found


def test_every_claim_in_security_md_names_an_existing_test():
    known = known_tests()
    assert len(known) > 150, "the sources were read"
    assert len(claims()) > 50, "the page was read"
    for claim in claims():
        if claim.startswith("|"):
            named = re.findall(r"`([^`]+)`", claim.split(" | ")[-1])
        else:
            named = [name for name in re.findall(r"`(\w+)`", claim) if "_" in name]
        assert named, f"no test behind: {claim}"
        missing = set(named) - known
        assert not missing, missing


def test_the_openapi_document_has_exactly_the_templates_routes():
    """If a route is missing: describe it in its function's `routes()` (docs/openapi.md), then run `make openapi`."""
    assert OPENAPI["security"] == [{"bearer": []}]
    documented = {
        (method.upper(), path): operation.get("security") == []
        for path, operations in OPENAPI["paths"].items()
        for method, operation in operations.items()
    }
    # API Gateway's `{file+}` is the rest of the path, which OpenAPI can't say.
    assert documented == {(method, path.replace("+}", "}")): is_open for (method, path), is_open in routes(CUSTOM).items()}


def test_api_gateway_answers_as_the_openapi_document_shows():
    """The code, title and status of each gateway response, and the text where a route documents it."""
    examples = [
        example["value"]
        for response in OPENAPI["components"]["responses"].values()
        for example in response["content"]["application/problem+json"]["examples"].values()
    ]
    kinds = {(value["error"], value["title"], value["status"]) for value in examples}
    for name, response in RESOURCES["Api"]["Properties"]["GatewayResponses"].items():
        template = response["ResponseTemplates"]["application/json"]
        if name == "DEFAULT_4XX":
            assert json.loads(template)["error"] == "bad_request"
            continue
        for code in ("forbidden", "insufficient_scope", "person_required") if "denied_as" in template else ("",):
            body = json.loads(template.replace("$context.authorizer.denied_as", code))
            assert (body["error"], body["title"], body["status"]) in kinds, name
            if name in ("UNAUTHORIZED", "ACCESS_DENIED", "THROTTLED"):
                assert body in examples, name


def test_every_documented_error_has_a_provoking_test():
    from test_errors import DOCUMENTED, ELSEWHERE, PROVOKED

    assert set(ELSEWHERE.values()) <= known_tests(), set(ELSEWHERE.values()) - known_tests()
    assert all(key in DOCUMENTED or key in {code for _, code in DOCUMENTED} for key in ELSEWHERE)
    assert {code for _, code in DOCUMENTED} - set(ELSEWHERE) == set(PROVOKED)
