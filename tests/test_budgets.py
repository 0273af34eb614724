"""What the authorizer may weigh. It stands before every request, so what is added to it is paid by all: a number that has
to be raised is raised knowingly, with the reason in the commit. How it got there: docs/performance.md."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOTSTRAP = ROOT / ".aws-sam" / "build" / "AuthorizerFunction" / "bootstrap"

# With the features that the workspace's tests turn on: more than is linked, but the same on every machine.
MAX_CRATES = 195
MAX_BYTES = 6_000_000
# A second crypto library or HTTP client, and what reads profiles from files.
FORBIDDEN = {"aws-config", "aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "reqwest"}


def test_the_authorizer_depends_on_few_crates_and_on_none_that_has_no_place_there():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    dependencies = {
        node["id"]: [to["pkg"] for to in node["deps"] if any(kind["kind"] is None for kind in to["dep_kinds"])]
        for node in metadata["resolve"]["nodes"]
    }
    found, open_ends = set(), [id for id, name in names.items() if name == "authorizer"]
    while open_ends:
        crate = open_ends.pop()
        if crate not in found:
            found.add(crate)
            open_ends += dependencies[crate]
    assert not FORBIDDEN & {names[crate] for crate in found}
    assert 50 < len(found) <= MAX_CRATES, len(found)


@pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="needs the local stack's build")
def test_the_authorizer_is_small():
    assert BOOTSTRAP.stat().st_size <= MAX_BYTES
