"""What CloudFormation gets: template.yaml through the pinned SAM translator, with two values of each parameter."""

import json
import re
from functools import cache

import boto3
import pytest
from samcli.yamlhelper import yaml_parse
from samtranslator.model import apigateway
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from template import FUNCTIONS, ROOT

from deploy import holds, parameters

TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
DECLARED, CONDITIONS = TEMPLATE["Parameters"], TEMPLATE["Conditions"]
# Another valid value of each parameter that has no other allowed one by its type.
OTHERS = {
    "ExistingUserPoolId": "eu-central-1_abc",
    "ExistingAppClientId": "abc",
    "ExistingKeysTable": "vega-KeysTable-1",
    "ExistingKeysTableStream": "2026-11-30T10:00:00.000",
    "GithubKeysUrl": "https://api.github.com/meta/public_keys/secret_scanning",
    "NoticeMailFrom": "vega@example.com",
    "DomainName": "api.example.com",
    "CertificateArn": "arn:aws:acm:eu-central-1:111122223333:certificate/1",
    "WebAclArn": "arn:aws:wafv2:eu-central-1:111122223333:regional/webacl/vega/1",
    "CorsAllowedOrigin": "https://app.example.com",
    "AlarmEmail": "oncall@example.com",
    "AlarmTopicArn": "arn:aws:sns:eu-central-1:111122223333:alarms",
}
# Without its partner, which the template's rules require, the parameter has no effect.
PARTNERS = {
    "ExistingAppClientId": ("ExistingUserPoolId",),
    "CertificateArn": ("DomainName",),
    "ExistingKeysTableStream": ("ExistingKeysTable",),
}


def other(name: str) -> str:
    declared = DECLARED[name]
    if name in OTHERS:
        return OTHERS[name]
    if "AllowedValues" in declared:
        return next(str(value) for value in declared["AllowedValues"] if str(value) != str(declared["Default"]))
    return str(next(value for value in (declared["MaxValue"], declared["MinValue"]) if value != declared["Default"]))


def values(*names: str) -> dict[str, str]:
    """Every parameter's value: the defaults, with another value of those named."""
    return parameters({"parameters": {}}, TEMPLATE) | {name: other(name) for name in names}


@cache
def transformed(*names: str) -> dict:
    """The translator's resources, with another value of the parameters named."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in template["Resources"].values():
        if "CodeUri" in resource["Properties"]:
            resource["Properties"]["CodeUri"] = "s3://bucket/program"
    session = boto3.Session(region_name="eu-central-1")
    return Translator({}, Parser(), boto_session=session).translate(template, values(*names))["Resources"]


def resolved(node: object, given: dict[str, str]) -> object:
    """What CloudFormation makes of a part of the template: parameters in place, conditions decided."""
    if isinstance(node, list):
        return [value for value in (resolved(one, given) for one in node) if value != {"Ref": "AWS::NoValue"}]
    if not isinstance(node, dict):
        return node
    match list(node.items()):
        case [("Ref", name)] if name in given:
            return given[name]
        case [("Fn::Sub", [str(text), names])]:
            found = {name: resolved(value, given) for name, value in names.items()}
            found = {name: value if isinstance(value, str) else f"${{{value['Ref']}}}" for name, value in found.items()}
            return resolved({"Fn::Sub": text}, given | found)
        case [("Fn::Sub", str(text))]:
            return re.sub(r"\$\{(\w+)\}", lambda found: given.get(found[1], found[0]), text)
        case [("Fn::If", [condition, met, otherwise])]:
            return resolved(met if holds(CONDITIONS[condition], given) else otherwise, given)
    members = {name: resolved(value, given) for name, value in node.items()}
    return {name: value for name, value in members.items() if value != {"Ref": "AWS::NoValue"}}


def deployed(*names: str) -> dict:
    """The resources that CloudFormation creates, without the API's deployment and its stage: its id differs each time."""
    given = values(*names)
    return {
        resource: resolved(one, given)
        for resource, one in transformed(*names).items()
        if one["Type"] not in ("AWS::ApiGateway::Deployment", "AWS::ApiGateway::Stage")
        and ("Condition" not in one or holds(CONDITIONS[one["Condition"]], given))
    }


def deployment(resources: dict) -> str:
    [name] = [name for name, one in resources.items() if one["Type"] == "AWS::ApiGateway::Deployment"]
    return name


def of_type(resources: dict, kind: str) -> dict[str, dict]:
    return {name: one for name, one in resources.items() if one["Type"] == kind}


@pytest.mark.parametrize("name", DECLARED)
def test_a_changed_parameter_changes_what_is_deployed(name: str):
    partner = PARTNERS.get(name, ())
    assert deployed(*partner) != deployed(*partner, name)


