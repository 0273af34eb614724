"""What template.yaml must never deploy, whatever the parameters: checked in its conditions and roles, without AWS."""

import json
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent


class Loader(yaml.SafeLoader):
    pass


def tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict:
    value = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else loader.construct_scalar(node)
    return {suffix: value}


Loader.add_multi_constructor("!", tagged)
TEMPLATE = yaml.load((ROOT / "template.yaml").read_text(), Loader)
RESOURCES = TEMPLATE["Resources"]


def holds(expression: dict, values: dict[str, str]) -> bool:
    """Evaluates a condition like CloudFormation."""
    [(function, argument)] = expression.items()
    match function:
        case "Condition":
            return holds(TEMPLATE["Conditions"][argument], values)
        case "Equals":
            left, right = (values[side["Ref"]] if isinstance(side, dict) else side for side in argument)
            return left == right
        case "Not":
            return not holds(argument[0], values)
        case "And":
            return all(holds(part, values) for part in argument)
        case "Or":
            return any(holds(part, values) for part in argument)
    raise AssertionError(f"{function} is not supported by this test")


def is_deployed(resource: str, provider: str, account: str) -> bool:
    defaults = {name: str(parameter.get("Default", "")) for name, parameter in TEMPLATE["Parameters"].items()}
    condition = RESOURCES[resource].get("Condition")
    return condition is None or holds(
        {"Condition": condition}, {**defaults, "AuthProvider": provider, "AWS::AccountId": account}
    )


def test_provider_custom_cannot_be_deployed_to_a_real_account():
    for account, provider, login, stops in (
        ("123456789012", "custom", False, True),
        ("123456789012", "cognito", False, False),
        ("000000000000", "custom", True, False),
        ("000000000000", "cognito", False, False),
    ):
        assert is_deployed("LoginDebugFunction", provider, account) == login
        assert is_deployed("CustomProviderIsForLocalDevelopmentOnly", provider, account) == stops
    # Never signalled, so it fails after a second, and the stack with it.
    assert RESOURCES["CustomProviderIsForLocalDevelopmentOnly"]["Type"] == "AWS::CloudFormation::WaitCondition"
    assert RESOURCES["CustomProviderIsForLocalDevelopmentOnly"]["Properties"]["Handle"] == {"Ref": "NeverSignalled"}


def test_no_decision_is_cached_and_access_tokens_live_an_hour():
    assert TEMPLATE["Parameters"]["AuthorizerCacheSeconds"]["Default"] == 0
    [authorizer] = RESOURCES["Api"]["Properties"]["Auth"]["Authorizers"].values()
    assert authorizer["Identity"]["ReauthorizeEvery"] == {"Ref": "AuthorizerCacheSeconds"}
    client = RESOURCES["UserPoolClient"]["Properties"]
    assert (client["AccessTokenValidity"], client["TokenValidityUnits"]["AccessToken"]) == (60, "minutes")


def test_a_domain_closes_the_execute_api_address_on_aws():
    assert RESOURCES["Api"]["Properties"]["DisableExecuteApiEndpoint"] == {"If": ["ServesDomainOnly", True, False]}
    assert RESOURCES["Api"]["Properties"]["AlwaysDeploy"], "otherwise it takes effect only at the next change of the API"
    for account, domain, is_closed in (
        ("123456789012", "api.vega.example.com", True),
        ("123456789012", "", False),
        ("000000000000", "api.vega.localhost", False),
    ):
        values = {"AWS::AccountId": account, "DomainName": domain}
        assert holds({"Condition": "ServesDomainOnly"}, values) == is_closed
    for output in ("ApiUrl", "DashboardUrl"):
        condition, closed, is_open = TEMPLATE["Outputs"][output]["Value"]["If"]
        assert condition == "ServesDomainOnly" and "execute-api" in is_open["Sub"]
        assert closed["Sub"].startswith("https://${DomainName}")


def test_cognito_is_the_default():
    assert TEMPLATE["Parameters"]["AuthProvider"]["Default"] == "cognito"


def names(resource: dict | str) -> str:
    """The resource of a role's statement, as written in the template."""
    return str(next(iter(resource.values())) if isinstance(resource, dict) else resource)


