"""Builds the dashboard and the functions for this machine: `python3 local/build.py`, with only the standard library.

The functions are compiled in the test profile, all at once. `sam build` then packages them for a deployment in
.aws-sam/build. For AWS, the same `sam build` compiles them with all optimisations (functions/Makefile).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from progress import StepFailed, cargo, run

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "local" / ".state"
TOOLS = ROOT / "local" / ".venv" / "tools" / "bin"
SAM_BUILD = ROOT / ".aws-sam" / "build"
# Contains the digest of the template that was packaged. `make deploy` leaves a build without this file.
LAID_OUT = SAM_BUILD / "local"
# The inputs of a build, without the file that it writes itself.
WATCHED = ("access", "functions", "shared", "dashboard/src")
WRITTEN = ROOT / "dashboard" / "src" / "api" / "openapi.ts"


def environment(**more: str) -> dict[str, str]:
    # cargo must not use the flags and the job server of the make that runs this script.
    kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return {**kept, "PATH": f"{TOOLS}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0", "BUILD": "local", **more}


def functions_make(*arguments: str) -> list[str]:
    return ["make", "--no-print-directory", "--makefile", "functions/Makefile", *arguments]


def compile_functions(quiet: bool = False) -> None:
    run(
        "compile the functions",
        functions_make("--silent", "local"),
        LOGS / "compile.log",
        cargo,
        quiet,
        cwd=ROOT,
        env=environment(CARGO_TERM_PROGRESS_WHEN="always", CARGO_TERM_PROGRESS_WIDTH="100"),
    )


def check_rules(quiet: bool = False) -> None:
    """Checks access/ with the authorizer's own parser."""
    run(
        "check the access rules",
        functions_make("check-rules"),
        LOGS / "check-rules.log",
        quiet=quiet,
        cwd=ROOT,
        env=environment(),
    )


def build_page() -> None:
    run(
        "build the dashboard",
        ["make", "--no-print-directory", "dashboard"],
        LOGS / "dashboard.log",
        quiet=True,
        cwd=ROOT,
        env=environment(),
    )


def lay_out() -> None:
    """Updates .aws-sam/build and .aws-sam/packages from the template and the compiled programs."""
    LOGS.mkdir(parents=True, exist_ok=True)
    # Stacks of both providers can start at the same time, and `sam build` deletes the previous build.
    with (LOGS / "lay-out.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        template = hashlib.sha256((ROOT / "template.yaml").read_bytes()).hexdigest()
        if not LAID_OUT.exists() or LAID_OUT.read_text() != template:
            LAID_OUT.unlink(missing_ok=True)
            sam_build()
            # The function of local/debug-login.yaml, which sam doesn't build.
            (SAM_BUILD / "LoginDebugFunction").mkdir()
            LAID_OUT.write_text(template)
        for artifacts in SAM_BUILD.iterdir():
            if artifacts.is_dir():
                command = functions_make(
                    "--silent", "--old-file=local", f"ARTIFACTS_DIR={artifacts}", f"build-{artifacts.name}"
                )
                subprocess.run(command, cwd=ROOT, env=environment(), check=True)
        for function, content in built().items():
            update_package(function, content)


def package(function: str) -> Path:
    """The zip file that a deployment uploads for a function, by its logical id, so that no deployment compresses it again."""
    return SAM_BUILD.parent / "packages" / f"{function}.zip"


def update_package(function: str, content: str) -> None:
    """Writes a function's package unless it has this content. It is replaced as a whole: another stack may be deploying it."""
    path = package(function)
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if archive.comment == content.encode():
            return
    path.parent.mkdir(exist_ok=True)
    written = path.with_suffix(".new")
    write_package(written, SAM_BUILD / function, comment=content)
    written.replace(path)


def write_package(target: Path | io.BytesIO, folder: Path, program: Path | None = None, comment: str = "") -> None:
    """Packages a function, with another `program` if one is given."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.comment = comment.encode()
        for path in files(folder):
            archive.write(program if program and path.name == "bootstrap" else path, path.relative_to(folder))


def sam_build() -> None:
    seen, all_functions = 0, (ROOT / "template.yaml").read_text().count("Type: AWS::Serverless::Function")

    def count(line: str) -> str | None:
        nonlocal seen
        seen += "Running CustomMakeBuilder:MakeBuild" in line
        return f"function {seen} of {all_functions}" if seen else None

    run("sam build", ["sam", "build"], LOGS / "sam-build.log", count, cwd=ROOT, env=environment())


def built() -> dict[str, str]:
    """The functions in .aws-sam/build by logical id, each with a digest of its files."""
    return {program.parent.name: digest(program.parent) for program in sorted(SAM_BUILD.glob("*/bootstrap"))}


def digest(folder: Path) -> str:
    content = hashlib.sha256()
    for path in files(folder):
        content.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return content.hexdigest()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def sources() -> dict[str, tuple[int, int]]:
    """Modification time and size of each source file: differs after every edit."""
    seen = {}
    for folder in WATCHED:
        # Unlike Path.rglob, os.walk skips a folder that disappears while it is being read, such as in a checkout.
        for parent, _, names in os.walk(ROOT / folder):
            for path in (Path(parent) / name for name in names if not name.startswith(".")):
                # So may an editor's temporary file.
                with contextlib.suppress(OSError):
                    if path != WRITTEN:
                        stat = path.stat()
                        seen[str(path.relative_to(ROOT))] = (stat.st_mtime_ns, stat.st_size)
    return seen


def main() -> int:
    try:
        compile_functions()
    except StepFailed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
