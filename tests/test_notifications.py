"""Notifications about keys arrive on EventBridge in the form of docs/notifications.schema.json, and only once."""

import base64
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import jsonschema
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from conftest import bearer, eventually

SCHEMA = json.loads((Path(__file__).resolve().parent.parent / "docs" / "notifications.schema.json").read_text())
SCHEDULE = {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}

pytestmark = pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="reads the local stack's events")


class Subscriber:
    """A queue that receives every notification from now on."""

    def __init__(self):
        self.sqs, self.seen = boto3.client("sqs"), []
        self.name = f"notices-{uuid.uuid4()}"
        self.url = self.sqs.create_queue(QueueName=self.name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.events = boto3.client("events")
        pattern = {"source": [os.environ["VEGA_NOTICE_SOURCE"]], "detail-type": ["API Key Notice"]}
        self.events.put_rule(Name=self.name, EventPattern=json.dumps(pattern))
        self.events.put_targets(Rule=self.name, Targets=[{"Id": "queue", "Arn": arn}])

    def of(self, key: str, last: str) -> list[dict]:
        """The notifications about a key, up to the one of kind `last`."""

        def look() -> list[dict]:
            messages = self.sqs.receive_message(QueueUrl=self.url, WaitTimeSeconds=2, MaxNumberOfMessages=10)
            for message in messages.get("Messages", []):
                self.seen.append(json.loads(message["Body"])["detail"])
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            found = [notice for notice in self.seen if notice["key_id"] == key]
            return found if any(notice["notice"] == last for notice in found) else []

        return eventually(look)

    def end(self) -> None:
        self.events.remove_targets(Rule=self.name, Ids=["queue"])
        self.events.delete_rule(Name=self.name)
        self.sqs.delete_queue(QueueUrl=self.url)


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    subscriber = Subscriber()
    yield subscriber
    subscriber.end()


def scan_for_expiry() -> dict:
    answer = boto3.client("lambda").invoke(FunctionName=os.environ["VEGA_NOTIFICATIONS_FUNCTION"], Payload=json.dumps(SCHEDULE))
    assert "FunctionError" not in answer
    return json.loads(answer["Payload"].read())


def bring_forward_the_end_of(key_id: str) -> None:
    """Makes a key expire without waiting: moves its expiry into the past, in the table, as shared/store writes it."""
    boto3.client("dynamodb").update_item(
        TableName=os.environ["VEGA_KEYS_TABLE"],
        Key={"pk": {"S": f"K#{key_id}"}, "sk": {"S": "A"}},
        UpdateExpression="SET expires_at = created_at",
        ConditionExpression="attribute_exists(expires_at)",
    )


def test_a_keys_notifications_arrive_in_order_and_once(api, user, key, subscriber):
    made = api.post("/v1/api-keys", headers=user, json={"name": "e2e notices"}).json()
    for _ in range(3):
        assert api.get("/v1/projects", headers=bearer(made["key"])).status_code == 200
    assert [it["notice"] for it in subscriber.of(made["id"], "first_used")] == ["created", "first_used"]
    api.post("/v1/leaked-keys", json={"key": made["key"], "found_at": "https://example.com/paste/1"})
    notices = subscriber.of(made["id"], "leaked")
    assert [it["id"] for it in notices] == [f"{made['id']}/{kind}" for kind in ("created", "first_used", "leaked")]
    for notice in notices:
        jsonschema.validate(notice, SCHEMA, format_checker=jsonschema.FormatChecker())
        assert made["key"] not in json.dumps(notice)
    assert (notices[0]["key_name"], notices[1]["network"]) == ("e2e notices", "127.0.0.0/24")
    assert "https://example.com/paste/1" in notices[2]["reason"]
    # The other key's revocation arrives after any further notification about the first key would have.
    api.delete(f"/v1/api-keys/{key['id']}", headers=user)
    assert "revoked" in [it["notice"] for it in subscriber.of(key["id"], "revoked")]
    assert len(subscriber.of(made["id"], "leaked")) == 3


def test_the_schedule_reports_an_expired_key_once(api, user, subscriber):
    made = api.post("/v1/api-keys", headers=user, json={"name": "e2e expiry"}).json()
    bring_forward_the_end_of(made["id"])
    assert api.get(f"/v1/api-keys/{made['id']}", headers=user).json()["status"] == "expired"
    for _ in range(2):
        scan_for_expiry()
    # The key also was narrowed, by the earlier expiry.
    kinds = [it["notice"] for it in subscriber.of(made["id"], "expired")]
    assert [kind for kind in kinds if kind != "narrowed"] == ["created", "expired"]
    assert scan_for_expiry()["sent"] == 0
    api.delete(f"/v1/api-keys/{made['id']}", headers=user)


def test_records_of_the_stream_can_be_delivered_again(api, user, subscriber):
    streams = boto3.client("dynamodbstreams")
    [stream] = streams.list_streams(TableName=os.environ["VEGA_KEYS_TABLE"])["Streams"]
    made = api.post("/v1/api-keys", headers=user, json={"name": "e2e redrive"}).json()
    subscriber.of(made["id"], "created")
    [shard, *_] = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]["Shards"]
    place = {"StreamArn": stream["StreamArn"], "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    iterator = streams.get_shard_iterator(**place)["ShardIterator"]
    batch = streams.get_records(ShardIterator=iterator)
    assert batch["Records"]
    # With bytes in base64 and times in seconds, as in docs/operations.md.
    payload = json.dumps(batch, default=lambda it: base64.b64encode(it).decode() if isinstance(it, bytes) else it.timestamp())
    answer = boto3.client("lambda").invoke(FunctionName=os.environ["VEGA_NOTIFICATIONS_FUNCTION"], Payload=payload)
    assert json.loads(answer["Payload"].read())["outcome"] == "ok"
    assert [it["notice"] for it in subscriber.of(made["id"], "created")] == ["created"], "it was sent before"
    api.delete(f"/v1/api-keys/{made['id']}", headers=user)


def sent_mail() -> dict:
    """The mails that the emulator keeps, by account."""
    request = AWSRequest("GET", f"{os.environ['AWS_ENDPOINT_URL']}/_ministack/ses/messages")
    SigV4Auth(boto3.Session().get_credentials(), "ses", os.environ["AWS_DEFAULT_REGION"]).add_auth(request)
    return httpx.get(request.url, headers=dict(request.headers)).json()["messages"]


@pytest.mark.provider("cognito")
def test_the_key_owner_gets_a_mail(api, user):
    name = f"mail {uuid.uuid4()}"
    made = api.post("/v1/api-keys", headers=user, json={"name": name}).json()
    mine = eventually(lambda: [it for account in sent_mail().values() for it in account if name in it["Subject"]])
    assert [(it["Source"], it["To"], it["Subject"]) for it in mine] == [
        ("vega@example.com", ["user@example.com"], f'API key "{name}" was created'),
    ]
    assert made["key"] not in json.dumps(mine) and made["id"] in mine[0]["BodyText"]
    api.delete(f"/v1/api-keys/{made['id']}", headers=user)