def test_each_role_allows_only_its_functions_actions():
    table, index, elsewhere = {}, {}, {}
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        table[name], index[name], elsewhere[name] = [], [], {}
        for one in (one for policy in resource["Properties"].get("Policies", []) for one in policy["Statement"]):
            assert one["Effect"] == "Allow"
            actions = [one["Action"]] if isinstance(one["Action"], str) else one["Action"]
            match names(one["Resource"]):
                case "KeysTable.Arn":
                    table[name] += [action.removeprefix("dynamodb:") for action in actions]
                case "${KeysTable.Arn}/index/key-owners":
                    index[name] += actions
                case other:
                    elsewhere[name][other] = sorted(actions)
    assert {name: sorted(actions) for name, actions in table.items()} == {
        "AuthorizerFunction": ["Query", "UpdateItem"],
        "ApiKeysFunction": ["BatchGetItem", "ConditionCheckItem", "GetItem", "PutItem", "Query", "UpdateItem"],
        "LeakedKeysFunction": ["PutItem", "Query", "UpdateItem"],
        "OwnersFunction": ["BatchGetItem", "ConditionCheckItem", "GetItem", "PutItem", "UpdateItem"],
        "NotificationsFunction": ["GetItem", "PutItem", "Query"],
        "MailFunction": [],
        "MeFunction": [],
        "ProjectsFunction": [],
        "DashboardFunction": [],
        "OpenApiFunction": [],
        "LoginDebugFunction": [],
    }
    # No function that decides about requests reads the index.
    assert {name for name, actions in index.items() if actions} == {"OwnersFunction", "NotificationsFunction"}
    assert all(actions in ([], ["dynamodb:Scan"]) for actions in index.values())
    pool = str(["MakesUserPool", {"GetAtt": "UserPool.Arn"}, {"Sub": POOL_ARN}])
    assert {name: others for name, others in elsewhere.items() if others} == {
        "OwnersFunction": {pool: ["cognito-idp:AdminGetUser", "cognito-idp:AdminListGroupsForUser"]},
        "NotificationsFunction": {
            "KeysTable.StreamArn": ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
            "*": ["dynamodb:ListStreams"],
            "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/default": ["events:PutEvents"],
            "NotificationsDeadLetters.Arn": ["sqs:SendMessage"],
        },
        "MailFunction": {
            pool: ["cognito-idp:AdminGetUser"],
            "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*": ["ses:SendEmail"],
        },
    }


POOL_ARN = "arn:${AWS::Partition}:cognito-idp:${AWS::Region}:${AWS::AccountId}:userpool/${ExistingUserPoolId}"


def test_functions_that_need_a_pool_are_deployed_only_with_one():
    for provider, mail, deployed in (
        ("cognito", "", {"OwnersFunction"}),
        ("cognito", "vega@example.com", {"OwnersFunction", "MailFunction"}),
        ("custom", "vega@example.com", set()),
    ):
        values = {name: str(parameter.get("Default", "")) for name, parameter in TEMPLATE["Parameters"].items()}
        values |= {"AuthProvider": provider, "AWS::AccountId": "000000000000", "NoticeMailFrom": mail}
        found = {
            name for name in ("OwnersFunction", "MailFunction") if holds({"Condition": RESOURCES[name]["Condition"]}, values)
        }
        assert found == deployed


def test_the_open_routes_for_leaked_keys_have_a_rate_limit():
    limited = {
        setting["ResourcePath"].removeprefix("/").replace("~1", "/"): setting["ThrottlingRateLimit"]
        for setting in RESOURCES["Api"]["Properties"]["MethodSettings"]
    }
    assert limited == {"/v1/leaked-keys": 5, "/v1/leaked-keys/github": 5}


def routes() -> dict[tuple[str, str], bool]:
    """Method and path of each route, and whether it is open, that is, without the authorizer."""
    events = [event for one in RESOURCES.values() for event in one.get("Properties", {}).get("Events", {}).values()]
    return {
        (route["Method"], route["Path"]): route.get("Auth", {}).get("Authorizer") == "NONE"
        for route in (event["Properties"] for event in events if event["Type"] == "Api")
    }


