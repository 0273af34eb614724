"""Runs every check that CI runs: `make test`. Independent steps run three at a time, each with its own log.

The output is one line when a step begins and one when it ends, the log of a failed step, and a summary: the steps with their
times and CPU times, and the skipped tests with the reasons. After a failure no further step begins. Needs only Python.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "local" / ".state" / "checks"
# One more than the cores of a small machine, because every step waits now and then.
AT_ONCE = 3


@dataclass
class Step:
    name: str
    target: str
    after: tuple[str, ...] = ()
    process: subprocess.Popen | None = None
    started: float = 0.0
    seconds: float = 0.0
    # CPU time, which other work on the machine barely changes.
    cpu_seconds: float = 0.0
    code: int | None = field(default=None)

    @property
    def log(self) -> Path:
        return LOGS / f"{self.target}.log"


def steps() -> list[Step]:
    """Formatting, lint and unit tests come first: they fail fastest and need no build of their own."""
    checked = ("formatting", "lint", "unit tests", "tests without a stack")
    return [
        Step("tools", "tools"),
        Step("dashboard", "dashboard"),
        Step("test browser", "chromium"),
        Step("formatting", "format", ("tools", "dashboard")),
        Step("unit tests", "unit", ("dashboard",)),
        Step("lint", "lint", ("formatting",)),
        Step("tests without a stack", "offline", ("tools", "formatting")),
        Step("local build", "compile", checked),
        Step("optimised authorizer", "authorizer", checked),
        # The longest first, so that none of them ends long after the others.
        Step("page, cognito", "cognito-browser", ("local build", "optimised authorizer", "test browser")),
        Step("API, cognito", "cognito-api", ("local build", "optimised authorizer", "test browser")),
        Step("page, custom", "custom-browser", ("local build", "test browser")),
        Step("API, custom", "custom-api", ("local build", "test browser")),
        Step("budgets", "budgets", ("optimised authorizer",)),
    ]


def run(all_steps: list[Step]) -> bool:
    """Runs the steps. Returns whether all of them passed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    passed: set[str] = set()
    while True:
        running = [step for step in all_steps if step.process and step.code is None]
        failed = [step for step in all_steps if step.code]
        if not failed:
            for step in all_steps:
                if len(running) < AT_ONCE and not step.process and passed.issuperset(step.after):
                    begin(step, [other.target for other in all_steps if other.name in step.after])
                    running.append(step)
        if not running:
            return not failed
        time.sleep(0.1)
        for step in running:
            ended, status, usage = os.wait4(step.process.pid, os.WNOHANG)
            if ended:
                step.code = step.process.returncode = os.waitstatus_to_exitcode(status)
                step.cpu_seconds = usage.ru_utime + usage.ru_stime
                end(step)
                if step.code == 0:
                    passed.add(step.name)


def begin(step: Step, made: list[str]) -> None:
    """Starts a step. The targets that it needs and that are `made` aren't made again: another step may be using them."""
    print(f"▸ {step.name}", flush=True)
    step.started = time.monotonic()
    with step.log.open("w") as log:
        step.process = subprocess.Popen(
            ["make", "--no-print-directory", *(f"--old-file={target}" for target in made), step.target],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(step: Step) -> None:
    step.seconds = time.monotonic() - step.started
    if step.code == 0:
        print(f"✓ {step.name}: {step.seconds:.0f} s", flush=True)
    else:
        print(f"✗ {step.name}: failed after {step.seconds:.0f} s; {step.log.relative_to(ROOT)}:", flush=True)
        print("\n".join(step.log.read_text(errors="replace").splitlines()[-150:]), flush=True)


def stop(all_steps: Iterable[Step]) -> None:
    """Ends the running steps, and gives them time to end their own processes."""
    running = [step.process for step in all_steps if step.process and step.process.poll() is None]
    for process in running:
        os.killpg(process.pid, signal.SIGINT)
    for process in running:
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


# Result lines of cargo test, pytest and node's test runner.
PASSED = re.compile(r"^test result: ok\. (\d+) passed|^(\d+) passed|^ℹ pass (\d+)", re.MULTILINE)
SKIPPED = re.compile(
    r"^SKIPPED \[(\d+)\] \S+: (.+)$|^test .* \.\.\. ignored, (.+)$|^\s*﹣ .* # (.+)$|^skipped: (.+)$", re.MULTILINE
)


def summary(all_steps: list[Step], seconds: float) -> str:
    lines, skipped = ["", "step                          result    time      CPU       tests"], Counter()
    for step in all_steps:
        if step.code is None:
            lines.append(f"{step.name:30}{'stopped' if step.process else 'not run'}")
            continue
        text = re.sub(r"\x1b\[[0-9;]*m", "", step.log.read_text(errors="replace"))
        tests = sum(int(next(filter(None, found.groups()))) for found in PASSED.finditer(text))
        result = "passed" if step.code == 0 else "FAILED"
        times = f"{step.seconds:4.0f} s {step.cpu_seconds:6.0f} s"
        lines.append(f"{step.name:30}{result:10}{times} {f'{tests} passed' if tests else '':>12}".rstrip())
        for found in SKIPPED.finditer(text):
            skipped[step.name, found[2] or found[3] or found[4] or found[5]] += int(found[1] or 1)
    lines += [f"skipped in {name}: {count}, {reason}" for (name, reason), count in skipped.items()]
    cpu_seconds = sum(step.cpu_seconds for step in all_steps)
    return "\n".join([*lines, f"{'all':30}{seconds:14.0f} s {cpu_seconds:6.0f} s"])


def main() -> int:
    started, all_steps = time.monotonic(), steps()
    for number in (signal.SIGINT, signal.SIGTERM):  # even if a shell started this, and so its steps, with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        passed = run(all_steps)
    except KeyboardInterrupt:
        passed = False
    finally:
        stop(all_steps)
    print(summary(all_steps, time.monotonic() - started), flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
