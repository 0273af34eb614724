"""Checks a deployed stage in about ten minutes: `make smoke STAGE=prod`. It checks what an emulator can't show.

It creates one person in the user pool and some API keys, and deletes or revokes them again, also after Ctrl-C. It needs AWS
credentials with these permissions: apigateway:GET, cloudformation:DescribeStacks, cloudformation:ListStackResources,
cloudwatch:DescribeAlarms, cognito-idp:AdminCreateUser, cognito-idp:AdminDeleteUser, cognito-idp:AdminSetUserPassword,
lambda:InvokeFunction and logs:DescribeLogGroups.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import boto3
import httpx
import tomllib
from botocore.client import BaseClient
from pycognito import AWSSRP

import deploy
from deploy import Refused

# Of the routes that anyone can call, the one with the lowest rate that no person needs: 10 per second, in bursts of 20.
LIMITED_ROUTE, FLOOD = "/v1/openapi.json", 150
# What a schedule and a run may take beyond the interval of the owner sync.
OWNERS_MARGIN_SECONDS = 300
NOBODYS_ADDRESS = "192.0.2.0/24"  # RFC 5737
MARKS = {"ok": "✓", "failed": "✗", "unchecked": "–", "known difference": "≠", "unexpectedly ok": "!"}


class Unchecked(Exception):
    """The reason that something can't be checked here."""


@dataclass
class Result:
    """`outcome` is a key of MARKS."""

    check: str
    outcome: str
    detail: str = ""

    @property
    def is_good(self) -> bool:
        return self.outcome not in ("failed", "unexpectedly ok")


CHECKS: list[tuple[str, Callable[[Smoke], str | None]]] = []


def check(name: str):
    def register(function: Callable[[Smoke], str | None]):
        CHECKS.append((name, function))
        return function

    return register


def attempt(name: str, function: Callable[[], str | None], known: dict[str, str]) -> Result:
    """A check's result, compared with the known differences of the deployment."""
    try:
        result = Result(name, "ok", function() or "")
    except Unchecked as reason:
        return Result(name, "unchecked", str(reason))
    # Whatever goes wrong in one check, the others are made, and everything is cleaned up.
    except Exception as error:
        result = Result(name, "failed", f"{error or type(error).__name__}")
    if name not in known:
        return result
    if result.outcome == "ok":
        return Result(name, "unexpectedly ok", f"listed as a known difference: {known[name]}")
    return Result(name, "known difference", known[name])


def report(results: list[Result]) -> str:
    lines = [f"{MARKS[one.outcome]} {one.check}" + (f": {one.detail}" if one.detail else "") for one in results]
    counts = {outcome: sum(one.outcome == outcome for one in results) for outcome in MARKS}
    return "\n".join([*lines, ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)])