def test_only_the_listed_routes_have_no_authorizer():
    auth = RESOURCES["Api"]["Properties"]["Auth"]
    assert auth["DefaultAuthorizer"] in auth["Authorizers"]
    open_routes = {path for (_, path), is_open in routes().items() if is_open}
    assert open_routes == {
        "/v1/auth/login",
        "/v1/auth/refresh",
        "/v1/auth/config",
        "/api-keys",
        "/api-keys/{file+}",
        "/v1/leaked-keys",
        "/v1/leaked-keys/github",
        "/v1/openapi.json",
    }


def test_gateway_responses_are_readable_and_as_documented():
    responses = RESOURCES["Api"]["Properties"]["GatewayResponses"]
    for kind, response in responses.items():
        headers = response["ResponseParameters"]["Headers"]
        assert headers["Content-Type"] == "'application/problem+json'", kind
        assert headers["Access-Control-Allow-Origin"], kind
    for kind, status, error in (
        ("UNAUTHORIZED", 401, "invalid_token"),
        ("ACCESS_DENIED", 403, "$context.authorizer.denied_as"),
        ("AUTHORIZER_FAILURE", 503, "temporarily_unavailable"),
        ("AUTHORIZER_CONFIGURATION_ERROR", 503, "temporarily_unavailable"),
    ):
        [body] = responses[kind]["ResponseTemplates"].values()
        problem = yaml.safe_load(body)
        assert (responses[kind]["StatusCode"], problem["status"], problem["error"]) == (status, status, error)
    # The authorizer always sets this word: functions/authorizer/src/policy.rs.
    assert "insufficient_scope" in responses["ACCESS_DENIED"]["ResponseParameters"]["Headers"]["WWW-Authenticate"]
    assert "Retry-After" in responses["AUTHORIZER_FAILURE"]["ResponseParameters"]["Headers"]


def test_each_function_gets_exactly_the_variables_it_reads():
    asked = subprocess.run(
        ["cargo", "run", "--quiet", "--locked", "-p", "vega-variables"], cwd=ROOT, capture_output=True, check=True
    )
    functions = [one["Properties"] for one in RESOURCES.values() if one["Type"] == "AWS::Serverless::Function"]
    given = {one["CodeUri"].removeprefix("functions/"): sorted(one["Environment"]["Variables"]) for one in functions}
    assert given == json.loads(asked.stdout)
    assert "Environment" not in TEMPLATE["Globals"]["Function"], "it would reach functions that don't read it"
    # A variable that a main reads by itself wouldn't be listed.
    assert not [main for main in ROOT.glob("functions/*/src/main.rs") if "VEGA_" in main.read_text()]


def test_the_default_rules_leave_room_for_other_variables():
    rules = TEMPLATE["Parameters"]["AccessRules"]["Default"]
    assert len(rules.encode()) < 2500 and "scopes" in yaml.safe_load(rules)


def test_every_function_on_aws_has_a_log_group_with_retention():
    groups = {
        resource["Properties"]["LogGroupName"]["Sub"]: (resource["Properties"]["RetentionInDays"], resource.get("Condition"))
        for resource in RESOURCES.values()
        if resource["Type"] == "AWS::Logs::LogGroup"
    }
    assert groups == {
        f"/aws/lambda/${{{name}}}": ({"Ref": "LogRetentionDays"}, resource.get("Condition"))
        for name, resource in RESOURCES.items()
        # The debug login is never deployed to AWS.
        if resource["Type"] == "AWS::Serverless::Function" and name != "LoginDebugFunction"
    }


def test_a_fault_that_is_answered_with_503_triggers_an_alarm():
    for function in ("Authorizer", "ApiKeys", "LeakedKeys"):
        metric_filter = RESOURCES[f"{function}Faults"]["Properties"]
        assert metric_filter["LogGroupName"] == {"Ref": f"{function}Logs"}
        # The outcome that vega_http::serve and the authorizer log.
        assert metric_filter["FilterPattern"] == '{ $.outcome = "fault" }'
        [metric] = metric_filter["MetricTransformations"]
        alarm = RESOURCES[f"{function}FaultsAlarm"]["Properties"]
        assert (alarm["Namespace"], alarm["MetricName"]) == (metric["MetricNamespace"], metric["MetricName"])
        assert alarm["AlarmActions"] == {"If": ["TellsSomebody", [{"Ref": "AlarmTopic"}], []]}


def test_the_table_outlives_the_stack_and_can_be_restored():
    table = RESOURCES["KeysTable"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
    assert table["Properties"]["SSESpecification"]["SSEEnabled"]
