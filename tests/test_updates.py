"""A second deployment with other parameters changes what is served, not only what CloudFormation reports."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from conftest import bearer
from pycognito import AWSSRP
from samcli.yamlhelper import yaml_parse
from test_deployment import BUILT, Deployment, deployments

pytestmark = [
    pytest.mark.provider("cognito"),
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="creates a stack beside the local one"),
]
# The part of the template that serves keys, with the local stack's pool or another one.
FUNCTIONS = ("Authorizer", "AuthorizerCheck", "ApiKeys", "Projects")
PARTS = [
    "Api",
    "KeysTable",
    "AuthorizerCheck",
    "AuthorizerAlias",
    *(f"{name}{part}" for name in FUNCTIONS for part in ("Function", "Role", "Logs")),
]


class Pool:
    """Another user pool, with one user in group `user`."""

    def __init__(self, cognito) -> None:
        self.cognito, self.email, self.password = cognito, "ada@example.com", f"Vega-{secrets.token_urlsafe(12)}-1a"
        self.id = cognito.create_user_pool(PoolName="e2e another")["UserPool"]["Id"]
        client = cognito.create_user_pool_client(
            UserPoolId=self.id, ClientName="e2e", ExplicitAuthFlows=["ALLOW_USER_SRP_AUTH"]
        )
        self.client = client["UserPoolClient"]["ClientId"]
        user = {"UserPoolId": self.id, "Username": self.email}
        cognito.admin_create_user(**user, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(**user, Password=self.password, Permanent=True)
        cognito.create_group(UserPoolId=self.id, GroupName="user")
        cognito.admin_add_user_to_group(**user, GroupName="user")

    def sign_in(self) -> dict[str, str]:
        srp = AWSSRP(self.email, self.password, self.id, self.client, client=self.cognito)
        return bearer(srp.authenticate_user()["AuthenticationResult"]["AccessToken"])


@pytest.fixture(scope="module")
def other_pool(cognito) -> Iterator[Pool]:
    pool = Pool(cognito)
    yield pool
    cognito.delete_user_pool(UserPoolId=pool.id)


def served(deployment: Deployment) -> httpx.Client:
    stage = f"/restapis/{deployment.outputs()['ApiId']}/live/_user_request_"
    return httpx.Client(base_url=os.environ["AWS_ENDPOINT_URL"] + stage, timeout=30)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployments(tmp_path_factory.mktemp("updates"), "e2e-updates") as created:
        yield created


def works_once_revoked(api: httpx.Client, user: dict[str, str]) -> bool:
    """Whether a key that was just used still works after its revocation."""
    key = api.post("/v1/api-keys", headers=user, json={"name": "e2e"}).raise_for_status().json()
    assert api.get("/v1/projects", headers=bearer(key["key"])).status_code == 200
    api.delete(f"/v1/api-keys/{key['id']}", headers=user).raise_for_status()
    return api.get("/v1/projects", headers=bearer(key["key"])).status_code == 200


def keys_until_the_limit(api: httpx.Client, user: dict[str, str]) -> int:
    count = 0
    while (made := api.post("/v1/api-keys", headers=user, json={"name": f"e2e {count}"})).status_code == 201:
        count += 1
    assert made.json()["error"] == "key_limit_reached"
    return count


def test_every_changed_parameter_is_served(deployment: Deployment, other_pool: Pool, user: dict[str, str]):
    own = {
        "ExistingUserPoolId": os.environ["VEGA_COGNITO_USER_POOL_ID"],
        "ExistingAppClientId": os.environ["VEGA_COGNITO_APP_CLIENT_ID"],
    }
    other = {"ExistingUserPoolId": other_pool.id, "ExistingAppClientId": other_pool.client}

    def deploy(**parameters: str | int) -> httpx.Client:
        deployment.deploy(parts=PARTS, **parameters)
        return served(deployment)

    api = deploy(**own, CorsAllowedOrigin="https://one.example", KeyLimit=2)
    answer = api.get("/v1/projects", headers=user)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://one.example")
    assert not works_once_revoked(api, user)
    assert keys_until_the_limit(api, user) == 2
    assert api.get("/v1/projects", headers=other_pool.sign_in()).status_code == 401

    api = deploy(**other, CorsAllowedOrigin="https://two.example", KeyLimit=1, KeyCacheSeconds=300)
    ada = other_pool.sign_in()
    answer = api.get("/v1/projects", headers=ada)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://two.example")
    assert works_once_revoked(api, ada), "the authorizer keeps the record for KeyCacheSeconds"
    assert keys_until_the_limit(api, ada) == 1
    assert api.get("/v1/projects", headers=user).status_code == 401, "the pool is exchanged"


def test_a_broken_authorizer_never_serves(deployment: Deployment, other_pool: Pool, tmp_path: Path):
    """Its access rules are invalid, so it doesn't start. The deployment fails, and the alias keeps the version before."""
    api, lambda_ = served(deployment), boto3.client("lambda")
    before = lambda_.get_alias(FunctionName=deployment.physical("AuthorizerFunction"), Name="live")
    broken = tmp_path / "authorizer"
    shutil.copytree(BUILT.parent / "AuthorizerFunction", broken)
    (broken / "access" / "vega.json").write_text("{}")
    authorizer = yaml_parse(BUILT.read_text())["Resources"]["AuthorizerFunction"]
    authorizer["Properties"]["CodeUri"] = str(broken)

    with pytest.raises(subprocess.CalledProcessError):
        deployment.deploy(
            parts=PARTS,
            more={"AuthorizerFunction": authorizer},
            ExistingUserPoolId=other_pool.id,
            ExistingAppClientId=other_pool.client,
        )

    assert deployment.status() == "UPDATE_ROLLBACK_COMPLETE"
    events = boto3.client("cloudformation").describe_stack_events(StackName="e2e-updates")["StackEvents"]
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    assert [event["LogicalResourceId"] for event in failed] == ["AuthorizerCheck"]
    assert "answered an unknown key with" in failed[0]["ResourceStatusReason"]
    after = lambda_.get_alias(FunctionName=deployment.physical("AuthorizerFunction"), Name="live")
    assert after["FunctionVersion"] == before["FunctionVersion"]
    assert api.get("/v1/projects", headers=other_pool.sign_in()).status_code == 200
