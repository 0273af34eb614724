"""A key of an older version gets its deletion time and its place in the index by the documented command."""

import json
import os

import boto3
import pytest
from conftest import eventually

pytestmark = pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="changes the local stack's table")


def repair(*, dry_run: bool) -> dict:
    for _ in range(100):
        answer = boto3.client("lambda").invoke(
            FunctionName=os.environ["VEGA_OWNERS_FUNCTION"], Payload=json.dumps({"repair_keys": {"dry_run": dry_run}})
        )
        report = json.loads(answer["Payload"].read())
        assert ("FunctionError" not in answer, report["faults"]) == (True, 0), report
        if report["complete"]:
            return report
    raise AssertionError("not complete after 100 invocations")


@pytest.mark.provider("cognito")
def test_a_repair_gives_an_old_key_what_a_new_one_has(api, user):
    made = api.post("/v1/api-keys", headers=user, json={"name": "e2e repair", "expires_in_days": 30}).json()
    table = boto3.resource("dynamodb").Table(os.environ["VEGA_KEYS_TABLE"])
    record = {"pk": f"K#{made['id']}", "sk": "A"}
    new = table.get_item(Key=record, ConsistentRead=True)["Item"]
    table.update_item(Key=record, UpdateExpression="REMOVE holder, purge_at")
    old = table.get_item(Key=record, ConsistentRead=True)["Item"]
    lists = {"Key": {"pk": f"U#{new['owner']}", "sk": "M"}}
    table.update_item(**lists, UpdateExpression="ADD live :ids", ExpressionAttributeValues={":ids": {"000000000000"}})
    assert repair(dry_run=True)["repairs"]["records"] >= 1
    assert table.get_item(Key=record, ConsistentRead=True)["Item"] == old
    assert repair(dry_run=False)["repairs"]["records"] >= 1
    assert table.get_item(Key=record, ConsistentRead=True)["Item"] == new
    assert "000000000000" not in table.get_item(**lists, ConsistentRead=True)["Item"]["live"]
    assert "records" not in repair(dry_run=False)["repairs"]


def test_a_purged_key_leaves_its_owners_item(api, user):
    kept, purged = (api.post("/v1/api-keys", headers=user, json={"name": "e2e purge"}).json()["id"] for _ in range(2))
    table = boto3.resource("dynamodb").Table(os.environ["VEGA_KEYS_TABLE"])
    owner = table.get_item(Key={"pk": f"K#{kept}", "sk": "A"})["Item"]["owner"]

    def live() -> set[str]:
        return table.get_item(Key={"pk": f"U#{owner}", "sk": "M"}, ConsistentRead=True)["Item"]["live"]

    assert {kept, purged} <= live()
    # As DynamoDB does 90 days after the end; the emulator's own deletions by time don't reach its stream.
    table.delete_item(Key={"pk": f"K#{purged}", "sk": "A"})
    eventually(lambda: purged not in live())
    assert kept in live()
    api.delete(f"/v1/api-keys/{kept}", headers=user)
