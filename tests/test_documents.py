"""docs/security.md is true only as long as the tests that it names exist."""

import re
from pathlib import Path

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
