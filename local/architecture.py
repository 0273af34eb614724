"""Keeps functions and deployment on one processor architecture: `x86_64` or `arm64`, ARCH in the Makefile.

Lambda accepts a binary built for another architecture, the deployment succeeds, and every invocation then fails with
`Runtime.InvalidEntrypoint`. So the build is checked, and the built template accepts no other architecture.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from progress import Failure

# Rust's targets for Lambda's Amazon Linux; the keys are Lambda's own names.
TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
# `e_machine` of the ELF header: EM_X86_64 and EM_AARCH64.
ELF_MACHINES = {0x3E: "x86_64", 0xB7: "arm64"}


class Mismatch(Failure):
    """Functions and deployment differ; the text says where, and what to do."""


def of_host() -> str:
    """Lambda's name for this machine's architecture."""
    machine = platform.machine().lower()
    return "arm64" if machine in {"aarch64", "arm64"} else "x86_64"


def of_binary(path: Path) -> str:
    """Lambda's name for a binary's architecture, or a description of anything that Lambda can't run."""
    with path.open("rb") as file:
        header = file.read(20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return "not a Linux binary"
    [machine] = struct.unpack_from("<H" if header[5] == 1 else ">H", header, 18)
    return ELF_MACHINES.get(machine, f"ELF machine {machine:#x}")


def check(build: Path, wanted: str) -> None:
    """Rejects a build in which any function has another architecture."""
    binaries = sorted(build.glob("*/bootstrap"))
    if not binaries:
        raise Mismatch(f"there are no functions in {build}: `make build ARCH={wanted}` builds them")
    others = {path.parent.name: found for path in binaries if (found := of_binary(path)) != wanted}
    if others:
        raise Mismatch(
            f"This deployment is for {wanted}, but in {build}:\n"
            + "".join(f"    {function} is {found}\n" for function, found in others.items())
            + "Lambda would accept them, and every invocation would fail. Rebuild them for the architecture that you want:\n"
            + f"    make build ARCH={wanted}    (this machine is {of_host()})"
        )


def seal(build: Path, architecture: str) -> None:
    """Checks a build, then lets the built template accept no other architecture, whatever an earlier deployment saved."""
    from samcli.yamlhelper import yaml_dump, yaml_parse  # Only in the tools' environment, and slow to load.

    check(build, architecture)
    path = build / "template.yaml"
    template = yaml_parse(path.read_text())
    template["Parameters"]["Architecture"] |= {
        "AllowedValues": [architecture],
        "Default": architecture,
        "ConstraintDescription": f"{architecture}, as these functions were built; make deploy ARCH=... builds for another one",
    }
    path.write_text(yaml_dump(template))


def check_target(architecture: str) -> None:
    """Rejects an architecture that the installed Rust can't build for, before any tool downloads the target."""
    target = TARGETS[architecture]
    library = subprocess.run(
        ["rustc", "--print", "target-libdir", "--target", target], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not Path(library).is_dir():
        add = f"rustup target add {target}" if shutil.which("rustup") else f"add the target {target} to your Rust installation"
        raise Mismatch(
            f"Rust on this machine ({of_host()}) can't build for {architecture}: it lacks the target {target}.\n"
            f"    {add}\n"
            f"or build on a machine of that architecture, or deploy for this one: ARCH={of_host()}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, function in (("check", check), ("seal", seal), ("target", check_target)):
        action = actions.add_parser(name, help=(function.__doc__ or "").strip())
        if name != "target":
            action.add_argument("build", type=Path)
        action.add_argument("architecture", choices=TARGETS)
    arguments = parser.parse_args()
    try:
        match arguments.action:
            case "check":
                check(arguments.build, arguments.architecture)
            case "seal":
                seal(arguments.build, arguments.architecture)
            case _:
                check_target(arguments.architecture)
    except Mismatch as mismatch:
        print(mismatch, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
