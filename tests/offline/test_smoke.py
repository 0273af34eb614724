"""`make smoke`: its report, its comparison with the template, and its clean-up."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import MagicMock, Mock

import boto3
import httpx
import pytest
import smoke
import tomllib
from samcli.yamlhelper import yaml_parse
from smoke import Person, Result, Smoke, Unchecked, attempt, expect, report
from template import ROOT

import deploy

TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
KNOWN = {"a": "the emulator can't"}


def fail(text: str = "") -> Callable:
    def function(*_: object) -> None:
        raise AssertionError(text)

    return function


def cannot(*_: object) -> None:
    raise Unchecked("no second address")


@pytest.mark.parametrize(
    ("name", "function", "expected"),
    [
        ("b", lambda: "3 of them", Result("b", "ok", "3 of them")),
        ("b", fail("403, expected 404"), Result("b", "failed", "403, expected 404")),
        ("b", lambda: {}["x"], Result("b", "failed", "'x'")),
        ("b", cannot, Result("b", "unchecked", "no second address")),
        ("a", fail("403"), Result("a", "known difference", "the emulator can't")),
        ("a", lambda: None, Result("a", "unexpectedly ok", "listed as a known difference: the emulator can't")),
        ("a", cannot, Result("a", "unchecked", "no second address")),
    ],
)
def test_an_outcome_is_compared_with_known_differences(name: str, function: Callable, expected: Result):
    assert attempt(name, function, KNOWN) == expected
    assert expected.is_good == (expected.outcome not in ("failed", "unexpectedly ok"))


def test_the_report_has_a_line_per_check_and_a_summary():
    results = [Result("a", "ok"), Result("b", "failed", "why"), Result("c", "unchecked", "no address"), Result("d", "ok")]
    assert report(results).splitlines() == ["✓ a", "✗ b: why", "– c: no address", "✓ d", "2 ok, 1 failed, 1 unchecked"]


class Deployment:
    """The API and the user pool, as far as the clean-up needs them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.status = 204
        client = boto3.client("cognito-idp", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
        self.person = Person(client, "pool", key_ids=["key-1", "key-2"], _token="token")
        monkeypatch.setattr(client, "admin_delete_user", lambda **_: self.calls.append("delete person"))
        self.smoke = Smoke({"region": "eu-central-1"}, TEMPLATE, person=self.person)
        self.smoke.outputs = {"AppClientId": "client"}
        self.smoke.api = httpx.Client(base_url="http://api", transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer token"
        self.calls.append(f"{request.method} {request.url.path}")
        return httpx.Response(self.status)


CLEANED = ["DELETE /v1/api-keys/key-1", "DELETE /v1/api-keys/key-2", "delete person"]


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Deployment(monkeypatch)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_everything_is_deleted_after_success_and_failure(deployment: Deployment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(smoke, "CHECKS", [("a", fail("broken")), ("b", lambda _: None)])
    results = deployment.smoke.run()
    assert [(one.check, one.outcome) for one in results] == [("a", "failed"), ("b", "ok"), ("clean-up", "ok")]
    assert deployment.calls == CLEANED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_everything_is_deleted_after_ctrl_c(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, number: int):
    monkeypatch.setattr(smoke, "CHECKS", [("a", lambda _: os.kill(os.getpid(), number)), ("b", lambda _: None)])
    answer = deployment.answer

    def impatient(request: httpx.Request) -> httpx.Response:
        os.kill(os.getpid(), number)
        return answer(request)

    deployment.smoke.api = httpx.Client(base_url="http://api", transport=httpx.MockTransport(impatient))
    results = deployment.smoke.run()
    assert [(one.check, one.outcome) for one in results] == [("all checks", "failed"), ("clean-up", "ok")]
    assert deployment.calls == CLEANED, "a second Ctrl-C must not leave anything behind"


def test_what_is_left_is_reported_and_stops_no_other_deletion(deployment: Deployment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(smoke, "CHECKS", [])
    deployment.status = 503
    results = deployment.smoke.run()
    left = [f"key key-{number} isn't revoked (503); it expires within a day" for number in (1, 2)]
    assert results == [Result("clean-up", "failed", detail) for detail in left]
    assert deployment.calls == CLEANED


def test_a_run_that_created_nothing_deletes_nothing(deployment: Deployment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(smoke, "CHECKS", [("a", lambda _: None)])
    deployment.smoke.person = None
    assert deployment.smoke.run() == [Result("a", "ok")] and deployment.calls == []


def test_a_response_is_compared_byte_by_byte(deployment: Deployment):
    deployment.smoke.parameters = deploy.parameters({"parameters": {}}, TEMPLATE)
    status, headers, body = smoke.gateway_response(deployment.smoke, "UNAUTHORIZED")
    headers = {name: value.strip("'") for name, value in headers.items()}
    assert (status, headers["access-control-allow-origin"]) == (401, "*")

    def compare(status: int, headers: dict[str, str], body: str) -> None:
        expect(deployment.smoke, httpx.Response(status, headers=headers, text=body), "UNAUTHORIZED")

    compare(status, headers, body)
    without = {name: value for name, value in headers.items() if name != "www-authenticate"}
    for wrong in ((403, headers, body), (status, headers, body + " "), (status, without, body)):
        with pytest.raises(AssertionError):
            compare(*wrong)


CHECKS = dict(smoke.CHECKS)
RETENTION, ALARM, TTL, GATEWAY, STACK = (
    "every log group has the retention of LogRetentionDays",
    "no alarm is on",
    "the authorizer's result is cached as long as AuthorizerCacheSeconds says",
    "every gateway response is deployed as written",
    "the stack has the parameters of the settings file",
)


def gateway_responses(change: dict[str, dict]) -> Callable:
    """The template's gateway responses as API Gateway has them, one of them changed."""
    found = Smoke({}, TEMPLATE)
    found.parameters = deploy.parameters({"parameters": {}}, TEMPLATE)

    def get(restApiId: str, responseType: str) -> dict:  # noqa: N803
        status, headers, body = smoke.gateway_response(found, responseType)
        return {
            **({"statusCode": str(status)} if status else {}),
            "responseParameters": {f"gatewayresponse.header.{name}": value for name, value in headers.items()},
            "responseTemplates": {"application/json": body},
            **change.get(responseType, {}),
        }

    return get


def alarm(state: str, actions: bool = True) -> dict:
    return {"MetricAlarms": [{"AlarmName": "one", "StateValue": state, "ActionsEnabled": actions}]}


@pytest.mark.parametrize(
    ("name", "call", "answer", "problem"),
    [
        (RETENTION, "describe_log_groups", {"logGroups": [{"logGroupName": "one", "retentionInDays": 30}]}, None),
        (RETENTION, "describe_log_groups", {"logGroups": [{"logGroupName": "one"}]}, "not 30 days: one"),
        (RETENTION, "describe_log_groups", {"logGroups": [{"logGroupName": "one", "retentionInDays": 7}]}, "not 30 days: one"),
        (RETENTION, "describe_log_groups", {"logGroups": []}, "not 30 days: one"),
        (ALARM, "describe_alarms", alarm("OK"), None),
        (ALARM, "describe_alarms", alarm("INSUFFICIENT_DATA"), None),
        (ALARM, "describe_alarms", alarm("ALARM"), "on, or without actions: one"),
        (ALARM, "describe_alarms", alarm("OK", False), "on, or without actions: one"),
        (ALARM, "describe_alarms", {"MetricAlarms": []}, "1 alarms in the stack, 0 in CloudWatch"),
        (TTL, "get_authorizers", {"items": [{"authorizerResultTtlInSeconds": 0}]}, None),
        (TTL, "get_authorizers", {"items": [{"authorizerResultTtlInSeconds": 300}]}, "[300] s"),
        (TTL, "get_authorizers", {"items": [{}]}, "[None] s"),
        (GATEWAY, "get_gateway_response", gateway_responses({}), None),
        (GATEWAY, "get_gateway_response", gateway_responses({"THROTTLED": {"statusCode": "403"}}), "THROTTLED"),
        (GATEWAY, "get_gateway_response", gateway_responses({"DEFAULT_5XX": {"responseTemplates": {}}}), "DEFAULT_5XX"),
        (GATEWAY, "get_gateway_response", gateway_responses({"UNAUTHORIZED": {"responseParameters": {}}}), "UNAUTHORIZED"),
    ],
)
def test_a_check_fails_if_the_deployment_differs(name: str, call: str, answer: object, problem: str | None):
    run, client = Smoke({}, TEMPLATE), MagicMock()
    run.parameters, run.outputs = deploy.parameters({"parameters": {}}, TEMPLATE), {"ApiId": "api"}
    run.client, run.resources = lambda _: client, lambda _: [{"PhysicalResourceId": "one"}]
    if callable(answer):
        getattr(client, call).side_effect = answer
    else:
        getattr(client, call).return_value = answer
    result = attempt(name, lambda: CHECKS[name](run), {})
    assert (result.outcome, result.detail if problem else None) == ("failed" if problem else "ok", problem)


def test_a_stack_that_differs_from_its_settings_is_reported():
    run = Smoke({"parameters": {"KeyLimit": 7}}, TEMPLATE)
    run.parameters = deploy.parameters({"parameters": {}}, TEMPLATE)
    assert attempt(STACK, lambda: CHECKS[STACK](run), {}).detail == "deploy again: KeyLimit"


@pytest.mark.parametrize(("works_for", "bound", "expected"), [(0, 0, 0), (1, 0, None), (7, 8, 8), (8, 8, 8), (9, 8, None)])
def test_a_revoked_key_must_fail_within_the_bound(works_for: int, bound: int, expected: int | None):
    now = [0.0]
    run = Smoke({}, TEMPLATE, clock=lambda: now[0], pause=lambda seconds: now.__setitem__(0, now[0] + seconds))
    asked = Mock(side_effect=lambda _: 200 if now[0] < works_for else 401)
    run.status = asked
    if expected is None:
        with pytest.raises(AssertionError, match="still 200 after"):
            run.wait_until_rejected({}, bound)
    else:
        assert run.wait_until_rejected({}, bound) == expected


@pytest.mark.parametrize(("outcome", "code"), [("ok", 0), ("unchecked", 0), ("failed", 1), ("unexpectedly ok", 1)])
def test_the_exit_code_and_the_json_report_name_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: str, code: int
):
    monkeypatch.setattr(smoke.deploy, "load", lambda *_: {})
    monkeypatch.setattr(Smoke, "run", lambda _: [Result("a", "ok"), Result("b", outcome, "why")])
    monkeypatch.setattr(smoke.sys, "argv", ["smoke.py", "prod", "--json", str(tmp_path / "report.json")])
    assert smoke.main() == code
    written = json.loads((tmp_path / "report.json").read_text())
    assert written[1] == {"check": "b", "outcome": outcome, "detail": "why"}


def test_the_known_differences_name_checks_and_reasons():
    known = tomllib.loads((ROOT / "tests" / "smoke-differences.toml").read_text())
    assert known.keys() <= {name for name, _ in smoke.CHECKS} and all(known.values())
    assert len({name for name, _ in smoke.CHECKS}) == len(smoke.CHECKS)
