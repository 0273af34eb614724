"""Runs a long step and shows its progress: one updated line on a terminal, a line every 30 seconds in a log file."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Interval of the lines in a file.
QUIET_SECONDS = 30


class Failure(Exception):
    """A failure that a person has to fix; the text says what and how."""


class StepFailed(Failure):
    """A command that failed; the text has the end of its output."""


class Step:
    """One step of the set-up. Prints its name, progress and duration."""

    def __init__(self, name: str, out=sys.stdout, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._out, self._clock = name, out, clock
        self._live = out.isatty()
        self._started = self._printed = clock()
        self._show("…" if self._live else "… ")

    @property
    def seconds(self) -> int:
        return round(self._clock() - self._started)

    def at(self, detail: str) -> None:
        """Shows the progress."""
        if self._live or self._clock() - self._printed >= QUIET_SECONDS:
            self._printed = self._clock()
            self._show(f"… {detail}, {self.seconds} s")

    def done(self, detail: str = "") -> None:
        self._show(f"{detail + ', ' if detail else ''}{self.seconds} s", last=True)

    def _show(self, text: str, last: bool = False) -> None:
        line = f"  {self._name}: {text}"
        if self._live:
            # A terminal whose width was never set reports 0.
            width = os.get_terminal_size(self._out.fileno()).columns or 80
            print(f"\r\x1b[K{line[: width - 1]}", end="\n" if last else "", file=self._out, flush=True)
        else:
            print(line, file=self._out, flush=True)


def run(
    name: str,
    command: list[str],
    log: Path,
    read: Callable[[str], str | None] = lambda _line: None,
    quiet: bool = False,
    **settings,
) -> None:
    """Runs `command` as a step, or `quiet`ly. `read` turns a line of output into the progress, or None. All other output goes
    to `log`; if the command fails, the error has its end."""
    step = Step(name, io.StringIO() if quiet else sys.stdout)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w+") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            **settings,
        )
        try:
            # cargo updates its own line with carriage returns, which text mode turns into line ends.
            for line in process.stdout:
                if detail := read(line):
                    step.at(detail)
                else:
                    file.write(line)
        finally:
            process.stdout.close()
            code = process.wait()
        if code != 0:
            step.done("failed")
            file.seek(0)
            raise StepFailed(f"{name} failed ({code}); the end of {log}:\n" + "\n".join(file.read().splitlines()[-40:]))
        step.done()


# `Building [=====>   ] 12/345: aws-sdk-dynamodb, ring`
CARGO = re.compile(r"Building \[.*\] (\d+)/(\d+)(?:: (.*))?")


def cargo(line: str) -> str | None:
    """cargo's progress, from its own progress bar."""
    found = CARGO.search(line)
    return found and f"{found[1]} of {found[2]} crates"
