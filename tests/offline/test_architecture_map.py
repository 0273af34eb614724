"""Every name in ARCHITECTURE.md exists, and everything that it calls absent is absent."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = ("shared", "functions", "fuzz", "local", "tests/budgets", "clippy.toml", "Cargo.toml", "template.yaml")


@cache
def sources() -> dict[str, str]:
    listed = subprocess.check_output(["git", "ls-files", *PLACES], cwd=ROOT, text=True).splitlines()
    return {name: (ROOT / name).read_text() for name in listed if name.endswith((".rs", ".toml", ".yaml", ".py"))}


def exists(name: str) -> bool:
    if route := re.fullmatch(r"[A-Z]+ (/\S+)", name):
        return any(f'"{name}"' in text for text in sources().values()) and route[1] in sources()["template.yaml"]
    if (ROOT / name).exists():
        return True
    if "/" in name or name.endswith((".md", ".toml")):
        return False
    if member := re.fullmatch(r"(\w+)::(\w+)", name):
        owner = re.compile(rf"^\s*(?:pub )?(?:impl\b[^{{]*|trait |enum |struct )\b{member[1]}\b", re.MULTILINE)
        inside = re.compile(rf"\bfn {member[2]}\b|^    {member[2]}\b[,({{ ]", re.MULTILINE)
        return any(
            (owner.search(text) or Path(path).stem == member[1]) and inside.search(text) for path, text in sources().items()
        )
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) for text in sources().values()) or any(
        Path(path).name == name for path in sources()
    )


def missing(page: str) -> set[str]:
    return {name for name in re.findall(r"`([^`]+)`", page) if not exists(name)}


def test_every_name_on_the_architecture_page_exists() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(re.findall(r"`[^`]+`", page)) > 80, "the page was read"
    assert missing(page) == set()


@pytest.mark.parametrize(
    "name",
    [
        "Store::conjure",
        "Conjurer::create",
        "conjure_key",
        "shared/conjurer",
        "GET /v1/conjurer",
        "Fault::Conjured",
        "conjurer.toml",
    ],
)
def test_a_name_that_does_not_exist_is_reported(name: str) -> None:
    assert missing(f"Calls `{name}`.") == {name}


def test_every_crate_is_on_the_architecture_page() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    for crate in [*ROOT.glob("shared/*/Cargo.toml"), *ROOT.glob("functions/*/Cargo.toml")]:
        assert f"`{crate.parent.relative_to(ROOT)}`" in page


def shipped(folder: str) -> str:
    """The code of a crate without its comments and unit tests."""
    code = "".join(text.split("#[cfg(test)]")[0] for name, text in sources().items() if name.startswith(f"{folder}/src/"))
    return re.sub(r"^\s*//.*$", "", code, flags=re.MULTILINE)


def test_shared_auth_reads_no_clock_and_no_environment() -> None:
    assert not re.findall(r"SystemTime::now|Instant::now|env::var|ring::rand|SystemRandom", shipped("shared/auth"))
    dependencies = sources()["shared/auth/Cargo.toml"].split("[dependencies]")[1].split("[dev-dependencies]")[0]
    assert "base64" in dependencies
    assert not re.findall(r"^(?:aws|http|hyper|reqwest|lambda|fastrand|getrandom|rand)", dependencies, re.MULTILINE)


def test_the_authorizer_links_no_sdk() -> None:
    command = ["cargo", "tree", "--locked", "--package", "authorizer", "--edges", "normal", "--prefix", "none"]
    tree = subprocess.check_output(command, cwd=ROOT, text=True)
    assert "vega-key-table" in tree
    assert not re.findall(r"^(?:aws-sdk-\S+|aws-config|reqwest)", tree, re.MULTILINE)


def test_only_the_key_table_and_the_store_spell_keys_of_items() -> None:
    functions = {Path(name).parts[1] for name in sources() if name.startswith("functions/") and name.endswith(".rs")}
    assert "notifications" in functions
    for function in functions:
        assert not re.findall(r'"[KUEIN]#|"used_at"', shipped(f"functions/{function}")), function


def test_functions_behind_the_authorizer_parse_no_token() -> None:
    for function in ("api-keys", "me", "projects"):
        source = shipped(f"functions/{function}")
        assert "current_user(" in source
        assert not re.findall(r"UnverifiedJwt|Credential\b|jsonwebtoken|AUTHORIZATION", source)
