"""`make deploy` takes its settings from a file, rejects every mistake in it before anything is built, and asks nothing."""

import boto3
import pytest
from botocore.stub import Stubber
from samcli.yamlhelper import yaml_parse
from template import ROOT

import deploy

TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
HEAD = 'stack = "vega"\nregion = "eu-central-1"\n'


def load(tmp_path, text: str) -> dict:
    path = tmp_path / "prod.toml"
    path.write_text(text)
    return deploy.load(path, TEMPLATE)


def test_the_example_is_complete_and_valid():
    settings = deploy.load(ROOT / "deploy" / "example.toml", TEMPLATE)
    assert settings["parameters"] == {"AlarmEmail": "oncall@example.com"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('stak = "vega"', "stak: no such setting; did you mean stack?"),
        ('region = ""', "region: expected a text"),
        ("parameters = 1", "parameters: expected a table"),
        (HEAD + "[parameters", "prod.toml: "),
        (HEAD + '[parameters]\nAlarmMail = "a@b"', "AlarmMail: no such parameter; did you mean AlarmEmail?"),
        (HEAD + '[parameters]\nAuthProvider = "custom"', "AuthProvider: no such parameter"),
        (HEAD + '[parameters]\nArchitecture = "arm64"', "make deploy ARCH=arm64"),
        (HEAD + "[parameters]\nDeletionProtection = false", "once the first deployment has succeeded"),
        (HEAD + "[parameters]\nOwnersMinutes = 4", "OwnersMinutes: expected 5 to 60"),
        (HEAD + '[parameters]\nOwnersMinutes = "soon"', "OwnersMinutes: expected a whole number"),
        (HEAD + "[parameters]\nLogRetentionDays = 8", "LogRetentionDays: expected one of 7, 14"),
        (HEAD + '[parameters]\nHttpApiResponse = "json"', "expected one of policy, simple"),
        (HEAD + '[parameters]\nCorsAllowedOrigin = "app.example.com"', "CorsAllowedOrigin: doesn't match"),
        (HEAD + "[parameters]\nAlarmEmail = [1]", "AlarmEmail: expected a text"),
        (HEAD + "[tags]\nteam = 1", "tags.team: expected a text"),
        (HEAD + '[tags]\nteam = "a=b"', "tags.team: expected a text without ="),
        (HEAD + '[parameters]\nExistingUserPoolId = "eu-central-1_abc"', "ExistingUserPoolId needs ExistingAppClientId"),
        (HEAD + '[parameters]\nExistingAppClientId = "abc"', "ExistingAppClientId needs ExistingUserPoolId"),
        (HEAD + '[parameters]\nDomainName = "api.example.com"', "DomainName needs CertificateArn"),
        (HEAD + '[parameters]\nCertificateArn = "arn:aws:acm:1"', "CertificateArn needs DomainName"),
    ],
)
def test_a_mistake_is_named_before_anything_is_built(tmp_path, text: str, problem: str):
    with pytest.raises(deploy.Refused) as refused:
        load(tmp_path, text)
    assert problem in str(refused.value)


def test_every_mistake_is_named_at_once(tmp_path):
    with pytest.raises(deploy.Refused) as refused:
        load(tmp_path, 'stak = "vega"\n[parameters]\nKeyLimit = 0\nNope = 1')
    assert len(str(refused.value).splitlines()) == 6, refused.value


def test_a_stage_without_a_file_is_told_how_to_get_one(tmp_path):
    (tmp_path / "test.toml").touch()
    with pytest.raises(deploy.Refused, match=r"prod.toml doesn't exist \(there are test\): copy deploy/example.toml"):
        deploy.load(tmp_path / "prod.toml", TEMPLATE)


def test_every_parameter_is_passed_so_that_every_change_takes_effect(tmp_path):
    settings = load(tmp_path, HEAD + "[parameters]\nKeyLimit = 7")
    values = deploy.parameters(settings, TEMPLATE)
    assert values.keys() == TEMPLATE["Parameters"].keys()
    assert (values["KeyLimit"], values["OwnersMinutes"], values["AlarmEmail"]) == ("7", "5", "")
    assert values["DeletionProtection"] == "true"


def deployments(monkeypatch, status: str | None) -> list[str]:
    """The deployments made of a stack in this state: whether each was protected."""
    client = boto3.client("cloudformation", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(deploy.boto3, "client", lambda *_, **__: client)
    made: list[str] = []
    stack = {"StackName": "vega", "CreationTime": 0, "StackStatus": status}
    with Stubber(client) as stub:
        if status is None:
            stub.add_client_error("describe_stacks", "ValidationError", "Stack with id vega does not exist")
        else:
            stub.add_response("describe_stacks", {"Stacks": [stack]})
        if status in deploy.NEVER_CREATED:
            stub.add_response("delete_stack", {})
            stub.add_response("describe_stacks", {"Stacks": [{**stack, "StackStatus": "DELETE_COMPLETE"}]})
        settings = {"stack": "vega", "region": "eu-central-1", "parameters": {}, "tags": {}}
        deploy.deploy(settings, TEMPLATE, lambda _, values: made.append(values["DeletionProtection"]))
        stub.assert_no_pending_responses()
    return made


@pytest.mark.parametrize("status", [None, "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS"])
def test_a_first_deployment_is_protected_once_it_has_succeeded(monkeypatch, status: str | None):
    assert deployments(monkeypatch, status) == ["false", "true"]


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_a_stack_that_exists_is_updated_and_stays_protected(monkeypatch, status: str):
    assert deployments(monkeypatch, status) == ["true"]


def test_two_deployments_do_not_meet(monkeypatch):
    with pytest.raises(deploy.Refused, match="being changed right now"):
        deployments(monkeypatch, "UPDATE_IN_PROGRESS")
