"""local/prerequisites on machines that lack tools: a PATH with fake tools, and a fake apt-get that installs more of them."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RUST = re.search(r'rust-version = "(.+)"', (ROOT / "Cargo.toml").read_text()).group(1)
# Commands that the script itself uses.
REAL = ("sh", "awk", "cat", "cut", "dirname", "sed", "tr", "env")
EVERYTHING = {
    "make": "",
    "cc": "",
    "cargo": "",
    "rustc": f"rustc {RUST} (0123456 2026-01-01)",
    "python3": "Python 3.11.7",
    "node": "v22.12.0",
    "npm": "",
    "curl": "",
    "jq": "",
    "valgrind": "",
    "sudo": "",
    "apt-get": "",
}


@dataclass
class Machine:
    folder: Path
    system: str = "Linux"
    processor: str = "x86_64"
    user: int = 1000
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in REAL:
            (self.folder / name).symlink_to(shutil.which(name))
        for name, version in EVERYTHING.items():
            self.install(name, version)
        self.script("sudo", 'exec "$@"')
        # Each package provides the tool of its name; every call is logged.
        self.script(
            "apt-get",
            f'echo "apt-get $*" >>{self.log}\n'
            '[ "$1" = update ] && exit\n'
            "for package; do case $package in -*|install) ;; *) " + f"printf '#!/bin/sh\\n' >{self.folder}/$package; "
            f"/bin/chmod +x {self.folder}/$package ;; esac; done",
        )

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def install(self, name: str, version: str = "") -> None:
        self.script(name, f"echo '{version}'")

    def remove(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink()

    def check(self, *purposes: str, answer: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the script. With an `answer`, it has a terminal with somebody who types that."""
        self.script("uname", f'case $1 in -sm) echo "{self.system} {self.processor}" ;; esac')
        self.script("id", f"echo {self.user}")
        master, terminal = pty.openpty()
        try:
            os.write(master, f"{answer}\n".encode())
            return subprocess.run(
                [ROOT / "local" / "prerequisites", *purposes],
                env={"PATH": str(self.folder), **self.environment},
                stdin=subprocess.DEVNULL if answer is None else terminal,
                capture_output=True,
                text=True,
                timeout=30,
            )
        finally:
            os.close(master)
            os.close(terminal)

    def installed(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_complete_machine_passes_silently(machine: Machine) -> None:
    result = machine.check("stack", "examples", "browser", "instructions")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_everything_missing_is_listed_with_its_command(machine: Machine) -> None:
    machine.remove("cc", "cargo", "python3", "npm")
    result = machine.check()
    assert result.returncode == 1
    for line in (
        "missing: cc\n    sudo apt-get install build-essential\n",
        f"missing: rust {RUST} or newer\n    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh\n",
        "missing: python3 3.10 or newer\n    sudo apt-get install python3\n",
        "missing: npm\n    sudo apt-get install npm\n",
    ):
        assert line in result.stderr
    assert machine.installed() == ""


@pytest.mark.parametrize(
    ("tool", "output", "good"),
    [
        ("rustc", f"rustc {RUST} (a 2026-01-01)", True),
        ("rustc", "rustc 1.94.0 (a 2026-01-01)", False),
        ("rustc", "rustc 1.100.0-nightly (a 2027-01-01)", True),
        ("rustc", "rustc 1.63.0 (a 2022-01-01)", False),
        ("rustc", "rustc 2.0.0 (a 2030-01-01)", True),
        ("python3", "Python 3.10.0", True),
        ("python3", "Python 3.9.25", False),
        ("python3", "Python 3.15.0rc1", True),
        ("node", "v20.19.0", True),
        ("node", "v20.18.3", False),
        ("node", "v21.7.3", False),
        ("node", "v22.11.9", False),
        ("node", "v22.12.0", True),
        ("node", "v23.0.0", True),
        ("node", "v18.20.4", False),
    ],
)
def test_versions_are_compared_as_numbers(machine: Machine, tool: str, output: str, good: bool) -> None:
    machine.install(tool, output)
    result = machine.check()
    assert (result.returncode == 0) == good, result.stderr
    if not good:
        assert re.search(rf"missing: {tool.removesuffix('c')} .* or newer \(found [0-9.]+\)", result.stderr)


def test_an_old_tool_is_not_installed_again(machine: Machine) -> None:
    machine.user = 0
    machine.install("node", "v18.20.4")
    result = machine.check()
    assert result.returncode == 1
    assert "https://nodejs.org/en/download" in result.stderr
    assert machine.installed() == ""


def test_an_old_rust_under_rustup_is_updated_by_rustup(machine: Machine) -> None:
    machine.install("rustup")
    machine.install("rustc", "rustc 1.63.0 (a 2022-01-01)")
    assert "    rustup update stable\n" in machine.check().stderr


def test_root_gets_the_packages_installed(machine: Machine) -> None:
    machine.user = 0
    machine.remove("make", "jq", "valgrind")
    result = machine.check("examples", "instructions")
    assert (result.returncode, result.stderr) == (0, "")
    assert machine.installed() == ("apt-get update -qq\napt-get install -qq --yes --no-install-recommends make jq valgrind\n")


@pytest.mark.parametrize(("answer", "installs"), [("y", True), ("n", False), ("", False)])
def test_other_users_are_asked_first(machine: Machine, answer: str, installs: bool) -> None:
    machine.remove("npm")
    result = machine.check(answer=answer)
    assert "sudo apt-get? [y/N]" in result.stdout
    assert (result.returncode == 0) == installs
    assert ("install" in machine.installed()) == installs


def test_nobody_is_asked_without_a_terminal(machine: Machine) -> None:
    machine.remove("npm")
    assert machine.check().returncode == 1
    assert machine.installed() == ""


def test_a_failed_installation_leaves_the_tool_missing(machine: Machine) -> None:
    machine.user = 0
    machine.remove("npm")
    machine.script("apt-get", "exit 100")
    result = machine.check()
    assert result.returncode == 1
    assert "missing: npm\n    apt-get install npm\n" in result.stderr


def test_without_apt_each_tool_has_another_source(machine: Machine) -> None:
    machine.user = 0
    machine.remove("apt-get", "make", "cc", "python3", "node", "npm", "cargo")
    result = machine.check()
    lines = result.stderr.splitlines()
    assert len(lines) == 2 * 7
    assert all(re.search("https://|xcode-select", line) for line in lines[1::2])


def test_missing_curl_and_jq_are_reported_without_a_question(machine: Machine) -> None:
    machine.remove("curl", "jq")
    result = machine.check("stack", "examples", answer="y")
    assert result.returncode == 0
    assert result.stderr == "optional: curl\n    sudo apt-get install curl\noptional: jq\n    sudo apt-get install jq\n"
    assert machine.installed() == ""


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_only_a_local_run_works_without_valgrind(machine: Machine, ci: str, code: int) -> None:
    machine.environment["CI"] = ci
    machine.remove("valgrind")
    result = machine.check("instructions")
    assert result.returncode == code
    assert ": valgrind\n    sudo apt-get install valgrind\n" in result.stderr


def test_macos_gets_a_list_of_what_works_there(machine: Machine) -> None:
    machine.system, machine.processor = "Darwin", "arm64"
    machine.remove("cc")
    result = machine.check("stack", "examples")
    assert result.returncode == 1
    assert "this machine runs Darwin" in result.stderr
    assert "make unit" in result.stderr
    assert "missing" not in result.stderr


def test_macos_can_build_and_lint(machine: Machine) -> None:
    machine.system, machine.processor = "Darwin", "arm64"
    assert machine.check().returncode == 0


def test_a_browser_is_required_where_none_can_be_downloaded(machine: Machine) -> None:
    machine.processor = "aarch64"
    assert "missing: chromium\n    sudo apt-get install chromium\n" in machine.check("browser").stderr
    machine.environment["CHROMIUM"] = str(machine.folder / "cc")
    assert machine.check("browser").returncode == 0


def test_the_node_check_matches_the_dashboards_engines() -> None:
    engines = re.search(r'"node": "\^([\d.]+)\.0 \|\| >=([\d.]+)\.0"', (ROOT / "dashboard/package.json").read_text())
    assert f"node|build|{engines.group(1)} {engines.group(2)}|" in (ROOT / "local/prerequisites").read_text()
