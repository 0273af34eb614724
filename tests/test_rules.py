"""A changed rules file is a changed deployment, and an invalid one is none."""

import os
import shutil
from collections.abc import Callable

import build
import pytest
import stack
from conftest import local_stack

pytestmark = [
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="is about the local stack"),
    pytest.mark.provider("custom"),
]
FUNCTIONS = ("AuthorizerFunction", "ApiKeysFunction")


@pytest.fixture
def save(tmp_path, monkeypatch, capsys) -> Callable[[str], str]:
    """Saves another rules file in a copy of the sources while `make dev` runs there. Returns what it prints."""
    monkeypatch.setenv("CARGO_TARGET_DIR", str(build.ROOT / "target"))
    monkeypatch.setenv("CHECK_RULES", str(build.ROOT / "target" / "debug" / "examples" / "check-rules"))
    for name in ("access", "functions"):
        shutil.copytree(build.ROOT / name, tmp_path / name)
    for name in (*FUNCTIONS, "local"):
        (tmp_path / ".aws-sam" / "build").mkdir(parents=True, exist_ok=True)
        source, copy = build.SAM_BUILD / name, tmp_path / ".aws-sam" / "build" / name
        shutil.copy2(source, copy) if source.is_file() else copy.mkdir()
    shutil.copy2(build.ROOT / "template.yaml", tmp_path)
    # Nothing was compiled since the stack was started.
    monkeypatch.setattr(build, "compile_functions", lambda **_: None)
    for name, value in (("ROOT", tmp_path), ("SAM_BUILD", tmp_path / ".aws-sam" / "build"), ("LOGS", tmp_path)):
        monkeypatch.setattr(build, name, value)
    monkeypatch.setattr(build, "LAID_OUT", build.SAM_BUILD / "local")
    served = local_stack()

    def save(rules: str) -> str:
        before = build.sources()
        (tmp_path / "access" / "vega.json").write_text(rules)
        stack.reload(served, before, build.sources())
        return capsys.readouterr().out

    return save


def test_a_tightened_rule_is_in_force_and_an_invalid_one_is_not(api, user, save):
    def status() -> int:
        return api.get("/v1/projects", headers=user).status_code

    rules = (build.ROOT / "access" / "vega.json").read_text()
    tightened = rules.replace('"groups": ["root", "operator", "user"]', '"groups": ["root"]')
    invalid = tightened.replace('"GET /v1/projects"', '"GET /v1/projects/"', 1)
    assert len({rules, tightened, invalid}) == 3 and status() == 200
    try:
        assert save(tightened).startswith("reloaded: ApiKeysFunction, AuthorizerFunction ")
        assert status() == 403
        printed = save(invalid).splitlines()
        assert any(line.startswith("access/vega.json:") and "a path does not end in /" in line for line in printed)
        assert printed[-1] == "Still serving the previous version. Waiting for the next change."
        assert status() == 403
    finally:
        restored = save(rules)
    assert restored.startswith("reloaded: ") and status() == 200
