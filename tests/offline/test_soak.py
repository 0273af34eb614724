"""How tests/soak.py counts."""

import soak

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites>
\t<testsuite name="keys">
\t\t<testcase name="a key works" time="1"/>
\t\t<testcase name="a key stops working" time="1"><failure message="Timeout: \x1b[2mwaiting\x1b[22m">at line 1</failure></testcase>
\t\t<testcase name="only for Cognito" time="0"><skipped message="skipped"/></testcase>
\t</testsuite>
</testsuites>
"""


def test_each_test_of_a_report_is_counted(tmp_path):
    report = tmp_path / "browser.xml"
    report.write_text(REPORT)
    results = soak.Results()
    results.read("custom, browser", report)
    assert set(results.runs) == {
        f"custom, browser: {name}" for name in ("ended with its report", "a key works", "a key stops working")
    }
    assert results.failures == {"custom, browser: a key stops working": 1}
    assert "Timeout" in results.table()


def test_a_suite_without_a_report_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "ROOT", tmp_path)
    results = soak.Results()
    results.read("custom, api", tmp_path / "custom-1" / "api.xml")
    assert results.failures == {"custom, api: ended with its report": 1}
