"""local/progress.py shows a step's progress, and tests/checks.py the results of all steps."""

from __future__ import annotations

import io
import os
import pty
import sys
from functools import partial
from pathlib import Path

import pytest
from progress import QUIET_SECONDS, Step, StepFailed, cargo, run

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import checks

PYTHON = [sys.executable, "-c"]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_file_gets_a_line_every_30_seconds():
    out, clock = io.StringIO(), Clock()
    step = Step("compile", out, clock)
    for _ in range(61):
        clock.now += 1
        step.at(f"{clock.now:.0f}")
    step.done()
    assert QUIET_SECONDS == 30
    assert out.getvalue().splitlines() == [
        "  compile: … ",
        "  compile: … 130, 30 s",
        "  compile: … 160, 60 s",
        "  compile: 61 s",
    ]


def read(terminal: int) -> bytes:
    """The next piece of a terminal's output. Empty at the end, which Linux reports as an error."""
    try:
        return os.read(terminal, 1000)
    except OSError:
        return b""


def test_a_terminal_gets_one_line_that_is_updated():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        step = Step("compile", terminal, Clock())
        step.at("1 of 2")
        step.done()
    shown = b"".join(iter(partial(read, ours), b"")).decode()
    os.close(ours)
    assert shown.count("\n") == 1 and shown.count("\r\x1b[K") == 3
    assert "1 of 2, 0 s" in shown


def test_cargos_progress_is_parsed():
    assert cargo("    Building [=======>    ] 12/345: ring, serde(build)") == "12 of 345 crates"
    assert cargo("   Compiling serde v1.0.0") is None


def test_a_failed_step_shows_the_end_of_its_output(tmp_path):
    program = "print('Building [=>  ] 1/2: a'); [print('line', n) for n in range(60)]; raise SystemExit(3)"
    with pytest.raises(StepFailed) as failure:
        run("compile", [*PYTHON, program], tmp_path / "log", cargo, quiet=True)
    assert "compile failed (3)" in str(failure.value) and str(failure.value).endswith("line 59")
    assert "line 19\n" not in str(failure.value) and "Building" not in (tmp_path / "log").read_text()


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """A makefile with three steps, the second of which fails if CODE says so."""
    (tmp_path / "Makefile").write_text(
        "first:\n\t@echo 'test result: ok. 7 passed; 0 failed'\n\t@echo 'skipped: counting, no valgrind'\n"
        "second:\n\t@echo something is wrong; exit $(CODE)\n"
        "third:\n\t@echo '5 passed in 1s'\n"
    )
    monkeypatch.setattr(checks, "ROOT", tmp_path)
    monkeypatch.setattr(checks, "LOGS", tmp_path / "logs")
    return lambda: [
        checks.Step("first", "first"),
        checks.Step("second", "second", ("first",)),
        checks.Step("third", "third", ("second",)),
    ]


def test_the_summary_lists_results_and_skipped_tests(steps, monkeypatch):
    monkeypatch.setenv("CODE", "0")
    all_steps = steps()
    assert checks.run(all_steps)
    lines = checks.summary(all_steps, 3).splitlines()
    assert [line.split()[:2] for line in lines[2:5]] == [["first", "passed"], ["second", "passed"], ["third", "passed"]]
    assert all(step.cpu_seconds > 0 for step in all_steps)
    assert lines[2].endswith("7 passed") and lines[4].endswith("5 passed")
    assert "skipped in first: 1, counting, no valgrind" in lines


def test_after_a_failure_no_further_step_begins(steps, monkeypatch, capsys):
    monkeypatch.setenv("CODE", "1")
    all_steps = steps()
    assert not checks.run(all_steps)
    assert "something is wrong" in capsys.readouterr().out
    lines = checks.summary(all_steps, 3).splitlines()
    assert lines[3].split()[:2] == ["second", "FAILED"] and lines[4].split() == ["third", "not", "run"]


def test_every_step_is_a_make_target_with_existing_predecessors():
    names = {step.name for step in checks.steps()}
    assert all(names.issuperset(step.after) for step in checks.steps())
    makefile = (checks.ROOT / "Makefile").read_text()
    assert all(f"\n{step.target}:" in makefile for step in checks.steps())
