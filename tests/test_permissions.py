"""On AWS, each function's role would allow every call that the function made during the whole run, and grants no other call.

The emulator ignores roles, so local/recorder.py records the calls, and this test evaluates them against the deployed roles.
"""

import json
import os
from pathlib import Path

import boto3
import iam
import pytest

pytestmark = [
    pytest.mark.last,
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="needs the local stack's record"),
]

# Lambda uses these for the function: it writes the log, reads the table's stream and keeps what failed.
BY_LAMBDA = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "sqs:SendMessage",
}


@pytest.fixture(scope="module")
def roles() -> dict[str, list[dict]]:
    """The statements of each function's role as deployed, by the function's name."""
    names, functions, roles = boto3.client("cloudformation"), boto3.client("lambda"), boto3.client("iam")
    found = {}
    for page in names.get_paginator("list_stack_resources").paginate(StackName="vega-auth"):
        for resource in page["StackResourceSummaries"]:
            if resource["ResourceType"] == "AWS::Lambda::Function":
                function = resource["PhysicalResourceId"]
                role = functions.get_function_configuration(FunctionName=function)["Role"].rpartition("/")[2]
                policies = roles.list_role_policies(RoleName=role)["PolicyNames"]
                documents = [roles.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in policies]
                found[function] = [statement for document in documents for statement in document["Statement"]]
    return found


@pytest.fixture(scope="module")
def calls(roles: dict[str, list[dict]]) -> list[dict]:
    """The calls of this stack's functions."""
    lines = (Path(os.environ["VEGA_LOCAL_STATE"]) / "calls.jsonl").read_text().splitlines()
    return [call for call in map(json.loads, lines) if call["function"] in roles]


def test_every_recorded_call_is_allowed_by_its_functions_role(roles, calls):
    assert len(calls) > 10, "nothing was recorded"
    denied = [
        call for call in calls if not iam.allows(roles[call["function"]], call["action"], call["resource"], call["context"])
    ]
    assert not denied, "\n".join(map(json.dumps, denied))


def test_every_granted_action_was_called_during_the_run(roles, calls):
    granted = {
        (function, action)
        for function, statements in roles.items()
        for one in statements
        for action in iam.listed(one["Action"])
    }
    made = {(call["function"], call["action"]) for call in calls}
    assert not {(function, action) for function, action in granted - made if action not in BY_LAMBDA}
