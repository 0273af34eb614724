"""The authorizer's size and dependency budgets. It runs before every request, so every request pays for additions to it: a budget
is only raised deliberately, with the reason in the commit. docs/performance.md has the history."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# As it is deployed: `make authorizer`.
AUTHORIZER = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "lambda" / "authorizer" / "bootstrap"

# Crates of the authorizer built by itself, without features that other crates or the tests enable.
MAX_CRATES = 115
MAX_BYTES = 6_000_000
# A second crypto library or HTTP client, the SDK, and a crate that reads profiles from files.
FORBIDDEN = {"aws-config", "aws-sdk-dynamodb", "aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "reqwest"}


def test_the_authorizer_has_few_crates_and_no_forbidden_one():
    command = ["cargo", "tree", "--locked", "--package", "authorizer", "--edges", "normal", "--prefix", "none"]
    command += ["--target", "x86_64-unknown-linux-gnu", "--format", "{p}"]
    tree = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    assert not FORBIDDEN & {name for name, _version in crates}
    assert 50 < len(crates) <= MAX_CRATES, len(crates)


def test_the_authorizer_is_small():
    assert AUTHORIZER.stat().st_size <= MAX_BYTES


def test_the_authorizer_needs_no_newer_glibc_than_lambda_has():
    """Amazon Linux 2023 has 2.34. A binary contains the versions that it requires as plain text."""
    wanted = {
        tuple(map(int, version.split(b"."))) for version in re.findall(rb"\0GLIBC_(\d+(?:\.\d+)+)", AUTHORIZER.read_bytes())
    }
    assert wanted and max(wanted) <= (2, 34)
