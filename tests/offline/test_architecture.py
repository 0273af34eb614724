"""local/architecture.py keeps functions and deployment on one architecture: tested with fake ELF headers and a fake `uname`."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import architecture
import pytest
from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent.parent
X86_64, ARM64 = 62, 183


def elf(machine: int, *, big_endian: bool = False) -> bytes:
    order = ">" if big_endian else "<"
    return b"\x7fELF" + bytes([2, 2 if big_endian else 1, 1]) + bytes(9) + struct.pack(f"{order}HH", 3, machine) + bytes(44)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build of two functions for x86_64."""
    for function in ("AuthorizerFunction", "MeFunction"):
        write(tmp_path, function, elf(X86_64))
    shutil.copy(ROOT / "template.yaml", tmp_path)
    return tmp_path


def write(build: Path, function: str, content: bytes) -> None:
    (build / function).mkdir(exist_ok=True)
    (build / function / "bootstrap").write_bytes(content)


def command_line(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "local/architecture.py", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (elf(X86_64), "x86_64"),
        (elf(ARM64), "arm64"),
        (elf(ARM64, big_endian=True), "arm64"),
        (elf(243), "ELF machine 0xf3"),
        (elf(X86_64)[:19], "not a Linux binary"),
        (b"\xcf\xfa\xed\xfe" + bytes(60), "not a Linux binary"),  # macOS
        (b"#!/bin/sh\nexec /usr/bin/true\n", "not a Linux binary"),
        (b"", "not a Linux binary"),
    ],
)
def test_the_elf_header_gives_a_binarys_architecture(tmp_path: Path, content: bytes, found: str) -> None:
    write(tmp_path, "MeFunction", content)
    assert architecture.of_binary(tmp_path / "MeFunction/bootstrap") == found


def test_this_interpreter_has_the_hosts_architecture() -> None:
    assert architecture.of_binary(Path(sys.executable).resolve()) == architecture.of_host()


def test_a_build_of_the_wanted_architecture_passes(build: Path) -> None:
    result = command_line("check", build, "x86_64")
    assert (result.returncode, result.stderr) == (0, "")


def test_one_function_of_another_architecture_stops_deployment(build: Path) -> None:
    write(build, "MeFunction", elf(ARM64))
    result = command_line("seal", build, "x86_64")
    assert result.returncode == 1
    assert "This deployment is for x86_64" in result.stderr
    assert "    MeFunction is arm64\n" in result.stderr
    assert "AuthorizerFunction" not in result.stderr
    assert "make build ARCH=x86_64" in result.stderr
    assert (build / "template.yaml").read_text() == (ROOT / "template.yaml").read_text()


def test_a_build_without_functions_stops_the_deployment(tmp_path: Path) -> None:
    result = command_line("check", tmp_path, "arm64")
    assert result.returncode == 1
    assert "make build ARCH=arm64" in result.stderr


def test_a_sealed_template_accepts_only_its_architecture(build: Path) -> None:
    """An earlier deployment may have saved another architecture, which would take precedence over a default."""
    before = yaml_parse((ROOT / "template.yaml").read_text())
    for function in ("AuthorizerFunction", "MeFunction"):
        write(build, function, elf(ARM64))
    architecture.seal(build, "arm64")
    after = yaml_parse((build / "template.yaml").read_text())
    sealed = after["Parameters"].pop("Architecture")
    assert (sealed["Default"], sealed["AllowedValues"]) == ("arm64", ["arm64"])
    assert "make deploy" in sealed["ConstraintDescription"]
    del before["Parameters"]["Architecture"]
    assert after == before


def test_the_template_knows_the_same_architectures() -> None:
    parameter = yaml_parse((ROOT / "template.yaml").read_text())["Parameters"]["Architecture"]
    assert parameter["AllowedValues"] == list(architecture.TARGETS)


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "x86_64"), ("AMD64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")]
)
def test_the_host_gets_lambdas_architecture_name(monkeypatch: pytest.MonkeyPatch, machine: str, name: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert architecture.of_host() == name


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")])
def test_make_builds_for_the_host_unless_told_otherwise(tmp_path: Path, machine: str, name: str) -> None:
    (tmp_path / "uname").write_text(f"#!/bin/sh\ncase $1 in -m) echo {machine} ;; *) echo Linux {machine} ;; esac\n")
    (tmp_path / "uname").chmod(0o755)
    # `make offline` passes on its own ARCH.
    environment = {name: value for name, value in os.environ.items() if name != "ARCH"}
    for arguments, expected in (([], name), (["ARCH=arm64"], "arm64")):
        planned = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", "build", *arguments],
            cwd=ROOT,
            env={**environment, "MAKEFLAGS": "", "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"architecture.py target {expected}" in planned
        assert f"architecture.py seal .aws-sam/build {expected}" in planned
        flag = {"x86_64": "--x86-64", "arm64": "--arm64"}[expected]
        assert set(re.findall(r"cargo lambda build.* (--x86-64|--arm64)", planned)) == {flag}


@pytest.mark.parametrize("has_rustup", [True, False])
def test_a_missing_rust_target_is_reported_and_not_downloaded(tmp_path: Path, has_rustup: bool) -> None:
    called = tmp_path / "called"
    for name in ("rustc", "rustup") if has_rustup else ("rustc",):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{called}\necho {tmp_path}/lib/$4\n')
        (tmp_path / name).chmod(0o755)
    run = [sys.executable, ROOT / "local/architecture.py", "target", "arm64"]
    lacking = subprocess.run(run, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert lacking.returncode == 1
    assert ("rustup target add aarch64-unknown-linux-gnu" in lacking.stderr) == has_rustup
    assert "it lacks the target aarch64-unknown-linux-gnu" in lacking.stderr
    assert called.read_text() == "rustc --print target-libdir --target aarch64-unknown-linux-gnu\n"
    (tmp_path / "lib/aarch64-unknown-linux-gnu").mkdir(parents=True)
    assert subprocess.run(run, env={"PATH": str(tmp_path)}).returncode == 0
