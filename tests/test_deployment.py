"""`make deploy` against the emulator, with the parts of the template that contain data, which outlive a deployment."""

import contextlib
import io
import os
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import boto3
import build
import pytest
from samcli.yamlhelper import yaml_dump, yaml_parse

import deploy

BUILT = Path(__file__).resolve().parent.parent / ".aws-sam" / "build" / "template.yaml"
DATA = ("KeysTable", "UserPool", "UserPoolClient", "RootGroup", "OperatorGroup", "UserGroup")
NEVER = {
    "NeverSignalled": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
    "Fails": {
        "Type": "AWS::CloudFormation::WaitCondition",
        "DependsOn": list(DATA),
        "Properties": {"Handle": {"Ref": "NeverSignalled"}, "Timeout": "1"},
    },
}

pytestmark = [
    pytest.mark.provider("cognito"),
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="creates a stack beside the local one"),
]


class Deployment:
    """A separate stack, deployed like `make deploy` does."""

    def __init__(self, folder: Path, name: str) -> None:
        self.settings = {"stack": name, "region": os.environ["AWS_DEFAULT_REGION"], "parameters": {}, "tags": {"team": "vega"}}
        self._file = folder / "template.yaml"
        self._cloudformation = boto3.client("cloudformation")

    def deploy(
        self, more: dict | None = None, parts: Sequence[str] = DATA, events: bool = True, **parameters: str | int
    ) -> None:
        """Deploys these resources of the template, by default those that contain data, and `more`; with or without the functions'
        events."""
        template = yaml_parse(BUILT.read_text())
        template["Resources"] = {name: template["Resources"][name] for name in parts}
        for resource_name, resource in template["Resources"].items():
            if "CodeUri" in resource.get("Properties", {}):
                resource["Properties"]["CodeUri"] = str(build.package(resource_name))
                if not events:
                    resource["Properties"].pop("Events", None)
        template["Resources"] |= more or {}
        names = {"ApiId": "Api", "KeysTableName": "KeysTable", "UserPoolId": "KeysTable", "AppClientId": "KeysTable"}
        template["Outputs"] = {name: template["Outputs"][name] for name, part in names.items() if part in parts}
        self._file.write_text(yaml_dump(template))
        self.settings["parameters"] = parameters
        deploy.deploy(self.settings, template)

    def status(self) -> str | None:
        return deploy.status(self._cloudformation, self.settings["stack"])

    def outputs(self) -> dict[str, str]:
        [stack] = self._cloudformation.describe_stacks(StackName=self.settings["stack"])["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def physical(self, name: str) -> str:
        """The physical id of a resource."""
        found = self._cloudformation.describe_stack_resource(StackName=self.settings["stack"], LogicalResourceId=name)
        return found["StackResourceDetail"]["PhysicalResourceId"]

    def replace(self, function: str, script: str) -> None:
        """Replaces a function's program with a shell script, which has a second."""
        program, client, name = io.BytesIO(), boto3.client("lambda"), self.physical(f"{function}Function")
        with zipfile.ZipFile(program, "w") as archive:
            archive.writestr(zipfile.ZipInfo("bootstrap"), f"#!/bin/sh\n{script}\n")
        client.update_function_configuration(FunctionName=name, Timeout=1)
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        client.update_function_code(FunctionName=name, ZipFile=program.getvalue())
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    def tables(self) -> list[str]:
        names = boto3.client("dynamodb").list_tables()["TableNames"]
        return [name for name in names if name.startswith(f"{self.settings['stack']}-")]

    def pools(self) -> list[str]:
        pools = boto3.client("cognito-idp").list_user_pools(MaxResults=60)["UserPools"]
        return [pool["Name"] for pool in pools if pool["Name"] == self.settings["stack"]]


@contextlib.contextmanager
def deployments(folder: Path, name: str) -> Iterator[Deployment]:
    """A stack that is deleted afterwards."""
    created = Deployment(folder, name)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deploy, "BUILT", folder / "template.yaml")
        # By default sam polls every 5 s.
        patched.setenv("SAM_CLI_POLL_DELAY", "0.5")
        yield created
    boto3.client("cloudformation").delete_stack(StackName=name)


@pytest.fixture
def deployment(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    with deployments(tmp_path, f"e2e-{abs(hash(request.node.name)) % 10**6}") as created:
        yield created


def test_a_pool_is_protected_and_can_be_reused_with_its_groups(deployment: Deployment):
    deployment.deploy()
    before, cognito = deployment.outputs(), boto3.client("cognito-idp")
    pool = before["UserPoolId"]
    table = boto3.client("dynamodb").describe_table(TableName=before["KeysTableName"])["Table"]
    protection = cognito.describe_user_pool(UserPoolId=pool)["UserPool"]["DeletionProtection"]
    assert (table["DeletionProtectionEnabled"], protection) == (True, "ACTIVE"), (
        "protected after the first successful deployment"
    )
    cognito.admin_create_user(UserPoolId=pool, Username="ada@example.com", MessageAction="SUPPRESS")
    cognito.admin_add_user_to_group(UserPoolId=pool, Username="ada@example.com", GroupName="operator")

    deployment.deploy(ExistingUserPoolId=pool, ExistingAppClientId=before["AppClientId"])

    assert deployment.outputs() == before
    assert {group["GroupName"] for group in cognito.list_groups(UserPoolId=pool)["Groups"]} == {"root", "operator", "user"}
    groups = cognito.admin_list_groups_for_user(UserPoolId=pool, Username="ada@example.com")["Groups"]
    assert [group["GroupName"] for group in groups] == ["operator"]
    [client] = cognito.list_user_pool_clients(UserPoolId=pool, MaxResults=10)["UserPoolClients"]
    assert client["ClientId"] == before["AppClientId"]


def test_a_failed_first_deployment_blocks_nothing(deployment: Deployment):
    with pytest.raises(subprocess.CalledProcessError):
        deployment.deploy(more=NEVER)
    assert deployment.status() in deploy.NEVER_CREATED

    deployment.deploy()

    assert deployment.status() == "UPDATE_COMPLETE"
    assert len(deployment.tables()) == len(deployment.pools()) == 1, "the first attempt left something"
