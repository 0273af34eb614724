"""The built functions against moto, an AWS emulator that shares no code with the local stack's: a second opinion on DynamoDB,
Cognito and EventBridge."""

import copy
import json
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from samcli.yamlhelper import yaml_parse
from test_events import environment, runtime

ROOT = Path(__file__).resolve().parent.parent
MOTO = ROOT / "local" / ".venv" / "moto" / "bin" / "moto_server"
SCHEDULE = {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
AWS = {"AWS_REGION": "us-west-1", "AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto"}

pytestmark = [
    pytest.mark.provider("cognito"),
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="needs the local stack's build"),
    pytest.mark.skipif(not MOTO.exists(), reason="needs moto, which make end-to-end-cognito installs"),
]


class Moto:
    """The table, a pool with one group, and the functions."""

    def __init__(self, url: str, invoke: Callable[[str, dict], Any]) -> None:
        self.url, self.invoke = url, invoke
        self.dynamodb, self.cognito = self.client("dynamodb"), self.client("cognito-idp")
        self.pool = self.cognito.create_user_pool(PoolName="vega", UsernameAttributes=["email"])["UserPool"]["Id"]
        for group in ("root", "operator", "user"):
            self.cognito.create_group(UserPoolId=self.pool, GroupName=group)
        table = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]["KeysTable"]["Properties"]
        parts = ("BillingMode", "KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes")
        self.dynamodb.create_table(TableName="keys", **{name: table[name] for name in parts})

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=AWS["AWS_REGION"],
            aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
        )

    def person(self) -> tuple[str, str]:
        """A new member of group `user`: user name and subject."""
        name = f"{secrets.token_hex(6)}@example.com"
        user = self.cognito.admin_create_user(UserPoolId=self.pool, Username=name)["User"]
        self.cognito.admin_add_user_to_group(UserPoolId=self.pool, Username=user["Username"], GroupName="user")
        [sub] = [attribute["Value"] for attribute in user["Attributes"] if attribute["Name"] == "sub"]
        return user["Username"], sub

    def request(self, route: str, owner: str, body: dict | None = None, key: str = "") -> tuple[int, dict]:
        """Sends a request to the key function as a signed-in member of group `user`."""
        method, _, resource = route.partition(" ")
        event = copy.deepcopy(json.loads((ROOT / "events" / "api-keys" / "create.json").read_text()))
        event |= {
            "resource": resource,
            "path": resource.replace("{id}", key),
            "httpMethod": method,
            "pathParameters": {"id": key} if key else None,
            "body": json.dumps(body) if body is not None else None,
        }
        event["requestContext"] |= {"resourcePath": resource, "httpMethod": method}
        event["requestContext"]["authorizer"] |= {"id": owner, "principalId": owner, "username": owner}
        for headers in (event["headers"], event["multiValueHeaders"]):
            headers.pop("Idempotency-Key", None)
        answer = self.invoke("api-keys", event)
        return answer["statusCode"], json.loads(answer.get("body") or "{}")

    def create(self, owner: str, **body: Any) -> dict:
        status, key = self.request("POST /v1/api-keys", owner, {"name": "second opinion", **body})
        assert status == 201, key
        return key

    def works(self, key: str) -> bool:
        event = (ROOT / "events" / "authorizer" / "unknown-key.json").read_text()
        answer = self.invoke("authorizer", json.loads(re.sub(r"vk_\w+", key, event)))
        if answer.get("errorMessage") == "Unauthorized":
            return False
        assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow", answer
        return True

    def let_expire(self, key: dict) -> None:
        """Moves the key's expiry to the past minute."""
        self.dynamodb.update_item(
            TableName="keys",
            Key={"pk": {"S": f"K#{key['id']}"}, "sk": {"S": "A"}},
            UpdateExpression="SET expires_at = :past",
            ConditionExpression="attribute_type(expires_at, :number)",
            ExpressionAttributeValues={":past": {"N": str(int(time.time()) - 60)}, ":number": {"S": "N"}},
        )

    def run(self, function: str) -> dict:
        """Invokes a scheduled function, which must succeed."""
        report = self.invoke(function, SCHEDULE)
        assert report.get("outcome") == "ok", report
        return report

    def status(self, owner: str, key: dict) -> str:
        return self.request("GET /v1/api-keys/{id}", owner, key=key["id"])[1]["status"]


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", str(port)], env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)  # It isn't listening yet.
        variables = {
            **AWS,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "VEGA_KEYS_TABLE": "keys",
            "VEGA_NOTICE_SOURCE": "vega-auth.moto",
        }
        with runtime(lambda function: environment(function) | variables) as invoke:
            created = Moto(variables["AWS_ENDPOINT_URL"], invoke)
            variables["VEGA_COGNITO_USER_POOL_ID"] = created.pool
            yield created
    finally:
        server.kill()
        server.wait()


def test_a_key_is_created_rotated_and_revoked(moto: Moto):
    _, owner = moto.person()
    first = moto.create(owner)
    assert moto.works(first["key"])
    status, second = moto.request("POST /v1/api-keys/{id}/rotate", owner, {"overlap_seconds": 0}, first["id"])
    assert status == 201, second
    assert (moto.works(first["key"]), moto.works(second["key"])) == (False, True)
    assert moto.request("DELETE /v1/api-keys/{id}", owner, key=second["id"])[0] == 204
    assert not moto.works(second["key"])
    _, listed = moto.request("GET /v1/api-keys", owner)
    assert {key["id"]: key["status"] for key in listed["items"]} == {first["id"]: "expired", second["id"]: "revoked"}
    _, events = moto.request("GET /v1/api-keys/{id}/events", owner, key=second["id"])
    assert [event["event"] for event in events["items"]] == ["revoked", "created"]


def test_an_owner_pass_follows_the_pool(moto: Moto):
    people = [moto.person() for _ in range(10)]
    keys = [moto.create(owner) for _, owner in people]
    moto.run("owners")
    assert all(moto.works(key["key"]) for key in keys)

    moto.cognito.admin_delete_user(UserPoolId=moto.pool, Username=people[0][0])
    moto.cognito.admin_disable_user(UserPoolId=moto.pool, Username=people[1][0])
    moto.run("owners")
    assert [moto.works(key["key"]) for key in keys] == [False, False, *[True] * 8]
    assert [moto.status(owner, key) for (_, owner), key in zip(people[:3], keys, strict=False)] == [
        "revoked",
        "disabled",
        "active",
    ]


def test_an_expired_key_is_notified_once(moto: Moto):
    sqs, events = moto.client("sqs"), moto.client("events")
    queue = sqs.create_queue(QueueName="notices")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="notices", EventPattern=json.dumps({"source": ["vega-auth.moto"]}))
    events.put_targets(Rule="notices", Targets=[{"Id": "queue", "Arn": arn}])
    _, owner = moto.person()
    expired, _ = moto.create(owner, expires_in_days=1), moto.create(owner, expires_in_days=1)
    moto.let_expire(expired)
    for _ in range(2):
        moto.run("notifications")
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    notices = [json.loads(message["Body"])["detail"] for message in messages]
    assert [(notice["key_id"], notice["notice"]) for notice in notices] == [(expired["id"], "expired")]
