"""What template.yaml must never deploy, whatever the parameters: checked in its conditions and roles, without AWS."""

import json
import subprocess

import yaml
from template import CUSTOM, FUNCTIONS, RESOURCES, ROOT, TEMPLATE, functions


def test_nothing_of_the_debug_login_is_deployed_to_aws():
    text = (ROOT / "template.yaml").read_text()
    for word in ("custom", "DebugLogin", "debug", "AuthSecret", "VEGA_AUTH_SECRET", "000000000000"):
        assert word not in text, word
    assert not [name for name, one in TEMPLATE["Parameters"].items() if one.get("NoEcho")], "a deployment needs no secret"


def test_the_debug_login_replaces_the_user_pool():
    assert functions(CUSTOM).keys() == FUNCTIONS.keys() - {"Owners", "Mail", "Session"} | {"LoginDebug"}
    assert not [name for name, one in CUSTOM["Resources"].items() if one["Type"].startswith("AWS::Cognito::")]
    variables = CUSTOM["Resources"]["AuthorizerFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["VEGA_AUTH_PROVIDER"] == "custom" and not [name for name in variables if "COGNITO" in name]
    # Nothing refers to a removed resource.
    text = str(CUSTOM)
    for gone in RESOURCES.keys() - CUSTOM["Resources"].keys():
        assert f"'{gone}'" not in text and f"'{gone}." not in text, gone


def test_no_decision_is_cached_and_access_tokens_live_an_hour():
    assert TEMPLATE["Parameters"]["AuthorizerCacheSeconds"]["Default"] == 0
    [authorizer] = RESOURCES["Api"]["Properties"]["Auth"]["Authorizers"].values()
    assert authorizer["Identity"]["ReauthorizeEvery"] == {"Ref": "AuthorizerCacheSeconds"}
    client = RESOURCES["UserPoolClient"]["Properties"]
    assert (client["AccessTokenValidity"], client["TokenValidityUnits"]["AccessToken"]) == (60, "minutes")


def test_a_domain_closes_the_execute_api_address():
    assert RESOURCES["Api"]["Properties"]["DisableExecuteApiEndpoint"] == {"If": ["HasDomain", True, False]}
    assert RESOURCES["Api"]["Properties"]["AlwaysDeploy"], "otherwise it takes effect only at the next change of the API"
    for output in ("ApiUrl", "DashboardUrl"):
        condition, closed, is_open = TEMPLATE["Outputs"][output]["Value"]["If"]
        assert condition == "HasDomain" and "execute-api" in is_open["Sub"]
        assert closed["Sub"].startswith("https://${DomainName}")


def routes(template: dict = TEMPLATE) -> dict[tuple[str, str], bool]:
    """Method and path of each route, and whether it is open, that is, without the authorizer."""
    events = [event for one in template["Resources"].values() for event in one.get("Properties", {}).get("Events", {}).values()]
    return {
        (route["Method"], route["Path"]): route.get("Auth", {}).get("Authorizer") == "NONE"
        for route in (event["Properties"] for event in events if event["Type"] == "Api")
    }


def test_every_open_route_has_a_rate_limit():
    limited = {
        (setting["HttpMethod"], setting["ResourcePath"].removeprefix("/").replace("~1", "/")): setting["ThrottlingRateLimit"]
        for setting in RESOURCES["Api"]["Properties"]["MethodSettings"]
    }
    assert limited.keys() == {route for route, is_open in routes().items() if is_open}
    assert sum(limited.values()) < 1000, "in total at most a tenth of an account's default"


def test_only_the_listed_routes_have_no_authorizer():
    auth = RESOURCES["Api"]["Properties"]["Auth"]
    assert auth["DefaultAuthorizer"] in auth["Authorizers"]
    open_routes = {path for (_, path), is_open in routes().items() if is_open}
    assert open_routes == {
        "/v1/auth/config",
        "/api-keys",
        "/api-keys/{file+}",
        "/v1/leaked-keys",
        "/v1/leaked-keys/github",
        "/v1/errors",
        "/v1/openapi.json",
        "/v1/session/token",
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
        ("MISSING_AUTHENTICATION_TOKEN", 404, "not_found"),
        ("INVALID_SIGNATURE", 404, "not_found"),
        ("RESOURCE_NOT_FOUND", 404, "not_found"),
    ):
        [body] = responses[kind]["ResponseTemplates"].values()
        problem = yaml.safe_load(body)
        assert (responses[kind]["StatusCode"], problem["status"], problem["error"]) == (status, status, error)
    # The authorizer always sets this word: functions/authorizer/src/response.rs.
    assert "insufficient_scope" in responses["ACCESS_DENIED"]["ResponseParameters"]["Headers"]["WWW-Authenticate"]
    assert "Retry-After" in responses["AUTHORIZER_FAILURE"]["ResponseParameters"]["Headers"]


def test_each_function_gets_exactly_the_variables_it_reads():
    asked = subprocess.run(
        ["cargo", "run", "--quiet", "--locked", "-p", "vega-variables"], cwd=ROOT, capture_output=True, check=True
    )
    given: dict[str, set[str]] = {}
    # The templates with a user pool and with the debug login together set every variable that the code reads.
    for template in (TEMPLATE, CUSTOM):
        for name, one in functions(template).items():
            package = "login-debug" if name == "LoginDebug" else one["Properties"]["CodeUri"].removeprefix("functions/")
            given.setdefault(package, set()).update(one["Properties"].get("Environment", {}).get("Variables", {}))
    assert {name: sorted(variables) for name, variables in given.items()} == json.loads(asked.stdout)
    assert "Environment" not in TEMPLATE["Globals"]["Function"], "it would reach functions that don't read it"
    # A variable that a main reads by itself wouldn't be listed.
    assert not [main for main in ROOT.glob("functions/*/src/main.rs") if "VEGA_" in main.read_text()]


def test_every_function_has_its_own_log_group_with_retention():
    names = []
    for function, resource in FUNCTIONS.items():
        # The reference makes CloudFormation create the group first, so Lambda never creates one without retention.
        assert resource["Properties"]["LoggingConfig"] == {"LogGroup": {"Ref": f"{function}Logs"}}
        group = RESOURCES[f"{function}Logs"]
        assert (group["Type"], group.get("Condition")) == ("AWS::Logs::LogGroup", resource.get("Condition"))
        assert group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
        names.append(group["Properties"]["LogGroupName"]["Sub"])
    assert len(set(names)) == len(FUNCTIONS) and all(name.startswith("/aws/lambda/${AWS::StackName}/") for name in names)


KEPT = ("KeysTable", "UserPool", "UserPoolClient", "RootGroup", "OperatorGroup", "UserGroup")


def test_table_and_pool_outlive_the_stack_with_their_parts():
    for name in KEPT:
        assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain", name
        # A failed first deployment deletes them again.
        assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate", name
    # Every resource with this pool id is part of the pool.
    parts = {name for name, one in RESOURCES.items() if one["Properties"].get("UserPoolId") == {"Ref": "UserPool"}}
    assert parts == set(KEPT) - {"KeysTable", "UserPool"}


def test_the_archive_outlives_the_table_and_its_backups():
    archive = RESOURCES["KeyChangesArchive"]
    assert (archive["DeletionPolicy"], archive["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert archive["Properties"]["RetentionDays"] >= 2 * 35
    pattern = archive["Properties"]["EventPattern"]
    assert pattern["source"] == [TEMPLATE["Outputs"]["NoticeSource"]["Value"]]
    # What a restore would otherwise give back; functions/owners/src/replay.rs takes it again.
    assert pattern["detail"]["notice"] == ["revoked", "leaked", "narrowed"]


def test_the_table_is_encrypted_protected_and_can_be_restored():
    table = RESOURCES["KeysTable"]["Properties"]
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
    assert table["SSESpecification"]["SSEEnabled"]
    assert table["DeletionProtectionEnabled"] == {"If": ["IsProtected", True, False]}
    assert RESOURCES["UserPool"]["Properties"]["DeletionProtection"] == {"If": ["IsProtected", "ACTIVE", "INACTIVE"]}
    assert TEMPLATE["Parameters"]["DeletionProtection"]["Default"] == "true"


def test_the_owner_sync_is_invoked_by_its_own_request_for_another_run():
    owners = FUNCTIONS["Owners"]["Properties"]
    pattern = owners["Events"]["Continuation"]["Properties"]["Pattern"]
    assert pattern["source"] == [owners["Environment"]["Variables"]["VEGA_NOTICE_SOURCE"]]
    [detail_type] = pattern["detail-type"]
    assert f'CONTINUATION: &str = "{detail_type}";' in (ROOT / "functions/owners/src/task.rs").read_text()
