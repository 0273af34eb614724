"""The runbook "Restore" of docs/operations.md, on the emulator: with the programs, the roles and the table of a separate stack.

The emulator's restore copies the table as it is, so the test restores first and changes the keys afterwards. Its CloudFormation has
no archive and no reserved concurrency: the test creates the first, and opens the authorizer, through their own APIs.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import architecture
import boto3
import httpx
import pytest
from conftest import bearer, eventually, local_stack
from emulator import make_up_for_the_emulator
from restore import Restore
from samcli.yamlhelper import yaml_dump, yaml_parse

import deploy

BUILD = Path(__file__).resolve().parent.parent / ".aws-sam" / "build"
FUNCTIONS = ("Authorizer", "AuthorizerCheck", "ApiKeys", "Projects", "LeakedKeys", "Owners", "Notifications")
RESOURCES = (
    "Api",
    "AuthorizerAlias",
    "AuthorizerCheck",
    "KeysTable",
    "NotificationsStream",
    "DeadLetters",
    *(f"{function}{part}" for function in FUNCTIONS for part in ("Function", "Role", "Logs")),
)
OUTPUTS = ("ApiId", "KeysTableName", "KeyChangesArchiveName", "NoticeSource", "OwnersFunctionName")

pytestmark = [
    pytest.mark.provider("cognito"),
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="creates a stack beside the local one"),
]


class Deployment:
    """A stack with what decides about keys, which shares the local stack's user pool."""

    def __init__(self, name: str) -> None:
        parameters = {
            "Architecture": architecture.of_host(),
            # Nobody answers there.
            "GithubKeysUrl": "http://127.0.0.1:1/keys",
            "ExistingUserPoolId": os.environ["VEGA_COGNITO_USER_POOL_ID"],
            "ExistingAppClientId": os.environ["VEGA_COGNITO_APP_CLIENT_ID"],
        }
        self.settings = {"stack": name, "region": os.environ["AWS_DEFAULT_REGION"], "parameters": parameters, "tags": {}}
        # The local stack's template.
        self.template = yaml_parse((BUILD / f"{Path(os.environ['VEGA_LOCAL_STATE']).name}.yaml").read_text())
        self.template["Resources"] = {resource: self.template["Resources"][resource] for resource in RESOURCES}
        self.template["Outputs"] = {output: self.template["Outputs"][output] for output in OUTPUTS}
        self.file = BUILD / f"{name}.yaml"
        self.file.write_text(yaml_dump(self.template))

    def deploy(self, **parameters: str) -> None:
        self.settings["parameters"].update(parameters)
        deploy.check_table(self.settings, self.template)
        deploy.sam(self.settings, deploy.parameters(self.settings, self.template))
        local = local_stack()
        make_up_for_the_emulator(local, self.outputs())
        stage = f"{local.aws}/restapis/{self.outputs()['ApiId']}/live/_user_request_"
        self.api = httpx.Client(base_url=stage, timeout=30)

    def outputs(self) -> dict[str, str]:
        return deploy.outputs(boto3.client("cloudformation"), self.settings["stack"])

    def delete(self) -> None:
        cloudformation = boto3.client("cloudformation")
        cloudformation.delete_stack(StackName=self.settings["stack"])
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=self.settings["stack"], WaiterConfig={"Delay": 1})

    def open(self) -> None:
        """What the deployment without AuthorizerClosed does on AWS."""
        function = Restore(self.settings, self.template, datetime.now(UTC)).physical_id("AuthorizerFunction")
        boto3.client("lambda").delete_function_concurrency(FunctionName=function)

    def create(self, user: dict[str, str], name: str) -> dict:
        created = self.api.post("/v1/api-keys", headers=user, json={"name": name})
        assert created.status_code == 201, created.text
        return created.json()

    def status(self, key: dict) -> int:
        """The status that the key gets for a protected route."""
        return self.api.get("/v1/projects", headers=bearer(key["key"])).status_code


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    created = Deployment(f"e2e-{abs(hash(request.node.name)) % 10**6}")
    monkeypatch.setattr(deploy, "BUILT", created.file)
    # By default sam polls every 5 s.
    monkeypatch.setenv("SAM_CLI_POLL_DELAY", "0.5")
    yield created
    created.delete()
    created.file.unlink()


