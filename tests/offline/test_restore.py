"""`make restore` and `make replay`: what they wait for, and what they refuse."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from unittest.mock import MagicMock

import boto3
import pytest
import restore
from restore import Restore
from samcli.yamlhelper import yaml_parse
from template import ROOT

from deploy import Refused

TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
CANARY = {"ReceiptHandle": "canary", "Body": json.dumps({"detail-type": "canary", "detail": {}})}


def message(number: int) -> dict:
    return {"ReceiptHandle": f"m{number}", "Body": json.dumps({"detail-type": "API Key Notice", "detail": {"id": number}})}


@cache
def exceptions(service: str) -> object:
    return boto3.session.Session().client(service, region_name="eu-central-1").exceptions


class Account:
    """A deployed stack that uses the table `restored`, with a queue of these messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, messages: list[dict], reports: list[dict]) -> None:
        self.paused: list[float] = []
        self.restore = Restore(
            {"stack": "vega", "region": "eu-central-1", "parameters": {"ExistingKeysTable": "restored"}},
            TEMPLATE,
            datetime(2026, 11, 30, 10, tzinfo=UTC),
            pause=self.paused.append,
        )
        self.clients: dict[str, MagicMock] = {}
        monkeypatch.setattr(restore.boto3, "client", self.client)
        monkeypatch.setattr(Restore, "outputs", lambda _: {"KeysTableName": "restored", **OUTPUTS})
        self.messages = list(messages)
        self.deleted: list[str] = []
        self.invoked: list[dict] = []
        self.reports = list(reports)
        self.client("sqs").receive_message.side_effect = self.receive
        self.client("sqs").delete_message_batch.side_effect = lambda Entries, **_: self.deleted.extend(  # noqa: N803
            one["ReceiptHandle"] for one in Entries
        )
        self.client("lambda").invoke.side_effect = self.invoke
        self.client("events").describe_replay.return_value = {"State": "COMPLETED"}
        self.client("events").put_rule.return_value = {"RuleArn": "rule"}
        self.client("sqs").get_queue_attributes.return_value = {"Attributes": {"QueueArn": "queue"}}

    def client(self, service: str, **_: object) -> MagicMock:
        if service not in self.clients:
            self.clients[service] = MagicMock()
            self.clients[service].exceptions = exceptions(service)
        return self.clients[service]

    def receive(self, MaxNumberOfMessages: int = 1, **_: object) -> dict:  # noqa: N803
        found, self.messages = self.messages[:MaxNumberOfMessages], self.messages[MaxNumberOfMessages:]
        return {"Messages": found}

    def invoke(self, Payload: str, **_: object) -> dict:  # noqa: N803
        self.invoked.append(json.loads(Payload))
        report = self.reports.pop(0)
        failed = {"FunctionError": "Unhandled"} if report["outcome"] == "fault" else {}
        return {"Payload": BytesIO(json.dumps(report).encode()), **failed}


OUTPUTS = {"KeyChangesArchiveName": "archive", "NoticeSource": "vega-auth.vega", "OwnersFunctionName": "owners"}
OK = {"outcome": "ok", "revoked": 1, "disabled": 0, "incomplete": False}


def test_a_replay_passes_every_notification_on_and_cleans_up(monkeypatch: pytest.MonkeyPatch):
    account = Account(monkeypatch, [CANARY, *map(message, range(250))], [OK, OK, OK, OK])
    assert account.restore.replay() == {"revoked": 3, "disabled": 0}
    *batches, sync = account.invoked
    assert [one["id"] for batch in batches for one in batch["replay"]] == list(range(250))
    assert sync["detail-type"] == "Scheduled Event"
    assert account.deleted == ["canary", *(f"m{number}" for number in range(250))]
    account.client("lambda").put_function_concurrency.assert_called_once()
    assert account.client("events").start_replay.call_args.kwargs["EventStartTime"] < account.restore.at
    account.client("events").delete_rule.assert_called_once()
    account.client("sqs").delete_queue.assert_called_once()
    assert account.paused[0] == 600, "EventBridge's delay"


def test_a_failed_batch_stays_in_the_archive_and_is_reported(monkeypatch: pytest.MonkeyPatch):
    account = Account(monkeypatch, [CANARY, message(1)], [{**OK, "outcome": "fault"}])
    with pytest.raises(Refused, match="the owner sync failed"):
        account.restore.replay()
    assert account.deleted == ["canary"]
    account.client("events").delete_rule.assert_called_once()
    account.client("sqs").delete_queue.assert_called_once()


def test_a_replay_whose_events_arrive_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch):
    account = Account(monkeypatch, [], [])
    with pytest.raises(Refused, match="no event reaches the queue"):
        account.restore.replay()
    account.client("events").start_replay.assert_not_called()


def test_a_replay_that_eventbridge_gives_up_is_an_error(monkeypatch: pytest.MonkeyPatch):
    account = Account(monkeypatch, [CANARY], [OK])
    account.client("events").describe_replay.return_value = {"State": "FAILED"}
    with pytest.raises(Refused, match="is FAILED"):
        account.restore.replay()


def test_a_replay_into_another_table_is_refused_and_closed(monkeypatch: pytest.MonkeyPatch):
    account = Account(monkeypatch, [CANARY], [])
    account.restore.settings["parameters"] = {}
    with pytest.raises(Refused, match="deploy the restored table first"):
        account.restore.replay()
    account.client("lambda").put_function_concurrency.assert_called_once()


def test_the_owner_sync_is_repeated_until_a_pass_is_complete(monkeypatch: pytest.MonkeyPatch):
    account = Account(monkeypatch, [], [{**OK, "outcome": "busy"}, {**OK, "incomplete": True}, OK])
    account.restore.sync_owners()
    assert len(account.invoked) == 3 and account.reports == []


def test_closing_removes_provisioned_concurrency_first(monkeypatch: pytest.MonkeyPatch):
    account = Account(monkeypatch, [], [])
    client = account.client("lambda")
    provisioned = {"FunctionArn": "arn:aws:lambda:eu-central-1:111122223333:function:authorizer:live"}
    client.list_provisioned_concurrency_configs.return_value = {"ProvisionedConcurrencyConfigs": [provisioned]}
    account.restore.close()
    calls = [name for name, _, _ in client.method_calls]
    assert calls[-2:] == ["delete_provisioned_concurrency_config", "put_function_concurrency"]
    assert client.delete_provisioned_concurrency_config.call_args.kwargs["Qualifier"] == "live"
    assert client.put_function_concurrency.call_args.kwargs["ReservedConcurrentExecutions"] == 0


def test_the_switch_waits_until_every_change_was_notified(monkeypatch: pytest.MonkeyPatch):
    account = Account(monkeypatch, [], [])
    now = datetime.now(UTC)

    def lag(*minutes: float) -> dict:
        points = [{"Timestamp": now - timedelta(minutes=age), "Maximum": lag * 60_000} for age, lag in enumerate(minutes)]
        return {"Datapoints": points[::-1]}

    account.client("cloudwatch").get_metric_statistics.side_effect = [lag(9, 1), lag(2, 9), lag(0.5, 2)]
    account.restore.wait_for_notifications()
    assert account.paused == [60, 60]
    account.client("cloudwatch").get_metric_statistics.side_effect = [lag()]
    account.restore.wait_for_notifications()
    assert account.paused == [60, 60], "nothing to read"
