"""Runs the end-to-end suites repeatedly while every core is busy, and counts each test's failures.

    make soak RUNS=20                       both providers
    make soak RUNS=20 PROVIDERS=cognito SUITES=browser

Each suite of a run has a fresh local stack, and AT_ONCE=4 runs four at the same time. Logs, JUnit reports and screenshots of failures are kept in target/soak.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "target" / "soak"
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
STACK = [sys.executable, ROOT / "local" / "stack.py"]


@dataclass
class Results:
    """The number of runs and failures of each test, and its first error."""

    runs: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, test: str, error: str | None) -> None:
        self.runs[test] += 1
        if error is not None:
            self.failures[test] += 1
            self.errors.setdefault(test, error)

    def read(self, suite: str, report: Path) -> None:
        """Adds a JUnit report. A missing report counts as a failure of the suite."""
        try:
            # Playwright colours its errors, and XML can't contain those escapes.
            text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", report.read_text(errors="replace"))
            cases = [case for case in ElementTree.fromstring(text).iter("testcase") if case.find("skipped") is None]
        except (OSError, ElementTree.ParseError):
            cases = []
        self.add(f"{suite}: ended with its report", None if cases else f"see {report.parent.relative_to(ROOT)}/log")
        for case in cases:
            failed = case.find("failure")
            failed = case.find("error") if failed is None else failed
            text = None if failed is None else failed.get("message") or failed.text or "no message"
            self.add(f"{suite}: {case.get('name')}", text and text.strip().splitlines()[0])

    def table(self) -> str:
        """The failed tests, most frequent first."""
        lines = [
            f"{self.failures[test]:>3}/{self.runs[test]}  {test}\n          {self.errors[test]}"
            for test, _ in self.failures.most_common()
        ]
        return "\n".join(lines) or f"No failure: {len(self.runs)} tests, {self.runs.total()} executions."


def spin(parent: int) -> None:
    """Keeps a core busy for as long as the parent process lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches this process too, but its parent ends it.
    while os.getppid() == parent:
        hashlib.sha256(bytes(1 << 20))


@contextlib.contextmanager
def load() -> Iterator[None]:
    """Keeps every core busy."""
    context = multiprocessing.get_context("spawn")  # So that this process is the parent.
    workers = [context.Process(target=spin, args=[os.getpid()]) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()


@dataclass
class Execution:
    """One suite on one fresh stack."""

    run: int
    provider: str
    suite: str
    folder: Path
    port: int = 0
    started: float = 0.0
    process: subprocess.Popen | None = None

    def begin(self, port: int) -> None:
        """Starts it in its own process group, so that an interrupt can be passed on to the whole group, which then cleans up."""
        self.port, self.started = port, time.monotonic()
        self.folder.mkdir(parents=True)
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [*STACK, "--provider", self.provider, "--port", str(port), "test", ROOT / "tests" / "run", self.suite],
                cwd=ROOT,
                env={**os.environ, "VEGA_REPORTS": str(self.folder), "VEGA_SCREENSHOTS": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self, results: Results) -> None:
        before = results.failures.total()
        results.read(f"{self.provider}, {self.suite}", self.folder / f"{self.suite}.xml")
        failed, seconds = results.failures.total() - before, time.monotonic() - self.started
        print(f"run {self.run}, {self.provider}, {self.suite}: {failed} failed, {seconds:.0f} s", flush=True)


def executions(runs: int, providers: list[str], suites: list[str]) -> list[Execution]:
    return [
        Execution(run, provider, suite, KEPT / f"{provider}-{suite}-{run}")
        for run in range(1, runs + 1)
        for provider in providers
        for suite in suites
    ]


def soak(waiting: list[Execution], at_once: int, first_port: int, results: Results) -> None:
    shutil.rmtree(KEPT, ignore_errors=True)
    running: list[Execution] = []
    free = [first_port + 10 * number for number in range(at_once)]
    with load():
        try:
            while waiting or running:
                while waiting and free:
                    running.append(waiting.pop(0))
                    running[-1].begin(free.pop())
                time.sleep(0.5)
                for ended in [execution for execution in running if execution.process.poll() is not None]:
                    running.remove(ended)
                    free.append(ended.port)
                    ended.end(results)
        finally:
            for number in INTERRUPTS:
                signal.signal(number, signal.SIG_IGN)  # A second one must not leave anything behind.
            for execution in running:
                os.killpg(execution.process.pid, signal.SIGINT)
            for execution in running:
                execution.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--providers", nargs="+", choices=["custom", "cognito"], default=["custom", "cognito"])
    parser.add_argument("--suites", nargs="+", choices=["browser", "api"], default=["browser", "api"])
    parser.add_argument("--at-once", type=int, default=2, help="stacks that run at the same time")
    parser.add_argument("--port", type=int, default=8050, help="port of the first of them")
    arguments = parser.parse_args()

    for number in INTERRUPTS:  # Also if a shell started this with SIGINT ignored.
        signal.signal(number, signal.default_int_handler)
    results = Results()
    try:
        soak(executions(arguments.runs, arguments.providers, arguments.suites), arguments.at_once, arguments.port, results)
    except KeyboardInterrupt:
        print("\nstopped")
    print(results.table())
    expected = arguments.runs * len(arguments.providers) * len(arguments.suites)
    complete = sum(count for test, count in results.runs.items() if test.endswith("ended with its report")) == expected
    return 0 if complete and not results.failures else 1


if __name__ == "__main__":
    sys.exit(main())
