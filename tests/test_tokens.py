"""Tokens of a second client, of a machine and of a second user pool, once git lists them."""

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx
import pytest
from conftest import authorizer_with, bearer, signed

pytestmark = [
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="replaces the local stack's authorizer"),
    pytest.mark.provider("cognito"),
]
POOL, WEB = os.environ.get("VEGA_COGNITO_USER_POOL_ID", ""), os.environ.get("VEGA_COGNITO_APP_CLIENT_ID", "")
PASSWORD = f"Test-{uuid.uuid4()}"


@dataclass
class Tokens:
    mobile: str
    machine: str
    partner: str
    partner_id: str


def issuer(pool: str) -> str:
    return f"https://cognito-idp.{os.environ['VEGA_COGNITO_REGION']}.amazonaws.com/{pool}"


def client_for_people(cognito, pool: str) -> str:
    flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
    made = cognito.create_user_pool_client(UserPoolId=pool, ClientName=str(uuid.uuid4()), ExplicitAuthFlows=flows)
    return made["UserPoolClient"]["ClientId"]


def token_of_person(cognito, pool: str, client: str, email: str, password: str) -> str:
    answer = cognito.admin_initiate_auth(
        UserPoolId=pool,
        ClientId=client,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email, "PASSWORD": password},
    )
    return answer["AuthenticationResult"]["AccessToken"]


@pytest.fixture(scope="module")
def listed(cognito) -> Iterator[Tokens]:
    """Deploys the authorizer with a file of sources, and the old package again afterwards."""
    cognito.create_resource_server(
        UserPoolId=POOL, Identifier="orders", Name="orders", Scopes=[{"ScopeName": "read", "ScopeDescription": "read"}]
    )
    machine = cognito.create_user_pool_client(
        UserPoolId=POOL,
        ClientName="machine",
        GenerateSecret=True,
        AllowedOAuthFlows=["client_credentials"],
        AllowedOAuthScopes=["orders/read"],
        AllowedOAuthFlowsUserPoolClient=True,
    )["UserPoolClient"]
    mobile = client_for_people(cognito, POOL)
    other = cognito.create_user_pool(PoolName="other")["UserPool"]["Id"]
    partner = client_for_people(cognito, other)
    cognito.admin_create_user(UserPoolId=other, Username="eve", MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=other, Username="eve", Password=PASSWORD, Permanent=True)
    cognito.create_group(UserPoolId=other, GroupName="user")
    cognito.admin_add_user_to_group(UserPoolId=other, Username="eve", GroupName="user")
    user = json.loads(os.environ["VEGA_TEST_USERS"])["user"]
    grant = {
        "grant_type": "client_credentials",
        "scope": "orders/read",
        "client_id": machine["ClientId"],
        "client_secret": machine["ClientSecret"],
    }
    machine_token = signed("POST", f"{os.environ['AWS_ENDPOINT_URL']}/oauth2/token", urlencode(grant))
    assert machine_token.status_code == 200, machine_token.text
    eve = cognito.admin_get_user(UserPoolId=other, Username="eve")
    [sub] = [attribute["Value"] for attribute in eve["UserAttributes"] if attribute["Name"] == "sub"]
    sources = [
        {
            "issuer": issuer(POOL),
            "people": [WEB, mobile],
            "machines": [{"client": machine["ClientId"], "groups": ["user"]}],
        },
        {"issuer": issuer(other), "people": [partner]},
    ]
    tokens = Tokens(
        token_of_person(cognito, POOL, mobile, user["email"], user["password"]),
        machine_token.json()["access_token"],
        token_of_person(cognito, other, partner, "eve", PASSWORD),
        f"{other}:{sub}",
    )
    for token in (tokens.mobile, tokens.machine, tokens.partner):
        unlisted = httpx.get(f"{os.environ['VEGA_BASE_URL']}/v1/auth/me", headers=bearer(token))
        assert unlisted.status_code == 401, unlisted.text
    with authorizer_with({f"access/sources/{POOL}.json": json.dumps({"sources": sources})}):
        yield tokens


def test_a_second_clients_tokens_are_the_same_persons(api, user, listed):
    me = api.get("/v1/auth/me", headers=user).json()
    mobile = api.get("/v1/auth/me", headers=bearer(listed.mobile)).json()
    assert (mobile["id"], mobile["authenticated_by"]) == (me["id"], "jwt")


def test_a_machine_has_its_groups_and_scopes_and_no_keys(api, listed):
    headers = bearer(listed.machine)
    me = api.get("/v1/auth/me", headers=headers).json()
    assert me["id"].startswith("client:") and me["authenticated_by"] == "machine"
    assert (me["groups"], me["oauth_scopes"]) == (["user"], ["orders/read"])
    assert api.get("/v1/projects", headers=headers).status_code == 200
    assert api.post("/v1/api-keys", headers=headers, json={"name": "x"}).status_code == 403


def test_a_person_of_another_pool_calls_the_api_and_has_no_keys(api, listed):
    headers = bearer(listed.partner)
    me = api.get("/v1/auth/me", headers=headers).json()
    assert (me["id"], me["authenticated_by"], me["groups"]) == (listed.partner_id, "other_pool", ["user"])
    refused = api.post("/v1/api-keys", headers=headers, json={"name": "x"})
    assert (refused.status_code, refused.json()["error"]) == (403, "person_required")
