"""`make cloudformation`: the plain template deploys the same as the SAM template, whatever the parameters."""

import json
import re
import subprocess

import pytest
from cloudformation import package, plain, write
from samcli.yamlhelper import yaml_dump, yaml_parse
from template import ROOT
from test_transform import CONDITIONS, DECLARED, PARTNERS, deployed, resolved, values

from deploy import holds

REGION = "eu-central-1"
FUNCTIONS = [
    name
    for name, one in yaml_parse((ROOT / "template.yaml").read_text())["Resources"].items()
    if "CodeUri" in one["Properties"]
]
NOT_COMPARED = ("AWS::ApiGateway::Deployment", "AWS::ApiGateway::Stage")


@pytest.fixture(scope="module")
def template() -> dict:
    return plain(yaml_parse((ROOT / "template.yaml").read_text()), dict.fromkeys(FUNCTIONS, "program"), REGION)


def test_the_plain_template_has_no_transform_and_is_valid(template, tmp_path):
    assert "Transform" not in template and "AWS::Serverless" not in json.dumps(template["Resources"])
    (tmp_path / "template.json").write_text(json.dumps(template))
    lint = [ROOT / "local/.venv/tools/bin/cfn-lint", "--region", REGION, "--", tmp_path / "template.json"]
    checked = subprocess.run(lint, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def without_version(resources: dict) -> str:
    """SAM names a version by the function's properties, which have another place of the package."""
    return re.sub(r"(?<=AuthorizerFunctionVersion)[0-9a-f]{10}", "", json.dumps(resources, sort_keys=True))


@pytest.mark.parametrize("name", ["", *DECLARED])
def test_the_plain_template_deploys_what_sam_deploys(template, name):
    names = (*PARTNERS.get(name, ()), name) if name else ()
    given = values(*names) | {"CodeBucket": "bucket"}
    resources = {
        resource: resolved(one, given)
        for resource, one in template["Resources"].items()
        if one["Type"] not in NOT_COMPARED and ("Condition" not in one or holds(CONDITIONS[one["Condition"]], given))
    }
    assert without_version(resources) == without_version(deployed(*names))


def test_a_changed_rules_file_is_a_changed_package_and_template(tmp_path):
    built, written = tmp_path / "build", tmp_path / "cloudformation"
    for name in FUNCTIONS:
        (built / name / "access").mkdir(parents=True)
        (built / name / "bootstrap").write_text(name)
    (built / "template.yaml").write_text(yaml_dump(yaml_parse((ROOT / "template.yaml").read_text())))
    rules = built / "AuthorizerFunction" / "access" / "vega.json"

    versions = []

    def packages() -> dict[str, str]:
        write(built, written, REGION)
        resources = json.loads((written / "template.json").read_text())["Resources"]
        versions.extend(name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Version")
        keys = {name: resources[name]["Properties"]["Code"]["S3Key"] for name in FUNCTIONS}
        assert {path.name for path in written.iterdir()} == {"template.json", *keys.values()}
        return keys

    rules.write_text("{}")
    before = packages()
    assert packages() == before, "the same files have the same package"
    rules.write_text("{ }")
    after = packages()
    assert {name for name in FUNCTIONS if after[name] != before[name]} == {"AuthorizerFunction"}
    assert versions[0] == versions[1] != versions[2], "the alias would keep the old package"
    assert (written / after["AuthorizerFunction"]).read_bytes() == package(built / "AuthorizerFunction")