@pytest.mark.parametrize("name", DECLARED)
def test_functions_get_the_same_variables_whatever_is_set(name: str):
    def variables(*names: str) -> dict[str, set[str]]:
        functions = of_type(deployed(*names), "AWS::Lambda::Function")
        return {
            function: set(one["Properties"].get("Environment", {}).get("Variables", {})) for function, one in functions.items()
        }

    before, after = variables(), variables(name)
    assert {function: names for function, names in after.items() if function in before} == before


@pytest.mark.parametrize("name", DECLARED)
def test_a_changed_authorizer_and_only_that_is_a_new_version(name: str):
    """API Gateway calls a version: without a new one, the change would have no effect. For an unchanged function, Lambda refuses to
    publish another version."""

    def parts(*names: str) -> tuple[dict, dict]:
        resources = deployed(*names)
        properties = dict(resources["AuthorizerFunction"]["Properties"])
        # The only property that isn't part of a version.
        properties.pop("ReservedConcurrentExecutions", None)
        return properties, of_type(resources, "AWS::Lambda::Version")

    partner = PARTNERS.get(name, ())
    (before, version), (after, new_version) = parts(*partner), parts(*partner, name)
    assert (before == after) == (version == new_version)


def test_the_api_calls_only_a_version_that_was_checked():
    resources = deployed()
    [version] = of_type(resources, "AWS::Lambda::Version")
    assert resources[version]["DeletionPolicy"] == "Delete", "otherwise each deployment would leave a version behind"
    assert resources["AuthorizerCheck"]["Properties"]["Version"] == {"Ref": version}
    assert resources["AuthorizerAlias"]["Properties"]["FunctionVersion"] == {"Fn::GetAtt": ["AuthorizerCheck", "Version"]}
    [api] = of_type(resources, "AWS::ApiGateway::RestApi").values()
    [scheme] = api["Properties"]["Body"]["components"]["securitySchemes"].values()
    assert "/functions/${AuthorizerAlias}/invocations" in str(scheme)
    permissions = of_type(resources, "AWS::Lambda::Permission").items()
    functions = [one["Properties"]["FunctionName"] for name, one in permissions if "Authorizer" in name]
    assert functions == [{"Ref": "AuthorizerAlias"}], "nobody else can call the authorizer"


def test_instances_are_provisioned_unless_the_authorizer_is_closed():
    def provisioned(*names: str) -> object:
        return deployed(*names)["AuthorizerAlias"]["Properties"].get("ProvisionedConcurrencyConfig")

    assert provisioned() is None
    assert provisioned("AuthorizerProvisionedConcurrency") == {"ProvisionedConcurrentExecutions": "10000"}
    assert provisioned("AuthorizerProvisionedConcurrency", "AuthorizerClosed") is None, (
        "it would exceed the reserved concurrency, 0"
    )


def test_only_what_is_kept_leaves_with_the_stacks_own_pool():
    gone = deployed().keys() - deployed("ExistingUserPoolId").keys()
    assert gone == {"UserPool", "UserPoolClient", "RootGroup", "OperatorGroup", "UserGroup"}
    for name in gone:
        assert transformed()[name]["DeletionPolicy"] == "RetainExceptOnCreate", name


def test_an_existing_table_replaces_the_stacks_own_everywhere():
    before, after = deployed(), deployed("ExistingKeysTable", "ExistingKeysTableStream")
    assert before.keys() - after.keys() == {"KeysTable"} and "KeysTable" in json.dumps(before)
    assert '"KeysTable"' not in json.dumps(after) and "${KeysTable" not in json.dumps(after)
    for function, one in of_type(after, "AWS::Lambda::Function").items():
        variables = one["Properties"].get("Environment", {}).get("Variables", {})
        assert variables.get("VEGA_KEYS_TABLE", OTHERS["ExistingKeysTable"]) == OTHERS["ExistingKeysTable"], function
    [stream] = of_type(after, "AWS::Lambda::EventSourceMapping").values()
    label = OTHERS["ExistingKeysTableStream"]
    assert stream["Properties"]["EventSourceArn"].endswith(f":table/{OTHERS['ExistingKeysTable']}/stream/{label}")


def test_a_closed_authorizer_has_no_concurrency():
    def reserved(*names: str) -> object:
        return deployed(*names)["AuthorizerFunction"]["Properties"].get("ReservedConcurrentExecutions")

    assert reserved() is None
    assert reserved("AuthorizerConcurrency") == "10000"
    assert reserved("AuthorizerClosed") == reserved("AuthorizerClosed", "AuthorizerConcurrency") == 0


