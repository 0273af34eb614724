"""A changed rules file is a changed deployment: by `sam deploy`, and when `make dev` starts again."""

import io
import zipfile

import architecture
import boto3
import build
import pytest
import stack
from samcli.lib.package.s3_uploader import S3Uploader
from samcli.lib.package.utils import make_zip_with_lambda_permissions, zip_and_upload

FUNCTIONS = ("ApiKeysFunction", "AuthorizerFunction", "MeFunction")


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A build of three functions, of which two read the rules."""
    folder = tmp_path / "build"
    for name in FUNCTIONS:
        (folder / name / "access").mkdir(parents=True)
        (folder / name / "bootstrap").write_text(name)
    monkeypatch.setattr(build, "SAM_BUILD", folder)

    def write(rules: str):
        for name in ("ApiKeysFunction", "AuthorizerFunction"):
            (folder / name / "access" / "vega.json").write_text(rules)
        for name, content in build.built().items():
            build.update_package(name, content)
        return folder

    return write


def test_sam_uploads_changed_rules_under_another_name(built, monkeypatch):
    monkeypatch.setattr(S3Uploader, "upload", lambda _, _file, path: path)
    uploader = S3Uploader(boto3.client("s3", region_name="eu-central-1"), "bucket")

    def uploaded(rules: str) -> str:
        return zip_and_upload(str(built(rules) / "AuthorizerFunction"), uploader, None, make_zip_with_lambda_permissions)

    before = uploaded('{"rules":[]}')
    assert uploaded('{"rules":[]}') == before, "the same files aren't a change"
    assert uploaded('{"rules": []}') != before


def rules_in(package: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return archive.read("access/vega.json").decode()


def test_a_second_start_serves_changed_rules(built, tmp_path, monkeypatch):
    deployments, updates = [], []
    monkeypatch.setattr(architecture, "check", lambda *_: None)
    template = tmp_path / "custom.yaml"
    template.write_text("Resources: {}")
    for name, value in (
        ("template", lambda _: template),
        ("settings", lambda _: {"auth_secret": "x"}),
        ("is_deployed", lambda _: bool(deployments)),
        ("run", lambda step, *_arguments, **_options: deployments.append(step)),
        ("update_packages", lambda _, packages: updates.append({name: rules_in(one) for name, one in packages.items()})),
        ("make_up_for_the_emulator", lambda *_: None),
    ):
        monkeypatch.setattr(stack, name, value)
    monkeypatch.setattr(stack.Stack, "outputs", lambda _: {})
    started = stack.Stack("custom", 8150, tmp_path)

    for rules in ('{"rules":[]}', '{"rules":[]}', '{"rules": []}'):
        built(rules)
        stack.deploy(started)

    assert deployments == ["deploy template.yaml"], "only the first start runs sam deploy"
    assert updates == [dict.fromkeys(("ApiKeysFunction", "AuthorizerFunction"), '{"rules": []}')], (
        "only the third one has other rules"
    )
