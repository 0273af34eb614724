"""The metrics in the log lines are those that docs/operations.md lists, and the dashboard shows what exists."""

import json
import re

from template import RESOURCES, ROOT

SOURCES = {
    "authorizer": ("functions/authorizer/src/metrics.rs", "functions/authorizer/src/log_line.rs"),
    "notifications": ("functions/notifications/src/lib.rs", "functions/notifications/src/lib.rs"),
}
# Dimensions with a fixed set of values. A key, a caller or a route isn't among them.
BOUNDED = {"outcome", "code", "via", "function"}


def directives() -> dict[str, tuple[str, list[list[str]]]]:
    """Unit and sets of dimensions of each metric in the sources."""
    found: dict[str, tuple[str, list[list[str]]]] = {}
    for path, _ in SOURCES.values():
        source = (ROOT / path).read_text().split("#[cfg(test)]")[0]
        outcome = re.search(r"let outcome: &\[&\[&str\]\] = (&\[.*?\]);", source)
        for dimensions, metrics in re.findall(
            r"Directive::new\(\s*namespace,\s*(&\[(?:.*?\])\]|outcome),\s*&\[(.*?)\],?\s*\)", source, re.DOTALL
        ):
            written = outcome[1] if dimensions == "outcome" else dimensions
            sets = [re.findall(r'"(\w+)"', one) for one in re.findall(r"&\[((?:\s*\"\w+\",?)+)\s*\]", written)]
            for name, unit in re.findall(r'\("(\w+)", Unit::(\w+)\)', metrics):
                unit_before, before = found.setdefault(name, (unit, []))
                assert unit == unit_before
                before.extend(one for one in sets if one not in before)
    return found


def documented() -> dict[str, tuple[str, list[list[str]]]]:
    page = (ROOT / "docs/operations.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    return {name: (unit, [re.findall(r"`(\w+)`", one) for one in sets.split("; also")]) for name, unit, sets in rows}


def test_every_metric_is_documented_with_unit_and_dimensions():
    assert len(directives()) == 8
    assert documented() == directives()


def test_no_dimension_grows_with_keys_or_callers():
    assert {name for _, sets in directives().values() for one in sets for name in one} == BOUNDED


def body() -> dict:
    return json.loads(RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Sub"])


def test_the_dashboard_shows_metrics_that_exist():
    known = directives().keys() | {name for name, one in RESOURCES.items() if one["Type"] == "AWS::Logs::MetricFilter"}
    text = json.dumps([widget for widget in body()["widgets"] if widget["type"] == "metric"])
    shown = set(re.findall(r'MetricName=\\+"(\w+)', text)) | set(re.findall(r'StackName\}", "(\w+)"', text))
    assert "OwnersPassAge" in shown and shown <= known
    assert directives().keys() <= shown | {"key_set_fetches"}


def queries() -> list[str]:
    saved = [one["Properties"]["QueryString"] for one in RESOURCES.values() if one["Type"] == "AWS::Logs::QueryDefinition"]
    return saved + [widget["properties"]["query"] for widget in body()["widgets"] if widget["type"] == "log"]


def test_queries_read_members_of_the_log_lines():
    members = set(re.findall(r"pub (\w+): ", (ROOT / "functions/authorizer/src/log_line.rs").read_text()))
    assert {"outcome", "code", "user_id", "key_id", "route", "via", "method", "request_id", "cause"} <= members
    assert len(queries()) == 6
    for query in queries():
        read = re.findall(r"\b(?:by|fields) ([\w@, ]+)", query) + re.findall(
            r"(?:filter |ispresent\()(?!ispresent)(\w+)", query
        )
        names = {name.strip() for part in read for name in part.split(",")}
        assert names - {"@timestamp", "@log"} <= members, query


def test_the_members_that_are_metrics_are_in_the_log_lines():
    for name in directives():
        assert any(name in (ROOT / line).read_text() for _, line in SOURCES.values()), name
