"""local/recorder.py describes calls as IAM sees them, and keeps nothing else of them."""

import json

import pytest
from recorder import Call, Recorder, calls

PLACE = "us-west-1:000000000000"
TABLE = f"arn:aws:dynamodb:{PLACE}:table/keys"
KEY = {"pk": {"S": "K#7Gh2kQ9XbT4m"}, "sk": {"S": "U"}}


def dynamodb(operation: str, **request) -> list[Call]:
    return list(calls("dynamodb", operation, {"TableName": "keys", **request}, PLACE))


def test_an_update_lists_every_attribute_that_it_names():
    [call] = dynamodb(
        "UpdateItem",
        Key=KEY,
        UpdateExpression="SET used_at = :now, #address = if_not_exists(address_, :address) REMOVE moved_at",
        ConditionExpression="attribute_not_exists(#s) OR used_at < :before AND NOT begins_with (pk, :x)",
        ExpressionAttributeNames={"#address": "address", "#s": "status"},
        ReturnValues="ALL_OLD",
    )
    assert call == Call(
        "dynamodb:UpdateItem",
        TABLE,
        {
            "dynamodb:LeadingKeys": ["K#"],
            "dynamodb:Attributes": ["address", "address_", "moved_at", "pk", "sk", "status", "used_at"],
            "dynamodb:ReturnValues": ["ALL_OLD"],
        },
    )


def test_a_query_has_its_partition_key_and_a_scan_has_none():
    [query] = dynamodb("Query", KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": "U#ada"}})
    assert (query.resource, query.context["dynamodb:LeadingKeys"]) == (TABLE, ["U#"])
    [scan] = dynamodb("Scan", IndexName="key-owners")
    assert (scan.resource, scan.context) == (f"{TABLE}/index/key-owners", {})


def test_a_transaction_is_one_call_per_item():
    writes = [
        {"Put": {"TableName": "keys", "Item": {**KEY, "name": {"S": "x"}}}},
        {"Update": {"TableName": "keys", "Key": {**KEY, "pk": {"S": "U#ada"}}, "UpdateExpression": "ADD live :ids"}},
        {"ConditionCheck": {"TableName": "keys", "Key": KEY, "ConditionExpression": "attribute_exists(pk)"}},
    ]
    found = [(one.action, *one.context["dynamodb:LeadingKeys"]) for one in dynamodb("TransactWriteItems", TransactItems=writes)]
    assert found == [("dynamodb:PutItem", "K#"), ("dynamodb:UpdateItem", "U#"), ("dynamodb:ConditionCheckItem", "K#")]


def test_a_batch_has_all_its_partition_keys():
    keys = [KEY, {**KEY, "pk": {"S": "P#1"}}]
    [call] = calls("dynamodb", "BatchGetItem", {"RequestItems": {"keys": {"Keys": keys}}}, PLACE)
    assert (call.action, call.context["dynamodb:LeadingKeys"]) == ("dynamodb:BatchGetItem", ["K#", "P#1"])


def test_events_and_mail_have_their_sender():
    [event] = calls("events", "PutEvents", {"Entries": [{"Source": "vega-auth.x", "DetailType": "a kind"}]}, PLACE)
    assert (event.action, event.resource) == ("events:PutEvents", f"arn:aws:events:{PLACE}:event-bus/default")
    assert event.context == {"events:source": ["vega-auth.x"], "events:detail-type": ["a kind"]}
    [mail] = calls("ses", "SendEmail", {"FromEmailAddress": "a@example.com"}, PLACE)
    assert mail.context == {"ses:FromAddress": ["a@example.com"]}


def test_an_invocation_names_the_version():
    version = "arn:aws:lambda:us-west-1:000000000000:function:vega:7"
    [call] = calls("lambda", f"POST /2015-03-31/functions/{version}/invocations", {}, PLACE)
    assert call == Call("lambda:InvokeFunction", version, {})


def test_an_unknown_call_has_no_resource_that_a_role_allows():
    [call] = calls("dynamodb", "BatchWriteItem", {"RequestItems": {"keys": []}}, PLACE)
    assert call == Call("dynamodb:BatchWriteItem", "*", {})


@pytest.fixture
def recorder(tmp_path) -> Recorder:
    return Recorder(tmp_path / "calls.jsonl", own_key="local")


def headers(key: str) -> dict[str, str]:
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential={key}/20261124/us-west-1/dynamodb/aws4_request, Signature=x",
        "x-amz-target": "DynamoDB_20120810.GetItem",
    }


def test_each_distinct_call_of_a_function_is_recorded_once(recorder: Recorder):
    for owner in ("ada", "grace"):
        key = {"pk": {"S": f"U#{owner}"}, "sk": {"S": "M"}}
        recorder.record("POST", "/", headers("authorizer"), json.dumps({"TableName": "keys", "Key": key}).encode())
    [line] = recorder.path.read_text().splitlines()
    assert json.loads(line)["function"] == "authorizer" and "ada" not in line


def test_calls_with_the_stacks_own_key_arent_recorded(recorder: Recorder):
    recorder.record("POST", "/", headers("local"), b"{}")
    recorder.record("GET", "/_ministack/health", {}, b"")
    assert recorder.path.read_text() == ""