@dataclass
class Smoke:
    settings: dict
    template: dict
    # Otherwise the stack's own.
    url: str | None = None
    # Checks that are known to fail, with the reasons.
    known: dict[str, str] = field(default_factory=dict)
    # Whether to invoke the owner sync instead of waiting for its schedule.
    invokes_owners: bool = False
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    person: Person | None = None

    def run(self) -> list[Result]:
        """Makes every check, and deletes everything that was created, whatever happens meanwhile."""
        results: list[Result] = []
        try:
            with one_interrupt():
                for name, function in CHECKS:
                    results.append(attempt(name, lambda function=function: function(self), self.known))
                    print(report(results[-1:]).splitlines()[0], flush=True)
        except KeyboardInterrupt:
            results.append(Result("all checks", "failed", "stopped before the last one"))
        return results + self.clean_up()

    # --- access -------------------------------------------------------------------------------------------------------

    def client(self, service: str):
        return boto3.client(service, region_name=self.settings["region"])

    @cached_property
    def stack(self) -> dict:
        [stack] = self.client("cloudformation").describe_stacks(StackName=self.settings["stack"])["Stacks"]
        return stack

    @cached_property
    def outputs(self) -> dict[str, str]:
        return {output["OutputKey"]: output["OutputValue"] for output in self.stack["Outputs"]}

    @cached_property
    def parameters(self) -> dict[str, str]:
        return {one["ParameterKey"]: one["ParameterValue"] for one in self.stack["Parameters"]}

    def resources(self, kind: str) -> list[dict]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.settings["stack"])
        return [one for page in pages for one in page["StackResourceSummaries"] if one["ResourceType"] == kind]

    @cached_property
    def api(self) -> httpx.Client:
        return httpx.Client(base_url=self.url or self.outputs["ApiUrl"], timeout=30)

    @property
    def signed_in(self) -> dict[str, str]:
        """The header with the access token of a new person in no group, who exists until the end of the run."""
        if not self.person:
            self.person = Person(self.client("cognito-idp"), self.outputs["UserPoolId"])
        return bearer(self.person.token(self.outputs["AppClientId"]))

    def create_key(self, **members: object) -> dict:
        created = self.api.post(
            "/v1/api-keys", headers=self.signed_in, json={"name": "smoke test", "expires_in_days": 1, **members}
        )
        assert created.status_code == 201, f"a key can't be created: {created.status_code}"
        key = created.json()
        self.person.key_ids.append(key["id"])
        return key

    def status(self, key: dict) -> int:
        """The status that a key gets for a route that is open to everybody with a valid token."""
        return self.api.get("/v1/auth/me", headers=bearer(key["key"])).status_code

    def wait_until_rejected(self, key: dict, within: float) -> float:
        """The seconds until the key is rejected."""
        started = self.clock()
        while (status := self.status(key)) != 401:
            passed = self.clock() - started
            assert passed < within, f"still {status} after {passed:.0f} s"
            self.pause(min(5, within - passed))
        return self.clock() - started

    def clean_up(self) -> list[Result]:
        """Revokes the keys and deletes the person. Returns one result, or a failure for each that is left."""
        if not (person := self.person):
            return []
        failures = []
        for key_id in person.key_ids:

            def revoke(key_id: str = key_id) -> None:
                status = self.api.delete(f"/v1/api-keys/{key_id}", headers=self.signed_in).status_code
                assert status == 204, f"key {key_id} isn't revoked ({status}); it expires within a day"

            failures.append(attempt("clean-up", revoke, {}))
        failures.append(attempt("clean-up", person.delete, {}))
        failures = [one for one in failures if not one.is_good]
        return failures or [Result("clean-up", "ok", f"{len(person.key_ids)} keys revoked, 1 person deleted")]


@dataclass
class Person:
    """A person in the user pool, created with the first sign-in."""

    cognito: BaseClient
    pool: str
    name: str = field(default_factory=lambda: f"vega-smoke-{secrets.token_hex(6)}@example.com")
    key_ids: list[str] = field(default_factory=list)
    _token: str | None = None

    def token(self, client_id: str) -> str:
        if not self._token:
            password = f"Vega-{secrets.token_urlsafe(16)}-1a"
            who = {"UserPoolId": self.pool, "Username": self.name}
            self.cognito.admin_create_user(**who, MessageAction="SUPPRESS")
            self.cognito.admin_set_user_password(**who, Password=password, Permanent=True)
            srp = AWSSRP(username=self.name, password=password, pool_id=self.pool, client_id=client_id, client=self.cognito)
            self._token = srp.authenticate_user()["AuthenticationResult"]["AccessToken"]
        return self._token

    def delete(self) -> None:
        with contextlib.suppress(self.cognito.exceptions.UserNotFoundException):
            self.cognito.admin_delete_user(UserPoolId=self.pool, Username=self.name)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextlib.contextmanager
