"""Each function's role, evaluated like in IAM, allows exactly the function's calls."""

import re
from functools import partial

import iam
import pytest
from template import FUNCTIONS, RESOURCES, ROOT

TABLE = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingKeysTable}"
INDEX, STREAM = f"{TABLE}/index/key-owners", f"{TABLE}/stream/${{ExistingKeysTableStream}}"
BUS = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/default"
QUEUE = "DeadLetters.Arn"
POOL = "arn:${AWS::Partition}:cognito-idp:${AWS::Region}:${AWS::AccountId}:userpool/${ExistingUserPoolId}"
MAIL = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*"
SOURCE = "vega-auth.${AWS::StackName}"
USE = ["pk", "sk", "used_at", "moved_at", "address", "user_agent"]


def text(value: object) -> str:
    """A resource or value as written in the template: `GetAtt`, `Sub`, `Ref`, or an `If`'s branch for an existing pool or table."""
    while isinstance(value, dict):
        [(function, argument)] = value.items()
        value = argument[2] if function == "If" else argument
    return str(value)


def texts(values: object) -> list[str]:
    return [text(value) for value in (values if isinstance(values, list) else [values])]


def statements(function: str) -> list[dict]:
    assert FUNCTIONS[function]["Properties"]["Role"] == {"GetAtt": f"{function}Role.Arn"}
    role = RESOURCES[f"{function}Role"]
    assert role.get("Condition") == FUNCTIONS[function].get("Condition")
    assert set(role["Properties"]) == {"AssumeRolePolicyDocument", "Policies"}, "managed policies are too broad"
    tracing, *own = role["Properties"]["Policies"]
    condition, policy, otherwise = tracing["If"]
    assert (condition, otherwise) == ("TracesRequests", {"Ref": "AWS::NoValue"})
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], (
        "whatever traces grant, they read nothing"
    )
    return [one for policy in own for one in policy["PolicyDocument"]["Statement"]]


def plain(statement: dict) -> dict:
    """A statement with `text` of its values."""
    conditions = statement.get("Condition", {}).items()
    return {
        **statement,
        "Action": texts(statement["Action"]),
        "Resource": texts(statement["Resource"]),
        "Condition": {operator: {key: texts(value) for key, value in keys.items()} for operator, keys in conditions},
    }


def allows(function: str, action: str, resource: str, **context: str | list[str]) -> bool:
    """Whether the function's role allows a call. `context` has the condition keys of the request, such as `LeadingKeys`."""
    service = action.partition(":")[0]
    request = {f"{service}:{name}": texts(value) for name, value in context.items()}
    return iam.allows([plain(one) for one in statements(function)], action, resource, request)


