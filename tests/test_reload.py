"""`make dev` serves a change of the sources while it runs, and keeps the previous version if the change doesn't compile.

The stack of the suite runs the change; the sources are a copy in target/reload, with a target directory of its own.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import build
import pytest
import stack
from conftest import local_stack

pytestmark = [
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="is about the local stack"),
    pytest.mark.provider("cognito"),
]
COPY = build.ROOT / "target" / "reload"
SOURCE = COPY / "functions" / "me" / "src" / "lib.rs"
WATCH = """
import sys
from pathlib import Path
import build, stack
provider, port, state = sys.argv[1:]
sources = build.sources()
print("watching", flush=True)
stack.watch(stack.Stack(provider, int(port), Path(state)), sources)
"""


class Watched:
    """The copy, and what `make dev` does with its changes."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.text, self._process = SOURCE.read_text(), process
        assert self._line() == "watching"

    def edit(self, text: str) -> list[str]:
        """Writes the source of `me`. Returns what is printed until the reload ends."""
        SOURCE.write_text(text)
        lines = [self._line()]
        while not lines[-1].startswith(("reloaded: ", "Still serving ")):
            lines.append(self._line())
        return lines

    def _line(self) -> str:
        line = self._process.stdout.readline()
        assert line, "the watch ended"
        return line.rstrip("\n")


@pytest.fixture
def locked() -> Iterator[None]:
    """Keeps the copy from another suite that runs at the same time."""
    COPY.mkdir(parents=True, exist_ok=True)
    with COPY.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def watched(locked: None) -> Iterator[Watched]:
    for path in COPY.iterdir():
        if path.name != "target":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("access", "examples", "functions", "shared", "vega"):
        shutil.copytree(build.ROOT / name, COPY / name, ignore=shutil.ignore_patterns("node_modules", "target"))
    (COPY / "local").mkdir()
    files = [path.relative_to(build.ROOT) for path in (build.ROOT / "local").glob("*.py")]
    for name in ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "template.yaml", *files):
        shutil.copy2(build.ROOT / name, COPY / name)
    # Laid out for this function alone.
    (COPY / ".aws-sam" / "build" / "MeFunction").mkdir(parents=True)
    shutil.copy2(build.LAID_OUT, COPY / ".aws-sam" / "build" / "local")
    environment = {
        **os.environ,
        "PYTHONPATH": str(COPY / "local"),
        "CARGO_TARGET_DIR": str(COPY / "target"),
        # Less to compile, and to keep.
        "CARGO_PROFILE_DEV_DEBUG": "0",
        "LOCAL_FUNCTIONS": "me",
    }
    # A run that was killed may have left a build of its own change.
    SOURCE.touch()
    compile_all = [sys.executable, "-c", "import build; build.compile_functions(quiet=True)"]
    subprocess.run(compile_all, env=environment, check=True)
    served = local_stack()
    watch = [sys.executable, "-c", WATCH, served.provider, str(served.port), str(served.state)]
    with subprocess.Popen(watch, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Watched(process)
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
    stack.update_packages(served, {"MeFunction": build.package("MeFunction").read_bytes()})


def test_a_change_is_served_and_one_that_fails_to_compile_is_not(api, user, watched):
    def status() -> int:
        return api.get("/v1/auth/me", headers=user).status_code

    changed = watched.text.replace("json(200, &Caller", "json(203, &Caller")
    assert changed != watched.text and status() == 200
    [line] = watched.edit(changed)
    assert re.fullmatch(r"reloaded: MeFunction \(\d+\.\d s\)", line)
    assert status() == 203
    *printed, last = watched.edit(changed + "\nnot Rust\n")
    assert any(line.startswith("error: ") for line in printed) and any("functions/me/src/lib.rs" in line for line in printed)
    assert last == "Still serving the previous version. Waiting for the next change."
    assert status() == 203
    [line] = watched.edit(watched.text)
    assert line.startswith("reloaded: MeFunction ") and status() == 200