def one_interrupt() -> Iterator[None]:
    """Turns SIGTERM into Ctrl-C, and ignores both from then on: a second one must not leave anything behind."""

    def interrupt(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        # Not restored: what follows is the clean-up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


# --- what the template promises -------------------------------------------------------------------------------------------


def resolved(value: object, parameters: dict[str, str]) -> str:
    """A header or body of a gateway response, with its parameters in place."""
    text = value["Fn::Sub"] if isinstance(value, dict) else str(value)
    for name, given in parameters.items():
        text = text.replace(f"${{{name}}}", given)
    return text


def gateway_response(smoke: Smoke, kind: str) -> tuple[int | None, dict[str, str], str]:
    """Status, headers and body of a gateway response, as API Gateway's `GetGatewayResponse` has them."""
    response = smoke.template["Resources"]["Api"]["Properties"]["GatewayResponses"][kind]
    headers = {
        name.lower(): resolved(value, smoke.parameters) for name, value in response["ResponseParameters"]["Headers"].items()
    }
    [body] = response["ResponseTemplates"].values()
    return response.get("StatusCode"), headers, resolved(body, smoke.parameters)


def expect(smoke: Smoke, response: httpx.Response, kind: str) -> None:
    """Compares a response with a gateway response of the template, byte by byte."""
    status, headers, body = gateway_response(smoke, kind)
    body = body.replace("$context.authorizer.denied_as", "forbidden")
    assert response.status_code == status, f"status {response.status_code}, expected {status} ({kind})"
    assert response.content == body.encode(), f"{kind}: the body is {response.text[:300]!r}, expected {body!r}"
    for name, value in headers.items():
        found = response.headers.get(name)
        assert found == value.strip("'"), f"{kind}: {name} is {found!r}, expected {value}"


# --- the checks -----------------------------------------------------------------------------------------------------------


@check("the stack has the parameters of the settings file")
def _(smoke: Smoke) -> None:
    wanted = deploy.parameters(smoke.settings, smoke.template) | {"Architecture": smoke.parameters["Architecture"]}
    differ = sorted(name for name, value in wanted.items() if smoke.parameters.get(name) != value)
    assert not differ, f"deploy again: {', '.join(differ)}"


@check("the authorizer's result is cached as long as AuthorizerCacheSeconds says")
def _(smoke: Smoke) -> None:
    authorizers = smoke.client("apigateway").get_authorizers(restApiId=smoke.outputs["ApiId"])["items"]
    ttls = [one.get("authorizerResultTtlInSeconds") for one in authorizers]
    assert ttls == [int(smoke.parameters["AuthorizerCacheSeconds"])], f"{ttls} s"


@check("every gateway response is deployed as written")
def _(smoke: Smoke) -> None:
    gateway, differ = smoke.client("apigateway"), []
    for kind in smoke.template["Resources"]["Api"]["Properties"]["GatewayResponses"]:
        found = gateway.get_gateway_response(restApiId=smoke.outputs["ApiId"], responseType=kind)
        prefix = "gatewayresponse.header."
        headers = {name.removeprefix(prefix).lower(): value for name, value in found["responseParameters"].items()}
        status, wanted, body = gateway_response(smoke, kind)
        if headers != wanted or list(found["responseTemplates"].values()) != [body]:
            differ.append(kind)
        elif status and found.get("statusCode") != str(status):
            differ.append(kind)
    assert not differ, ", ".join(differ)


@check("401 without a token")
def _(smoke: Smoke) -> None:
    expect(smoke, smoke.api.get("/v1/auth/me"), "UNAUTHORIZED")


@check("401 with a token that is none")
def _(smoke: Smoke) -> None:
    expect(smoke, smoke.api.get("/v1/auth/me", headers=bearer("nonsense")), "UNAUTHORIZED")


@check("404 for an unknown path")
def _(smoke: Smoke) -> None:
    expect(smoke, smoke.api.get("/v1/no-such-route"), "MISSING_AUTHENTICATION_TOKEN")


@check("404 for an unknown path with a token")
def _(smoke: Smoke) -> None:
    expect(smoke, smoke.api.get("/v1/no-such-route", headers=smoke.signed_in), "INVALID_SIGNATURE")


@check("403 for a person without the group")
def _(smoke: Smoke) -> None:
    expect(smoke, smoke.api.get("/v1/admin/api-keys?owner=x", headers=smoke.signed_in), "ACCESS_DENIED")


@check("429 beyond the rate limit of an open route")
def _(smoke: Smoke) -> None:
    with ThreadPoolExecutor(30) as pool:
        responses = list(pool.map(lambda _: smoke.api.get(LIMITED_ROUTE), range(FLOOD)))
    throttled = [response for response in responses if response.status_code == 429]
    assert throttled, f"{FLOOD} requests at once were all answered"
    expect(smoke, throttled[0], "THROTTLED")


@check("503 when the authorizer fails")
def _(smoke: Smoke) -> None:
    raise Unchecked("it takes an outage; only the definition of this response was compared")


@check("every log group has the retention of LogRetentionDays")
def _(smoke: Smoke) -> str:
    groups = {one["PhysicalResourceId"] for one in smoke.resources("AWS::Logs::LogGroup")}
    logs, found = smoke.client("logs"), {}
    for group in groups:
        for one in logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            found[one["logGroupName"]] = one.get("retentionInDays")
    days = int(smoke.parameters["LogRetentionDays"])
    wrong = sorted(group for group in groups if found.get(group) != days)
    assert groups and not wrong, f"not {days} days: {', '.join(wrong)}"
    return f"{len(groups)} log groups"


@check("no alarm is on")
def _(smoke: Smoke) -> str:
    names = [one["PhysicalResourceId"] for one in smoke.resources("AWS::CloudWatch::Alarm")]
    found = smoke.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    assert len(found) == len(names) > 0, f"{len(names)} alarms in the stack, {len(found)} in CloudWatch"
    on = [one["AlarmName"] for one in found if one["StateValue"] == "ALARM" or not one["ActionsEnabled"]]
    assert not on, f"on, or without actions: {', '.join(on)}"
    return f"{len(found)} alarms"


@check("a key is created, used, revoked and rejected in time")
def _(smoke: Smoke) -> str:
    key, bound = smoke.create_key(), int(smoke.parameters["AuthorizerCacheSeconds"]) + int(smoke.parameters["KeyCacheSeconds"])
    assert smoke.status(key) == 200, "the new key doesn't work"
    revoked = smoke.api.delete(f"/v1/api-keys/{key['id']}", headers=smoke.signed_in)
    assert revoked.status_code == 204, f"it can't be revoked: {revoked.status_code}"
    seconds = smoke.wait_until_rejected(key, bound)
    return f"rejected after {seconds:.0f} s, at most {bound} s are documented"


@check("a key with networks works from this address only")
def _(smoke: Smoke) -> str:
    known = smoke.create_key()
    assert smoke.status(known) == 200, "the new key doesn't work"
    used = smoke.api.get(f"/v1/api-keys/{known['id']}", headers=smoke.signed_in).json()
    address = ipaddress.ip_address(used["last_used_address"])
    own = f"{address}/{address.max_prefixlen}"
    here, elsewhere = smoke.create_key(cidrs=[own]), smoke.create_key(cidrs=[NOBODYS_ADDRESS])
    assert smoke.status(here) == 200, f"a key for {own} doesn't work from there"
    assert smoke.status(elsewhere) == 401, f"a key for {NOBODYS_ADDRESS} works from {address}"
    return f"a policy with aws:SourceIp {own} allows {address}"


@check("the policy of a key with networks has an aws:SourceIp condition")
def _(smoke: Smoke) -> None:
    key = smoke.create_key(cidrs=[NOBODYS_ADDRESS])
    arn = f"arn:aws:execute-api:{smoke.settings['region']}:000000000000:{smoke.outputs['ApiId']}/live/GET/v1/auth/me"
    event = {
        "type": "REQUEST",
        "methodArn": arn,
        "resource": "/v1/auth/me",
        "path": "/v1/auth/me",
        "httpMethod": "GET",
        "headers": bearer(key["key"]),
        "multiValueHeaders": {name: [value] for name, value in bearer(key["key"]).items()},
        "requestContext": {
            "resourcePath": "/v1/auth/me",
            "httpMethod": "GET",
            "stage": "live",
            "identity": {"sourceIp": "192.0.2.7"},
        },
    }
    answer = smoke.client("lambda").invoke(FunctionName=smoke.outputs["AuthorizerArn"], Payload=json.dumps(event))
    assert "FunctionError" not in answer, "the authorizer rejected the key"
    statements = json.loads(answer["Payload"].read())["policyDocument"]["Statement"]
    ranges = [
        one.get("Condition", {}).get("IpAddress", {}).get("aws:SourceIp") for one in statements if one["Effect"] == "Allow"
    ]
    assert ranges and all(one == [NOBODYS_ADDRESS] for one in ranges), f"{ranges}"


@check("another address can't use a cached decision for a key with networks")
def _(smoke: Smoke) -> None:
    raise Unchecked("it takes a second address; the condition of the policy was checked")


# The last one: it deletes the person.
@check("a deleted person's key is rejected in time")
def _(smoke: Smoke) -> str:
    key, within = smoke.create_key(), int(smoke.parameters["OwnersMinutes"]) * 60 + OWNERS_MARGIN_SECONDS
    assert smoke.status(key) == 200, "the new key doesn't work"
    smoke.person.delete()
    if smoke.invokes_owners:
        event = {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
        smoke.client("lambda").invoke(FunctionName=smoke.outputs["OwnersFunctionName"], Payload=json.dumps(event))
    return f"rejected after {smoke.wait_until_rejected(key, within):.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file, too")
    parser.add_argument("--known", type=Path, metavar="FILE", help="checks that are known to fail, with their reasons (TOML)")
    arguments = parser.parse_args()
    try:
        settings, template = deploy.stage(arguments.stage)
        known = tomllib.loads(arguments.known.read_text()) if arguments.known else {}
        results = Smoke(settings, template, known=known).run()
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    print(f"\n{report(results)}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=2))
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
