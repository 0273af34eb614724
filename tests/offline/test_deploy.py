"""`make deploy` reads its settings from a file, and rejects every mistake in it before anything is built."""

import copy
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from unittest.mock import Mock

import boto3
import pytest
from botocore.stub import Stubber
from samcli.yamlhelper import yaml_parse
from template import ROOT

import deploy

TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
STREAM = "2026-11-30T10:00:00.000"
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
        ('region = ""', "region: expected a string"),
        ("parameters = 1", "parameters: expected a table"),
        (HEAD + "[parameters", "prod.toml: "),
        (HEAD + '[parameters]\nAlarmMail = "a@b"', "AlarmMail: no such parameter; did you mean AlarmEmail?"),
        (HEAD + '[parameters]\nAuthProvider = "custom"', "AuthProvider: no such parameter"),
        (HEAD + '[parameters]\nArchitecture = "arm64"', "make deploy ARCH=arm64"),
        (HEAD + "[parameters]\nDeletionProtection = false", "once the first deployment has succeeded"),
        (HEAD + "[parameters]\nKeyLimit = 0", "KeyLimit: expected 1 to 1000"),
        (HEAD + '[parameters]\nKeyLimit = "many"', "KeyLimit: expected a whole number"),
        (HEAD + "[parameters]\nOwnersMinutes = 7", "OwnersMinutes: expected one of 5, 10, 15, 30, 60"),
        (HEAD + "[parameters]\nLogRetentionDays = 8", "LogRetentionDays: expected one of 7, 14"),
        (HEAD + '[parameters]\nHttpApiResponse = "json"', "expected one of policy, simple"),
        (HEAD + '[parameters]\nCorsAllowedOrigin = "app.example.com"', "CorsAllowedOrigin: doesn't match"),
        (HEAD + "[parameters]\nAlarmEmail = [1]", "AlarmEmail: expected a string"),
        (HEAD + "[tags]\nteam = 1", "tags.team: expected a string"),
        (HEAD + '[tags]\nteam = "a=b"', "tags.team: expected a string without ="),
        (HEAD + '[parameters]\nExistingUserPoolId = "eu-central-1_abc"', "ExistingUserPoolId requires ExistingAppClientId"),
        (HEAD + '[parameters]\nExistingAppClientId = "abc"', "ExistingAppClientId requires ExistingUserPoolId"),
        (HEAD + '[parameters]\nDomainName = "api.example.com"', "DomainName requires CertificateArn"),
        (HEAD + '[parameters]\nExistingKeysTable = "keys-1"', "ExistingKeysTable requires ExistingKeysTableStream"),
        (
            HEAD + f'[parameters]\nExistingKeysTableStream = "{STREAM}"',
            "ExistingKeysTableStream requires ExistingKeysTable",
        ),
        (
            HEAD + "[parameters]\nAuthorizerConcurrency = 9\nAuthorizerProvisionedConcurrency = 10",
            "AuthorizerProvisionedConcurrency exceeds AuthorizerConcurrency",
        ),
        (HEAD + '[parameters]\nCertificateArn = "arn:aws:acm:1"', "CertificateArn requires DomainName"),
    ],
)
def test_a_mistake_is_reported_before_anything_is_built(tmp_path, text: str, problem: str):
    with pytest.raises(deploy.Refused) as refused:
        load(tmp_path, text)
    assert problem in str(refused.value)


@pytest.mark.parametrize("reserved", [0, 10])
def test_concurrency_is_provisioned_within_the_reserved_one(tmp_path, reserved: int):
    load(tmp_path, HEAD + f"[parameters]\nAuthorizerConcurrency = {reserved}\nAuthorizerProvisionedConcurrency = 10")


def test_all_mistakes_are_reported_at_once(tmp_path):
    with pytest.raises(deploy.Refused) as refused:
        load(tmp_path, 'stak = "vega"\n[parameters]\nKeyLimit = 0\nNope = 1')
    assert len(str(refused.value).splitlines()) == 6, refused.value


def test_a_missing_settings_file_is_explained(tmp_path):
    (tmp_path / "test.toml").touch()
    with pytest.raises(deploy.Refused, match=r"prod.toml doesn't exist \(there are test\): copy deploy/example.toml"):
        deploy.load(tmp_path / "prod.toml", TEMPLATE)


def test_every_parameter_is_passed_on_every_deployment(tmp_path):
    settings = load(tmp_path, HEAD + "[parameters]\nKeyLimit = 7")
    values = deploy.parameters(settings, TEMPLATE)
    assert values.keys() == TEMPLATE["Parameters"].keys()
    assert (values["KeyLimit"], values["OwnersMinutes"], values["AlarmEmail"]) == ("7", "5", "")
    assert values["DeletionProtection"] == "true"


NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)