def test_a_traced_function_may_write_its_traces():
    for names, mode, is_allowed in [((), "PassThrough", False), (("Tracing",), "Active", True)]:
        resources = deployed(*names)
        for function, one in of_type(resources, "AWS::Lambda::Function").items():
            assert one["Properties"]["TracingConfig"] == {"Mode": mode}, function
            role = resources[one["Properties"]["Role"]["Fn::GetAtt"][0]]
            assert ("Tracing" in [policy["PolicyName"] for policy in role["Properties"]["Policies"]]) == is_allowed
    [stage] = of_type(transformed("Tracing"), "AWS::ApiGateway::Stage").values()
    assert resolved(stage["Properties"]["TracingEnabled"], values("Tracing")) is True
    assert resolved(stage["Properties"]["TracingEnabled"], values()) is False


def test_the_access_log_has_the_authorizers_result_and_no_secret():
    [stage] = of_type(transformed(), "AWS::ApiGateway::Stage").values()
    settings = stage["Properties"]["AccessLogSetting"]
    assert resolved({"AccessLogSetting": settings}, values()) == {}
    line = json.loads(resolved(settings, values("AccessLogs"))["Format"])
    assert {"user_id", "key_id", "denied_as", "status", "request_id"} <= line.keys()
    # Only the authorizer's own words, and what names the request: no header, no query, no body.
    allowed = r"\$context\.(authorizer\.[a-zA-Z_]+|requestId|identity\.sourceIp|httpMethod|resourcePath|status|error\.responseType|responseLatency)"
    assert all(re.fullmatch(allowed, value) for value in line.values()), line


def test_every_deployment_reaches_the_stage(monkeypatch: pytest.MonkeyPatch):
    """The translator creates a deployment only if its id changes. A parameter's reference in CORS or in a gateway response doesn't
    change it; with `AlwaysDeploy`, the second does."""
    ids = []
    for second in (1_800_000_000, 1_800_000_001):
        transformed.cache_clear()
        monkeypatch.setattr(apigateway.time, "time", lambda second=second: second)
        ids.append(deployment(transformed("CorsAllowedOrigin")))
    assert ids[0] != ids[1]


@pytest.mark.parametrize("names", [(), ("NoticeMailFrom",), ("ExistingUserPoolId",)])
def test_no_role_is_generated_and_no_log_group_is_forgotten(names: tuple[str, ...]):
    resources = transformed(*names)
    roles, groups = of_type(resources, "AWS::IAM::Role"), of_type(resources, "AWS::Logs::LogGroup")
    assert roles.keys() == {f"{function}Role" for function in FUNCTIONS}
    for function, one in of_type(resources, "AWS::Lambda::Function").items():
        short = function.removesuffix("Function")
        assert one["Properties"]["Role"] == {"Fn::GetAtt": [f"{short}Role", "Arn"]}
        assert one["Properties"]["LoggingConfig"] == {
            "LogFormat": "JSON",
            "SystemLogLevel": "WARN",
            "LogGroup": {"Ref": f"{short}Logs"},
        }
        assert groups[f"{short}Logs"].get("Condition") == one.get("Condition")


def test_the_authorizer_result_lives_as_long_as_its_parameter_says():
    for names, seconds in (((), "0"), (("AuthorizerCacheSeconds",), "3600")):
        [api] = of_type(transformed(*names), "AWS::ApiGateway::RestApi").values()
        [scheme] = api["Properties"]["Body"]["components"]["securitySchemes"].values()
        assert str(scheme["x-amazon-apigateway-authorizer"]["authorizerResultTtlInSeconds"]) == seconds


def test_every_route_but_the_open_ones_names_the_authorizer():
    [api] = of_type(transformed(), "AWS::ApiGateway::RestApi").values()
    open_routes = {
        (method.upper(), path)
        for path, operations in api["Properties"]["Body"]["paths"].items()
        for method, operation in operations.items()
        if method != "options" and operation.get("security") != [{"Vega": []}]
    }
    assert open_routes == {
        ("DELETE", "/v1/session/token"),
        ("GET", "/api-keys"),
        ("GET", "/api-keys/{file+}"),
        ("GET", "/v1/auth/config"),
        ("GET", "/v1/errors"),
        ("GET", "/v1/openapi.json"),
        ("HEAD", "/api-keys"),
        ("POST", "/v1/leaked-keys"),
        ("POST", "/v1/leaked-keys/github"),
        ("POST", "/v1/session/token"),
    }
    assert "aws.auth" not in json.dumps(api), "no route asks for AWS's own signature"
