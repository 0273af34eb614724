"""Records the functions' calls to AWS as IAM sees them, for tests/test_roles.py: action, resource and condition keys.

A partition key is cut after its prefix, unless it names one of our own tasks (`P#`), and no other value is recorded. Each distinct call is written once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/([^/,\s]+)/aws4_request")
# An item of a transaction needs the permission for the same write alone.
IN_TRANSACTIONS = {
    "ConditionCheck": "ConditionCheckItem",
    "Delete": "DeleteItem",
    "Get": "GetItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
}
EXPRESSIONS = ("ConditionExpression", "FilterExpression", "KeyConditionExpression", "ProjectionExpression", "UpdateExpression")
# A name or its placeholder: neither a value's placeholder nor a function.
NAME = re.compile(r"(?<![:#\w])#?[A-Za-z_]\w*(?![\w(]|\s*\()")
KEYWORDS = {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "BETWEEN", "IN"}
# SES has no operation in a header.
INVOCATION = re.compile(r"POST /2015-03-31/functions/(.+)/invocations")
PATHS = {("ses", "POST", "/v2/email/outbound-emails"): "SendEmail"}


@dataclass(frozen=True)
class Call:
    action: str
    resource: str
    # The request's condition keys, each with its values.
    context: dict[str, list[str]]


class Recorder:
    """Writes calls to a file, one JSON object per line. `own_key` signs the calls of tools and tests, which aren't recorded."""

    def __init__(self, path: Path, own_key: str, account: str = "000000000000") -> None:
        self.path, self.own_key, self.account = path, own_key, account
        self.seen: set[str] = set()
        path.write_text("")

    def record(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        signed = CREDENTIAL.search(headers.get("authorization", ""))
        if signed is None or signed[1] == self.own_key:
            return
        function, region, service = signed.groups()
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        operation = operation or PATHS.get((service, method, path), f"{method} {path}")
        for call in calls(service, operation, json.loads(body or b"{}"), f"{region}:{self.account}"):
            line = json.dumps({"function": function, **asdict(call)}, sort_keys=True)
            if line not in self.seen:
                self.seen.add(line)
                with self.path.open("a") as file:
                    file.write(line + "\n")


def calls(service: str, operation: str, request: dict[str, Any], place: str) -> Iterator[Call]:
    """What IAM decides about a request; `place` is region and account. An unknown one has no resource, so no role allows it."""
    match service, operation:
        case "dynamodb", "TransactWriteItems" | "TransactGetItems":
            for item in request["TransactItems"]:
                for kind, part in item.items():
                    yield on_table(IN_TRANSACTIONS[kind], part["TableName"], part, place)
        case "dynamodb", "BatchGetItem":
            for table, part in request["RequestItems"].items():
                yield on_table(operation, table, part, place)
        case "dynamodb", _ if "TableName" in request:
            yield on_table(operation, request["TableName"], request, place)
        case "cognito-idp", _ if "UserPoolId" in request:
            yield Call(f"cognito-idp:{operation}", f"arn:aws:cognito-idp:{place}:userpool/{request['UserPoolId']}", {})
        case "events", "PutEvents":
            for entry in request["Entries"]:
                bus = f"arn:aws:events:{place}:event-bus/{entry.get('EventBusName', 'default')}"
                context = {"events:source": [entry["Source"]], "events:detail-type": [entry["DetailType"]]}
                yield Call("events:PutEvents", bus, context)
        case "lambda", _ if invoked := INVOCATION.fullmatch(operation):
            yield Call("lambda:InvokeFunction", invoked[1], {})
        case "ses", "SendEmail":
            sender = request["FromEmailAddress"]
            yield Call("ses:SendEmail", f"arn:aws:ses:{place}:identity/{sender}", {"ses:FromAddress": [sender]})
        case _:
            yield Call(f"{service}:{operation}", "*", {})


def on_table(operation: str, table: str, part: dict[str, Any], place: str) -> Call:
    """A call on a table or an index, with the condition keys that roles restrict."""
    index = f"/index/{part['IndexName']}" if "IndexName" in part else ""
    keys = [part[name] for name in ("Key", "Item") if name in part] + part.get("Keys", [])
    leading = [key["pk"]["S"] for key in keys]
    if equality := re.search(r"\bpk = (:\w+)", part.get("KeyConditionExpression", "")):
        leading.append(part["ExpressionAttributeValues"][equality[1]]["S"])
    placeholders = part.get("ExpressionAttributeNames", {})
    words = NAME.findall(" ".join(part.get(name, "") for name in EXPRESSIONS))
    named = {placeholders.get(word, word) for word in words if word not in KEYWORDS}
    context = {
        "dynamodb:LeadingKeys": sorted({key if key.startswith("P#") else re.sub(r"#.*", "#", key) for key in leading}),
        "dynamodb:Attributes": sorted(named.union(*keys)),
        "dynamodb:ReturnValues": [part["ReturnValues"]] if "ReturnValues" in part else [],
    }
    return Call(
        f"dynamodb:{operation}",
        f"arn:aws:dynamodb:{place}:table/{table}{index}",
        {name: values for name, values in context.items() if values},
    )
