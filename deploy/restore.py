"""Restores the table of keys to an earlier time, in the steps of docs/operations.md, "Restore":

    make restore STAGE=prod AT=2026-11-30T10:00:00Z   closes the authorizer, and restores the table beside the current one
    make replay STAGE=prod AT=2026-11-30T10:00:00Z    takes from the restored keys what they lost since that time

Both can be repeated after a failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import boto3
from botocore.config import Config

import deploy
from deploy import Refused

# EventBridge asks to wait so long before a replay: until then, an event may be missing from its archive.
ARCHIVE_DELAY_SECONDS = 600
# How far the notifications can be behind the table when it is replaced: the last change is sent by then.
MAX_LAG = timedelta(minutes=1)
NOTIFICATIONS_PER_CALL = 100
# Events have whole seconds, and DynamoDB doesn't say on which side of its second a restore ends. Replaying too much is harmless.
MARGIN = timedelta(minutes=1)


@dataclass
class Restore:
    """A restore of a stage's table to `at`."""

    settings: dict
    template: dict
    at: datetime
    pause: Callable[[float], None] = time.sleep
    # The longest that SQS waits for a message; after two empty answers the queue is empty.
    poll_seconds: int = 20

    def client(self, service: str):
        return boto3.client(service, region_name=self.settings["region"])

    @property
    def stack(self) -> str:
        return self.settings["stack"]

    def outputs(self) -> dict[str, str]:
        return deploy.outputs(self.client("cloudformation"), self.stack)

    def physical_id(self, resource: str) -> str:
        found = self.client("cloudformation").describe_stack_resource(StackName=self.stack, LogicalResourceId=resource)
        return found["StackResourceDetail"]["PhysicalResourceId"]

    def close(self) -> None:
        """From now on, API Gateway can't invoke the authorizer: callers with a token get 503."""
        name, client = self.physical_id("AuthorizerFunction"), self.client("lambda")
        # Lambda refuses to reserve less than what is provisioned.
        with suppress(client.exceptions.ProvisionedConcurrencyConfigNotFoundException):
            for one in client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]:
                qualifier = one["FunctionArn"].rpartition(":")[2]
                client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        print("the authorizer is closed: callers with a token get 503", flush=True)

    # --- the table ----------------------------------------------------------------------------------------------------

    def restore_table(self) -> dict[str, str]:
        """Closes the authorizer, and restores the table with all of its settings. Returns the parameters for it."""
        self.close()
        dynamodb, own = self.client("dynamodb"), self.template["Resources"]["KeysTable"]["Properties"]
        source = self.outputs()["KeysTableName"]
        name = f"{self.stack}-{self.at:%Y%m%dT%H%M%SZ}"
        try:
            dynamodb.describe_table(TableName=name)
            print(f"{name} exists: continuing", flush=True)
        except dynamodb.exceptions.ResourceNotFoundException:
            dynamodb.restore_table_to_point_in_time(SourceTableName=source, TargetTableName=name, RestoreDateTime=self.at)
            print(f"restoring {source} as of {self.at:%Y-%m-%dT%H:%M:%SZ} to {name}", flush=True)
        table = self.active(name)
        # A restored table has none of these settings.
        if not table.get("StreamSpecification", {}).get("StreamEnabled"):
            view = own["StreamSpecification"]["StreamViewType"]
            dynamodb.update_table(TableName=name, StreamSpecification={"StreamEnabled": True, "StreamViewType": view})
            table = self.active(name)
        if not table.get("DeletionProtectionEnabled"):
            dynamodb.update_table(TableName=name, DeletionProtectionEnabled=True)
            table = self.active(name)
        if dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED":
            dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=own["TimeToLiveSpecification"])
        dynamodb.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        self.wait_for_notifications()
        return {"ExistingKeysTable": name, "ExistingKeysTableStream": table["LatestStreamLabel"], "AuthorizerClosed": "true"}

    def active(self, name: str) -> dict:
        """Waits until the table can be changed. A restore can take hours."""
        dynamodb = self.client("dynamodb")
        while (table := dynamodb.describe_table(TableName=name)["Table"])["TableStatus"] != "ACTIVE":
            self.pause(20)
        return table

    def wait_for_notifications(self) -> None:
        """Waits until the notifications have read the old table's stream: what they haven't sent isn't in the archive."""
        cloudwatch, function = self.client("cloudwatch"), self.physical_id("NotificationsFunction")
        while True:
            now = datetime.now(UTC)
            ages = cloudwatch.get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName="IteratorAge",
                Dimensions=[{"Name": "FunctionName", "Value": function}],
                StartTime=now - timedelta(minutes=10),
                EndTime=now,
                Period=60,
                Statistics=["Maximum"],
            )["Datapoints"]
            # Without a datapoint, there was nothing to read.
            latest = max(ages, key=lambda one: one["Timestamp"], default={"Maximum": 0})
            behind = timedelta(milliseconds=latest["Maximum"])
            if behind <= MAX_LAG:
                return
            print(f"the notifications are {behind} behind (NotificationsLagAlarm in docs/operations.md): waiting", flush=True)
            self.pause(60)

    # --- the replay ---------------------------------------------------------------------------------------------------

    def replay(self) -> dict[str, int]:
        """Takes from the restored keys what they lost since. Returns how many were revoked and disabled."""
        self.close()
        outputs = self.outputs()
        if not outputs["KeysTableName"] or outputs["KeysTableName"] != self.settings["parameters"].get("ExistingKeysTable"):
            raise Refused("deploy the restored table first: ExistingKeysTable isn't the table that the stack uses")
        print(f"waiting {ARCHIVE_DELAY_SECONDS // 60} minutes, until the archive has every event", flush=True)
        self.pause(ARCHIVE_DELAY_SECONDS)
        end, events = datetime.now(UTC), self.client("events")
        name = f"{self.stack}-replay-{end:%Y%m%d%H%M%S}"
        done = {"revoked": 0, "disabled": 0}
        archive = events.describe_archive(ArchiveName=outputs["KeyChangesArchiveName"])
        with self.queue(name, outputs["NoticeSource"]) as (queue, rule_arn):
            self.await_canary(name, queue)
            events.start_replay(
                ReplayName=name,
                EventSourceArn=archive["ArchiveArn"],
                EventStartTime=self.at - MARGIN,
                EventEndTime=end,
                Destination={"Arn": archive["EventSourceArn"], "FilterArns": [rule_arn]},
            )
            empty = 0
            while empty < 2:
                state = events.describe_replay(ReplayName=name)["State"]
                if state in ("FAILED", "CANCELLING", "CANCELLED"):
                    raise Refused(f"the replay {name} is {state}: repeat this command")
                batch = self.receive(queue)
                if batch:
                    report = self.invoke_owners({"replay": [detail for _, detail in batch]})
                    self.delete(queue, [handle for handle, _ in batch])
                    for count in done:
                        done[count] += report[count]
                empty = 0 if batch or state != "COMPLETED" else empty + 1
        print(f"replayed: {done['revoked']} keys revoked, {done['disabled']} disabled", flush=True)
        self.sync_owners()
        return done

    @contextmanager
    def queue(self, name: str, source: str) -> Iterator[tuple[str, str]]:
        """A queue that receives the replayed events and nothing else but the canary, while it is needed."""
        events, sqs = self.client("events"), self.client("sqs")
        # Every replay reaches only the rules that it names, so nobody is notified again.
        pattern = {"source": [source, name]}
        rule = events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
        queue = sqs.create_queue(QueueName=name, Attributes={"SqsManagedSseEnabled": "true"})["QueueUrl"]
        try:
            arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            policy = {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": arn,
                        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
                    }
                ],
            }
            sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
            events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
            yield queue, rule
        finally:
            events.remove_targets(Rule=name, Ids=["queue"])
            events.delete_rule(Name=name)
            sqs.delete_queue(QueueUrl=queue)

    def await_canary(self, name: str, queue: str) -> None:
        """Proves that events reach the queue: without it, a replay that arrives nowhere would look like one without events."""
        events, sqs = self.client("events"), self.client("sqs")
        for _ in range(30):
            events.put_events(Entries=[{"Source": name, "DetailType": "canary", "Detail": "{}"}])
            found = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2).get("Messages", [])
            if found:
                self.delete(queue, [message["ReceiptHandle"] for message in found])
                return
        raise Refused("no event reaches the queue of the replay: nothing was replayed")

    def receive(self, queue: str) -> list[tuple[str, dict]]:
        """Some messages, each with the notification in it; none if the queue is empty."""
        sqs, batch = self.client("sqs"), []
        while len(batch) < NOTIFICATIONS_PER_CALL:
            wait = 0 if batch else self.poll_seconds
            messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait).get("Messages", [])
            if not messages:
                break
            for message in messages:
                event = json.loads(message["Body"])
                if event["detail-type"] == "canary":
                    self.delete(queue, [message["ReceiptHandle"]])
                else:
                    batch.append((message["ReceiptHandle"], event["detail"]))
        return batch

    def delete(self, queue: str, handles: list[str]) -> None:
        for start in range(0, len(handles), 10):
            entries = [{"Id": str(at), "ReceiptHandle": handle} for at, handle in enumerate(handles[start : start + 10])]
            self.client("sqs").delete_message_batch(QueueUrl=queue, Entries=entries)

    def sync_owners(self) -> None:
        """Applies the user pool as it is now to the restored keys."""
        event = {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
        while (report := self.invoke_owners(event))["outcome"] != "ok" or report["incomplete"]:
            self.pause(20)
        print("every owner's keys are in line with the user pool", flush=True)

    def invoke_owners(self, event: dict) -> dict:
        # A run takes minutes, and an attempt that only seems lost must not start a second one.
        patient = Config(read_timeout=910, retries={"total_max_attempts": 1})
        client = boto3.client("lambda", region_name=self.settings["region"], config=patient)
        answer = client.invoke(FunctionName=self.outputs()["OwnersFunctionName"], Payload=json.dumps(event))
        report = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise Refused(f"the owner sync failed (its log says why); repeat this command: {report}")
        return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["restore", "replay"])
    parser.add_argument("stage")
    parser.add_argument("at", type=datetime.fromisoformat, help="the time to restore, for instance 2026-11-30T10:00:00Z")
    arguments = parser.parse_args()

    def command() -> None:
        if arguments.at.tzinfo is None:
            raise Refused(f"{arguments.at}: add the time zone, such as Z for UTC")
        restore = Restore(*deploy.stage(arguments.stage), arguments.at.astimezone(UTC))
        if arguments.action == "replay":
            restore.replay()
            print(f"now delete AuthorizerClosed from deploy/{arguments.stage}.toml, and deploy")
        else:
            values = restore.restore_table()
            print(f"now put this into deploy/{arguments.stage}.toml, below [parameters], and deploy:")
            print("\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items()))

    return deploy.reported(command)


if __name__ == "__main__":
    sys.exit(main())