def deployments(monkeypatch, status: str | None, change_sets: Iterable[tuple[str, int]] = ()) -> list[str]:
    """Deploys a stack in this state, with change sets of this status and age in minutes. Returns, for each deployment, whether it
    was protected."""
    client = boto3.client("cloudformation", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(deploy.boto3, "client", lambda *_, **__: client)
    made: list[str] = []
    monkeypatch.setattr(deploy, "datetime", Mock(now=lambda _: NOW))
    stack = {"StackName": "vega", "CreationTime": NOW, "StackStatus": status}
    summaries = [{"Status": state, "CreationTime": NOW - timedelta(minutes=age)} for state, age in change_sets]
    with Stubber(client) as stub:
        if status is None:
            stub.add_client_error("describe_stacks", "ValidationError", "Stack with id vega does not exist")
        else:
            stub.add_response("describe_stacks", {"Stacks": [stack]})
        if status == "REVIEW_IN_PROGRESS":
            stub.add_response("list_change_sets", {"Summaries": summaries}, {"StackName": "vega"})
        if status in deploy.NEVER_CREATED:
            stub.add_response("delete_stack", {})
            stub.add_response("describe_stacks", {"Stacks": [{**stack, "StackStatus": "DELETE_COMPLETE"}]})
        settings = {"stack": "vega", "region": "eu-central-1", "parameters": {}, "tags": {}}
        deploy.deploy(settings, TEMPLATE, lambda _, values: made.append(values["DeletionProtection"]))
        stub.assert_no_pending_responses()
    return made


@pytest.mark.parametrize("status", [None, "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS"])
def test_a_first_deployment_is_protected_after_it_succeeded(monkeypatch, status: str | None):
    assert deployments(monkeypatch, status) == ["false", "true"]


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_an_existing_stack_is_updated_and_stays_protected(monkeypatch, status: str):
    assert deployments(monkeypatch, status) == ["true"]


def test_a_change_set_that_failed_or_is_old_blocks_nothing(monkeypatch):
    assert deployments(monkeypatch, "REVIEW_IN_PROGRESS", [("FAILED", 0), ("CREATE_COMPLETE", 15)]) == ["false", "true"]


@pytest.mark.parametrize("status", ["CREATE_PENDING", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"])
def test_a_concurrent_first_deployment_isnt_deleted(monkeypatch, status: str):
    with pytest.raises(deploy.Refused, match="is being created right now"):
        deployments(monkeypatch, "REVIEW_IN_PROGRESS", [("FAILED", 0), (status, 14)])


def test_a_second_concurrent_deployment_is_rejected(monkeypatch):
    with pytest.raises(deploy.Refused, match="being changed right now"):
        deployments(monkeypatch, "UPDATE_IN_PROGRESS")


def problems_of_table(change: Callable[[dict, dict, dict], object]) -> list[str]:
    """The problems of a table like the template's own, after a change of its descriptions."""
    own = TEMPLATE["Resources"]["KeysTable"]["Properties"]
    table = copy.deepcopy(own) | {"TableStatus": "ACTIVE", "LatestStreamLabel": STREAM, "DeletionProtectionEnabled": True}
    table["StreamSpecification"]["StreamEnabled"] = True
    ttl = {"TimeToLiveStatus": "ENABLED", "AttributeName": "purge_at"}
    backups = {"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"}}
    change(table, ttl, backups)
    return deploy.table_problems(table, ttl, backups, own, STREAM)


def set_to(place: str, value: object) -> Callable[[dict, dict, dict], object]:
    def change(*descriptions: dict) -> None:
        *path, last = place.split(".")
        node = dict(zip(("table", "ttl", "backups"), descriptions, strict=True))
        for name in path:
            node = node[int(name) if name.isdigit() else name]
        node[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (set_to("table.TableStatus", "CREATING"), "it is CREATING, not ACTIVE"),
        (
            set_to("table.KeySchema.1.AttributeName", "sort"),
            "its keys are pk HASH S, sort RANGE None, not pk HASH S, sk RANGE S",
        ),
        (set_to("table.AttributeDefinitions.0.AttributeType", "N"), "its keys are pk HASH N, sk RANGE S"),
        (set_to("table.GlobalSecondaryIndexes", []), "it has no index key-owners"),
        (set_to("table.GlobalSecondaryIndexes.0.KeySchema.0.AttributeName", "owner"), "are owner HASH None, not holder HASH S"),
        (set_to("table.GlobalSecondaryIndexes.0.Projection.NonKeyAttributes", ["groups"]), "lacks the attribute expires_at"),
        (set_to("table.StreamSpecification", {}), "it has no stream"),
        (set_to("table.StreamSpecification.StreamViewType", "KEYS_ONLY"), "its stream has KEYS_ONLY, not NEW_AND_OLD_IMAGES"),
        (set_to("table.LatestStreamLabel", "other"), "ExistingKeysTableStream isn't its stream, other"),
        (set_to("ttl.TimeToLiveStatus", "DISABLED"), "its time to live isn't enabled for the attribute purge_at"),
        (set_to("ttl.AttributeName", "expires_at"), "its time to live isn't enabled for the attribute purge_at"),
        (set_to("backups.PointInTimeRecoveryDescription", {}), "its point-in-time recovery is off"),
        (set_to("table.DeletionProtectionEnabled", False), "it isn't protected from deletion"),
    ],
)
def test_an_existing_table_that_differs_is_rejected(change: Callable, problem: str):
    assert problem in "\n".join(problems_of_table(change))


def test_an_existing_table_like_the_stacks_own_is_accepted():
    assert problems_of_table(lambda *_: None) == []
    everything = {"ProjectionType": "ALL"}
    assert problems_of_table(set_to("table.GlobalSecondaryIndexes.0.Projection", everything)) == []


def test_a_missing_table_is_reported_before_anything_is_created(monkeypatch):
    client = boto3.client("dynamodb", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(deploy.boto3, "client", lambda service, **_: {"dynamodb": client}[service])
    settings = {
        "stack": "vega",
        "region": "eu-central-1",
        "parameters": {"ExistingKeysTable": "keys-1", "ExistingKeysTableStream": STREAM},
        "tags": {},
    }
    with Stubber(client) as stub:
        stub.add_client_error("describe_table", "ResourceNotFoundException")
        with pytest.raises(deploy.Refused, match="there is no table keys-1 in eu-central-1"):
            deploy.deploy(settings, TEMPLATE, lambda *_: pytest.fail("deployed"))
