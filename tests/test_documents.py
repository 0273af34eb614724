"""What the documents say is held to what is there."""

import json
import re
from pathlib import Path

from test_template import routes

ROOT = Path(__file__).resolve().parent.parent


def test_every_test_that_the_security_page_names_exists():
    rows = [line for line in (ROOT / "docs" / "security.md").read_text().splitlines() if line.startswith("| ") and "---" not in line]
    claims = [row.split(" | ")[-1] for row in rows if not row.endswith("| test |")]
    sources = "".join(path.read_text() for folder in ("functions", "shared") for path in (ROOT / folder).rglob("*.rs"))
    sources += "".join(path.read_text() for path in (ROOT / "tests").glob("*.py"))
    defined = set(re.findall(r"(?:fn|def) (\w+)\(", sources))
    for claim in claims:
        named = re.findall(r"`(\w+)`", claim)
        assert named, f"no test behind: {claim}"
        assert set(named) <= defined, set(named) - defined
    assert len(claims) > 30


def test_the_openapi_document_has_the_routes_of_the_template_and_no_others():
    """A route that is missing there: give its function's `routes()` a line (docs/openapi.md), then `make openapi`."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert document["security"] == [{"bearer": []}]
    documented = {
        (method.upper(), path): operation.get("security") == []
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    # API Gateway's `{file+}` is the rest of the path, which OpenAPI can't say.
    assert documented == {(method, path.replace("+}", "}")): is_open for (method, path), is_open in routes().items()}