def existing(table: str) -> dict[str, str]:
    """The parameters for an existing table."""
    label = boto3.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamLabel"]
    return {"ExistingKeysTable": table, "ExistingKeysTableStream": label}


def test_a_new_stack_can_use_the_table_of_a_deleted_one(deployment: Deployment, user: dict[str, str]):
    deployment.deploy()
    key, table = deployment.create(user, "e2e retained"), deployment.outputs()["KeysTableName"]
    assert deployment.status(key) == 200
    deployment.delete()

    deployment.deploy(**existing(table))

    assert deployment.outputs()["KeysTableName"] == table
    assert deployment.status(key) == 200
    assert deployment.api.delete(f"/v1/api-keys/{key['id']}", headers=user).status_code == 204
    assert deployment.status(key) == 401


def test_a_restore_brings_no_revoked_key_back(deployment: Deployment, user: dict[str, str]):
    deployment.deploy()
    kept, revoked, leaked, narrowed, disabled = (deployment.create(user, f"e2e {n}") for n in range(5))
    before = deployment.outputs()["KeysTableName"]
    restore = Restore(deployment.settings, deployment.template, datetime.now(UTC), pause=lambda _: None, poll_seconds=1)
    values = restore.restore_table()
    assert deployment.status(kept) == 503, "closed from the beginning of the restore"

    # On AWS, the restored table is older than these changes.
    deployment.open()
    assert deployment.api.delete(f"/v1/api-keys/{revoked['id']}?reason=lost", headers=user).status_code == 204
    assert deployment.api.post("/v1/leaked-keys", json={"key": leaked["key"]}).status_code == 202
    for key, change in ((narrowed, {"scopes": ["projects:read"]}), (disabled, {"status": "disabled"})):
        assert deployment.api.patch(f"/v1/api-keys/{key['id']}", headers=user, json=change).status_code == 200
    lost = deployment.create(user, "e2e created since")
    archive, events = deployment.outputs()["KeyChangesArchiveName"], boto3.client("events")
    eventually(lambda: events.describe_archive(ArchiveName=archive)["EventCount"] == 4)
    restore.close()
    deployment.deploy(**values)
    assert {deployment.status(key) for key in (kept, revoked, leaked, narrowed, disabled)} == {503}, "closed until the replay"

    assert restore.replay() == {"revoked": 2, "disabled": 2}
    deployment.open()

    assert deployment.outputs()["KeysTableName"] == values["ExistingKeysTable"] != before
    assert boto3.client("dynamodb").describe_table(TableName=before)["Table"]["DeletionProtectionEnabled"], (
        "the old one is kept"
    )
    statuses = [deployment.status(key) for key in (kept, revoked, leaked, narrowed, disabled, lost)]
    assert statuses == [200, 401, 401, 401, 401, 401]
    shown = [deployment.api.get(f"/v1/api-keys/{key['id']}", headers=user).json() for key in (revoked, leaked, narrowed)]
    assert [(key["status"], key["revoked_reason"]) for key in shown] == [
        ("revoked", "lost"),
        ("revoked", "leaked"),
        ("disabled", None),
    ]
    enabled = deployment.api.patch(f"/v1/api-keys/{narrowed['id']}", headers=user, json={"status": "active"})
    assert enabled.status_code == 200 and deployment.status(narrowed) == 200, "its owner decides"
    assert restore.replay() == {"revoked": 0, "disabled": 0}, "a replay can be repeated"
    names = boto3.client("events").list_rules(NamePrefix=f"{deployment.settings['stack']}-replay")["Rules"]
    assert names == [], "the replay left its rule"
