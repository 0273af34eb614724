"""The APIs of another team in examples/, deployed beside the product: docs/other-apis.md."""

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import boto3
import httpx
import pytest
from build import ROOT, environment
from conftest import authorizer_with, bearer, function_name, srp_tokens
from stack import publish

pytestmark = [
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="deploys to the local stack"),
    pytest.mark.provider("cognito"),
]
EXAMPLES = ROOT / "examples"
STACKS = {"rest-api": "/v1", "http-api": ""}


@dataclass
class Api:
    client: httpx.Client
    id: str
    stack: str
    prefix: str

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.client.get(self.prefix + path, headers=headers)

    def resource(self, name: str) -> str:
        """The physical id of a resource."""
        found = boto3.client("cloudformation").describe_stack_resource(StackName=self.stack, LogicalResourceId=name)
        return found["StackResourceDetail"]["PhysicalResourceId"]


def sam_deploy(example: str) -> subprocess.Popen:
    arn = boto3.client("lambda").get_alias(FunctionName=function_name("AuthorizerFunction"), Name="live")["AliasArn"]
    command = ["sam", "deploy", "--template-file", str(EXAMPLES / example / "template.yaml"), "--stack-name", f"e2e-{example}"]
    command += ["--parameter-overrides", f"AuthorizerArn={arn}", "--capabilities", "CAPABILITY_IAM", "--resolve-s3"]
    command += ["--no-confirm-changeset", "--no-progressbar", "--region", os.environ["AWS_DEFAULT_REGION"]]
    return subprocess.Popen(
        command, env=environment(SAM_CLI_POLL_DELAY="0.5"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def apis() -> Iterator[dict[str, Api]]:
    subprocess.run(["make", "--silent", "-C", EXAMPLES, "BUILD=local"], env=environment(BUILD="local"), check=True)
    rules = json.loads((ROOT / "access" / "vega.json").read_text())
    groups = set(rules.get("groups", ["root", "operator", "user"]))
    for example in STACKS:
        other = json.loads((EXAMPLES / example / "access.json").read_text())
        groups |= set(other["groups"])
        rules["rules"] += other["rules"]
    rules["groups"] = sorted(groups)
    cloudformation = boto3.client("cloudformation")
    with authorizer_with({"access/vega.json": json.dumps(rules)}), contextlib.ExitStack() as after:
        deploying = {example: sam_deploy(example) for example in STACKS}
        deployed = {}
        for example, process in deploying.items():
            stack = f"e2e-{example}"
            after.callback(cloudformation.delete_stack, StackName=stack)
            output, _ = process.communicate()
            assert process.returncode == 0, output
            [found] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
            [api_id] = [output["OutputValue"] for output in found["Outputs"] if output["OutputKey"] == "ApiId"]
            stage = "live" if example == "rest-api" else "$default"
            url = f"{os.environ['AWS_ENDPOINT_URL']}/restapis/{api_id}/{stage}/_user_request_"
            client = after.enter_context(httpx.Client(base_url=url, timeout=30))
            deployed[example] = Api(client, api_id, stack, STACKS[example])
        yield deployed


@pytest.fixture(params=STACKS)
def other(apis: dict[str, Api], request: pytest.FixtureRequest) -> Api:
    return apis[request.param]


@pytest.fixture(scope="module")
def tokens(cognito) -> Iterator[dict[str, str]]:
    """The token of a person in each of the other teams' groups."""
    pool, password, found = os.environ["VEGA_COGNITO_USER_POOL_ID"], f"Test-{uuid.uuid4()}", {}
    for group in ("sales", "accounting", "warehouse", "audit"):
        email = f"{group}@example.com"
        cognito.create_group(UserPoolId=pool, GroupName=group)
        cognito.admin_create_user(UserPoolId=pool, Username=email, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(UserPoolId=pool, Username=email, Password=password, Permanent=True)
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=email, GroupName=group)
        found[group] = srp_tokens(cognito, email, password)["AccessToken"]
    yield found
    for group in found:
        cognito.admin_delete_user(UserPoolId=pool, Username=f"{group}@example.com")
        cognito.delete_group(UserPoolId=pool, GroupName=group)


def test_each_teams_groups_decide_in_its_own_api(api, apis: dict[str, Api], tokens, token_of):
    for example, seller, accountant in (("rest-api", "sales", "accounting"), ("http-api", "warehouse", "audit")):
        for group in ("sales", "accounting", "warehouse", "audit"):
            headers = bearer(tokens[group])
            allowed = {"/orders": group == seller, "/invoices/7": group == accountant, "/reports": True}
            for path, is_allowed in allowed.items():
                answer = apis[example].get(path, headers)
                assert answer.status_code == (200 if is_allowed else 403), (example, group, path, answer.text)
                if is_allowed:
                    owner = api.get("/v1/auth/me", headers=headers).json()["id"]
                    assert answer.json() == {f"{path.split('/')[1]}_of": owner, "groups": [group]}
        assert apis[example].get("/orders", bearer(token_of("none"))).status_code == 403


def test_another_teams_group_opens_nothing_of_the_product(api, apis, tokens):
    for token in tokens.values():
        assert api.get("/v1/projects", headers=bearer(token)).status_code == 403


def test_a_request_without_a_token_is_401(other: Api):
    for path in ("/orders", "/invoices/7", "/reports"):
        assert other.get(path).status_code == 401


def test_a_key_calls_another_api_until_it_is_revoked(api, other: Api, user, key):
    headers = bearer(key["key"])
    assert (other.get("/orders", headers).status_code, other.get("/reports", headers).status_code) == (200, 403)
    api.delete(f"/v1/api-keys/{key['id']}", headers=user).raise_for_status()
    # The emulator's HTTP API turns each error of an authorizer into 500: local/README.md.
    assert other.get("/orders", headers).status_code == (401 if other.stack == "e2e-rest-api" else 500)


def test_a_function_called_past_the_authorizer_responds_401(other: Api):
    context = {"http": {"method": "GET", "path": "/"}, "routeKey": "GET /", "timeEpoch": 0}
    event = {
        "version": "2.0",
        "routeKey": "GET /",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": {},
        "requestContext": context,
    }
    for function in ("Orders", "Invoices", "Reports"):
        name = other.resource(f"{function}Function")
        invoked = boto3.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event | {"isBase64Encoded": False}))
        answer = json.loads(invoked["Payload"].read())
        assert answer["statusCode"] == 401, answer


def test_simple_responses_decide_each_route(apis: dict[str, Api], token_of):
    functions, gateway, other = boto3.client("lambda"), boto3.client("apigatewayv2"), apis["http-api"]
    name = function_name("AuthorizerFunction")
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]

    def configure(simple: bool) -> None:
        value = "simple" if simple else "policy"
        gateway.update_authorizer(ApiId=other.id, AuthorizerId=other.resource("Authorizer"), EnableSimpleResponses=simple)
        changed = {"Variables": {**variables, "VEGA_HTTP_API_RESPONSE": value}}
        functions.update_function_configuration(FunctionName=name, Environment=changed)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        publish(functions, name)

    configure(simple=True)
    try:
        statuses = [other.get(path, bearer(token_of("user"))).status_code for path in ("/orders", "/invoices/7", "/reports")]
        assert statuses == [200, 403, 200]
    finally:
        configure(simple=False)
