"""Runs the end-to-end suites repeatedly while every core is busy, and counts each test's failures.

    make soak RUNS=20                       both providers
    make soak RUNS=20 PROVIDERS=cognito SUITES=browser

Each run has a fresh local stack. Logs, JUnit reports and screenshots of failures are kept in target/soak.
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


def call(command: list, log: Path, **environment: str) -> int:
    """Runs a command in its own process group. An interrupt is passed on to the whole group, so that it can clean up."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            for number in INTERRUPTS:
                signal.signal(number, signal.SIG_IGN)  # A second one must not leave anything behind.
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise


def soak(runs: int, providers: list[str], suites: list[str], port: int, results: Results) -> None:
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    with load():
        for run in range(1, runs + 1):
            for provider in providers:
                started, failed = time.monotonic(), results.failures.total()
                folder = KEPT / f"{provider}-{run}"
                folder.mkdir()
                command = [*STACK, "--provider", provider, "--port", str(port), "test", ROOT / "tests" / "run"]
                command += suites if len(suites) == 1 else []
                call(command, folder / "log", VEGA_REPORTS=str(folder), VEGA_SCREENSHOTS=str(folder))
                for suite in suites:
                    results.read(f"{provider}, {suite}", folder / f"{suite}.xml")
                failed = results.failures.total() - failed
                print(f"run {run} of {runs}, {provider}: {failed} failed, {time.monotonic() - started:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--providers", nargs="+", choices=["custom", "cognito"], default=["custom", "cognito"])
    parser.add_argument("--suites", nargs="+", choices=["browser", "api"], default=["browser", "api"])
    parser.add_argument("--port", type=int, default=8030)
    arguments = parser.parse_args()

    for number in INTERRUPTS:  # Also if a shell started this with SIGINT ignored.
        signal.signal(number, signal.default_int_handler)
    results = Results()
    try:
        soak(arguments.runs, arguments.providers, arguments.suites, arguments.port, results)
    except KeyboardInterrupt:
        print("\nstopped")
    print(results.table())
    expected = arguments.runs * len(arguments.providers) * len(arguments.suites)
    complete = sum(count for test, count in results.runs.items() if test.endswith("ended with its report")) == expected
    return 0 if complete and not results.failures else 1


if __name__ == "__main__":
    sys.exit(main())
