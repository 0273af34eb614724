"""What the authorizer may weigh. It stands before every request, so what is added to it is paid by all: a number that has
to be raised is raised knowingly, with the reason in the commit. How it got there: docs/performance.md."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOTSTRAP = ROOT / ".aws-sam" / "build" / "AuthorizerFunction" / "bootstrap"

# What is linked: the authorizer alone, without what the other crates and the tests turn on.
MAX_CRATES = 165
MAX_BYTES = 6_000_000
# A second crypto library or HTTP client, and what reads profiles from files.
FORBIDDEN = {"aws-config", "aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "reqwest"}


def test_the_authorizer_depends_on_few_crates_and_on_none_that_has_no_place_there():
    command = ["cargo", "tree", "--locked", "--package", "authorizer", "--edges", "normal", "--prefix", "none"]
    command += ["--target", "x86_64-unknown-linux-gnu", "--format", "{p}"]
    tree = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    assert not FORBIDDEN & {name for name, _version in crates}
    assert 50 < len(crates) <= MAX_CRATES, len(crates)


@pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="needs the local stack's build")
def test_the_authorizer_is_small():
    assert BOOTSTRAP.stat().st_size <= MAX_BYTES
