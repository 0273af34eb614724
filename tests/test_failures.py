"""Failures that the emulator can produce show in the metrics that the alarms watch. docs/operations.md lists the others."""

import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from conftest import eventually
from samcli.yamlhelper import yaml_parse
from test_deployment import Deployment, deployments

ROOT = Path(__file__).resolve().parent.parent
RESOURCES = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]
FUNCTIONS = ("Authorizer", "ApiKeys", "LeakedKeys", "Notifications")
FAULTY = FUNCTIONS[:3]
KEY = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT"

# Without the SDK's own retries of a throttled call.
ONCE = Config(retries={"total_max_attempts": 1})
# Shell scripts in place of a program. The second starts like a runtime, because Lambda allows 10 s for that.
FAILURES = {
    "crash": "exit 1",
    "timeout": 'curl -s "$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next"; exec sleep 20',
}

pytestmark = [
    pytest.mark.provider("cognito"),
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="creates a stack beside the local one"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployments(tmp_path_factory.mktemp("failures"), "e2e-failures") as created:
        parts = ["KeysTable", "DeadLetters", *(f"{name}{part}" for name in FUNCTIONS for part in ("Function", "Role", "Logs"))]
        # The functions' events need an API. They are invoked directly.
        created.deploy(
            parts=parts,
            events=False,
            ExistingUserPoolId=os.environ["VEGA_COGNITO_USER_POOL_ID"],
            ExistingAppClientId=os.environ["VEGA_COGNITO_APP_CLIENT_ID"],
        )
        yield created


def event(sample: str) -> dict:
    return json.loads((ROOT / "events" / f"{sample}.json").read_text())


EVENTS = {
    "Authorizer": event("authorizer/unknown-key"),
    "ApiKeys": event("api-keys/list"),
    "LeakedKeys": event("leaked-keys/report"),
    "Notifications": event("notifications/schedule"),
}


def invoke(stack: Deployment, function: str) -> tuple[bool, dict]:
    """Whether Lambda reports an error, and the response."""
    answer = boto3.client("lambda", config=ONCE).invoke(
        FunctionName=stack.physical(f"{function}Function"), Payload=json.dumps(EVENTS[function])
    )
    return "FunctionError" in answer, json.loads(answer["Payload"].read() or b"null")


def watched(stack: Deployment, alarm: str, function: str) -> float | None:
    """The value of the metric that an alarm watches for a function, or None without datapoints."""
    properties = RESOURCES[alarm]["Properties"]
    metrics = [part["MetricStat"]["Metric"] for part in properties.get("Metrics", []) if "MetricStat" in part] or [properties]
    dimension = {"Name": "FunctionName", "Value": {"Ref": f"{function}Function"}}
    [metric] = [metric for metric in metrics if metric["Dimensions"] == [dimension]]
    now = datetime.now(timezone.utc)
    [statistic] = {part["MetricStat"]["Stat"] for part in properties.get("Metrics", []) if "MetricStat" in part} or {
        properties.get("Statistic")
    }
    found = boto3.client("cloudwatch").get_metric_statistics(
        Namespace=metric["Namespace"],
        MetricName=metric["MetricName"],
        Dimensions=[{"Name": "FunctionName", "Value": stack.physical(f"{function}Function")}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=7200,
        Statistics=[statistic],
    )["Datapoints"]
    return sum(point[statistic] for point in found) if found else None


def faults(stack: Deployment, function: str) -> int:
    """The lines that the function's metric filter counts. The emulator stores filters and doesn't apply them."""
    wanted = re.fullmatch(r'\{ \$\.(\w+) = "(\w+)" \}', RESOURCES[f"{function}Faults"]["Properties"]["FilterPattern"])
    pages = boto3.client("logs").get_paginator("filter_log_events").paginate(logGroupName=stack.physical(f"{function}Logs"))
    lines = [event["message"] for page in pages for event in page["events"] if event["message"].startswith("{")]
    return sum(json.loads(line).get(wanted[1]) == wanted[2] for line in lines)


def alarm_of_errors(function: str) -> str:
    return "NotificationsErrorsAlarm" if function == "Notifications" else "FunctionErrorsAlarm"


def test_a_function_that_never_ran_has_no_invocations(stack: Deployment):
    """Which the alarm takes for a failure: its missing data is breaching."""
    assert watched(stack, "NotificationsSilenceAlarm", "Notifications") is None
    assert RESOURCES["NotificationsSilenceAlarm"]["Properties"]["TreatMissingData"] == "breaching"
    invoke(stack, "Notifications")
    assert watched(stack, "NotificationsSilenceAlarm", "Notifications") == 1


def test_a_fault_is_answered_with_503_and_counted(stack: Deployment):
    assert [faults(stack, function) for function in FAULTY] == [0, 0, 0]
    for function in FAULTY:
        failed, answer = invoke(stack, function)
        assert failed == (function == "Authorizer") and answer.get("statusCode") != 503, answer
    assert [faults(stack, function) for function in FAULTY] == [0, 0, 0], "a rejection isn't a fault"

    dynamodb, table = boto3.client("dynamodb"), stack.physical("KeysTable")
    dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
    dynamodb.delete_table(TableName=table)
    for function in FAULTY:
        failed, answer = invoke(stack, function)
        # API Gateway turns any error but Unauthorized into 503.
        assert answer["errorMessage"] != "Unauthorized" if failed else answer["statusCode"] == 503, answer
        assert eventually(lambda function=function: faults(stack, function)) == 1, function


def test_an_error_of_a_run_is_counted(stack: Deployment):
    before = watched(stack, "NotificationsErrorsAlarm", "Notifications") or 0
    failed, _ = invoke(stack, "Notifications")
    assert failed and watched(stack, "NotificationsErrorsAlarm", "Notifications") == before + 1


@pytest.mark.parametrize("function", ["ApiKeys", "LeakedKeys", "Notifications"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_crash_and_a_timeout_are_counted(stack: Deployment, function: str, failure: str):
    before = watched(stack, alarm_of_errors(function), function) or 0
    stack.replace(function, FAILURES[failure])
    failed, _ = invoke(stack, function)
    assert failed and watched(stack, alarm_of_errors(function), function) == before + 1


def test_throttling_is_counted(stack: Deployment):
    client = boto3.client("lambda")
    for function in FAULTY:
        client.put_function_concurrency(FunctionName=stack.physical(f"{function}Function"), ReservedConcurrentExecutions=0)
        before = watched(stack, "ThrottlesAlarm", function) or 0
        with pytest.raises(client.exceptions.TooManyRequestsException):
            invoke(stack, function)
        assert watched(stack, "ThrottlesAlarm", function) > before