READ_KEYS = ["BatchGetItem", "GetItem", "Query"]
WRITES = ["ConditionCheckItem", "PutItem", "UpdateItem"]
# Each function's actions on the table, by the prefix of the partition key.
ON_THE_TABLE = {
    "Authorizer": {"K#": {"Query"}},
    "ApiKeys": {prefix: {*READ_KEYS, *WRITES} for prefix in ("K#", "U#", "I#")},
    "LeakedKeys": {prefix: {"PutItem", "Query", "UpdateItem"} for prefix in ("K#", "U#")},
    "Owners": {prefix: {*READ_KEYS, *WRITES} for prefix in ("K#", "U#", "P#")},
    "Notifications": {"N#": {"BatchGetItem", "PutItem"}, "K#": {"Query"}},
}
EVERY_ACTION = {*READ_KEYS, *WRITES, "DeleteItem", "BatchWriteItem", "Scan", "PartiQLUpdate", "DeleteTable", "UpdateTable"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_reaches_only_its_functions_items(function: str):
    for prefix in ("K#", "U#", "I#", "N#", "P#", "X#"):
        expected = ON_THE_TABLE.get(function, {}).get(prefix, set())
        allowed = {action for action in EVERY_ACTION if allows(function, f"dynamodb:{action}", TABLE, LeadingKeys=f"{prefix}1")}
        assert allowed == expected, prefix
    for action in EVERY_ACTION:
        assert not allows(function, f"dynamodb:{action}", TABLE), f"{action} without a key"
        assert not allows(function, f"dynamodb:{action}", TABLE, LeadingKeys=["K#1", "X#1"]), f"{action} of another item too"


def test_the_authorizer_can_write_only_the_last_use():
    def update(**context: str | list[str]) -> bool:
        return allows("Authorizer", "dynamodb:UpdateItem", TABLE, **context)

    assert update(LeadingKeys="K#1", Attributes=USE)
    assert update(LeadingKeys="K#1", Attributes=USE, ReturnValues="NONE")
    assert not update(LeadingKeys="K#1", Attributes=USE, ReturnValues="ALL_OLD")
    assert not update(LeadingKeys="U#1", Attributes=USE)
    assert not update(LeadingKeys="K#1"), "without a list, any attribute could be written"
    for attribute in ("status", "groups", "scopes", "cidrs", "digest", "expires_at", "revoked_at", "version", "holder"):
        assert not update(LeadingKeys="K#1", Attributes=[*USE, attribute]), attribute


def test_notifications_update_only_lists_of_keys_and_their_own_scan():
    def update(**context: str | list[str]) -> bool:
        return allows("Notifications", "dynamodb:UpdateItem", TABLE, **context)

    lists = ["pk", "sk", "live", "ended", "purge_at"]
    assert update(LeadingKeys="U#1", Attributes=lists)
    assert not update(LeadingKeys="U#1", Attributes=lists, ReturnValues="ALL_OLD")
    assert not update(LeadingKeys="K#1", Attributes=lists)
    assert not update(LeadingKeys="U#1"), "without a list, any attribute could be written"
    for attribute in ("barred_until", "event", "actor", "before", "after", "groups"):
        assert not update(LeadingKeys="U#1", Attributes=[*lists, attribute]), attribute
    assert update(LeadingKeys="P#expiry", Attributes=["pk", "sk", "place"])
    assert not update(LeadingKeys="P#key-owners", Attributes=["pk", "sk", "place"])


def test_only_owners_scan_the_table_and_see_no_secret_of_it():
    names = ["pk", "sk", "owner", "status", "expires_at", "revoked_at", "purge_at", "holder", "live", "ended"]
    read = re.search(r'READ: &str = "(.*)";', (ROOT / "shared/store/src/repair.rs").read_text())
    assert read[1].replace("#", "").split(", ") == names, "the scan's projection"
    for function in FUNCTIONS:
        scan = partial(allows, function, "dynamodb:Scan", TABLE)
        assert scan(Attributes=names, Select="SPECIFIC_ATTRIBUTES") == (function == "Owners")
        assert not scan(Attributes=names, Select="ALL_ATTRIBUTES")
        assert not scan(Select="SPECIFIC_ATTRIBUTES")
        for attribute in ("digest", "sealed", "address", "name", "before"):
            assert not scan(Attributes=[*names, attribute], Select="SPECIFIC_ATTRIBUTES"), attribute


def test_no_role_can_delete_an_item():
    for function in FUNCTIONS:
        for prefix in ("K#", "U#", "I#", "N#", "P#"):
            for action in ("DeleteItem", "BatchWriteItem", "PartiQLDelete"):
                assert not allows(function, f"dynamodb:{action}", TABLE, LeadingKeys=f"{prefix}1"), (
                    "only DynamoDB itself deletes"
                )


def test_only_owners_and_notifications_scan_the_index():
    for function in FUNCTIONS:
        assert allows(function, "dynamodb:Scan", INDEX) == (function in ("Owners", "Notifications"))
        assert not allows(function, "dynamodb:Query", INDEX, LeadingKeys="user-1")


def test_a_role_writes_only_to_its_own_log_group():
    for function in FUNCTIONS:
        for group in FUNCTIONS:
            for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
                assert allows(function, action, f"{group}Logs.Arn") == (group == function)
            assert not allows(function, "logs:CreateLogGroup", f"{group}Logs.Arn")


ELSEWHERE = [
    ("AuthorizerCheck", "lambda:InvokeFunction", "${AuthorizerFunction.Arn}:*", {}),
    ("Owners", "cognito-idp:AdminGetUser", POOL, {}),
    ("Owners", "cognito-idp:AdminListGroupsForUser", POOL, {}),
    ("Owners", "cognito-idp:ListUsers", POOL, {}),
    ("Owners", "cognito-idp:ListUsersInGroup", POOL, {}),
    ("Owners", "events:PutEvents", BUS, {"source": SOURCE, "detail-type": "Owner Sync Continues"}),
    ("Notifications", "dynamodb:DescribeStream", STREAM, {}),
    ("Notifications", "dynamodb:GetRecords", STREAM, {}),
    ("Notifications", "dynamodb:GetShardIterator", STREAM, {}),
    ("Notifications", "dynamodb:ListStreams", "*", {}),
    ("Notifications", "events:PutEvents", BUS, {"source": SOURCE}),
    ("Notifications", "sqs:SendMessage", QUEUE, {}),
    ("Mail", "cognito-idp:AdminGetUser", POOL, {}),
    ("Mail", "ses:SendEmail", MAIL, {"FromAddress": "NoticeMailFrom"}),
    ("Mail", "sqs:SendMessage", QUEUE, {}),
]


@pytest.mark.parametrize(("function", "action", "resource", "context"), ELSEWHERE)
def test_a_role_allows_its_functions_calls(function: str, action: str, resource: str, context: dict):
    assert allows(function, action, resource, **context)


def test_no_role_has_an_untested_permission():
    named = {(function, action, resource) for function, action, resource, _ in ELSEWHERE}
    for function in FUNCTIONS:
        for one in statements(function):
            for action in texts(one["Action"]):
                for resource in texts(one["Resource"]):
                    assert "*" not in action
                    if resource not in (TABLE, INDEX, f"{function}Logs.Arn"):
                        assert (function, action, resource) in named


def test_a_created_table_has_the_rights_of_an_existing_one():
    seen = set()
    for function in FUNCTIONS:
        for one in statements(function):
            for resource in one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]:
                if "If" in resource and resource["If"][0] == "CreatesKeysTable":
                    seen.add(tuple(text(branch) for branch in resource["If"][1:]))
    own = {("KeysTable.Arn", TABLE), ("${KeysTable.Arn}/index/key-owners", INDEX), ("KeysTable.StreamArn", STREAM)}
    assert seen == own


def test_events_and_mail_have_only_the_stacks_own_sender():
    assert not allows("Notifications", "events:PutEvents", BUS, source="aws.cognito-idp")
    assert not allows("Notifications", "events:PutEvents", BUS)
    assert not allows("Owners", "events:PutEvents", BUS, **{"source": SOURCE, "detail-type": "API Key Notice"})
    assert not allows("Owners", "events:PutEvents", BUS, **{"source": "aws.cognito-idp", "detail-type": "Owner Sync Continues"})
    assert not allows("Mail", "ses:SendEmail", MAIL, FromAddress="ceo@example.com")
