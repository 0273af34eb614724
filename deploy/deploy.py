"""Deploys a stage to AWS without questions: `make deploy STAGE=prod` reads its settings from deploy/prod.toml.

Every parameter is passed on every deployment, so that a value deleted from the file, or a default changed in template.yaml, takes
effect; CloudFormation alone would keep the old value. Settings are checked before anything is built.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import boto3
import tomllib
from botocore.exceptions import BotoCoreError, ClientError
from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
SECTIONS = ("stack", "region", "parameters", "tags")
# The build sets the first, and this script the second.
NOT_SETTINGS = {
    "Architecture": "choose it with make deploy ARCH=arm64 or ARCH=x86_64",
    "DeletionProtection": "it is turned on once the first deployment has succeeded",
}
# A stack in one of these states was never created: nothing uses it, and it can only be deleted. The last one also means that
# another first deployment is about to begin.
NEVER_CREATED = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS")
# sam executes a change set as soon as it is complete, which takes a minute or two.
ABANDONED_AFTER = timedelta(minutes=15)


class Refused(Exception):
    """A mistake that a person has to correct; the text says what and how. Nothing was changed."""


def load(path: Path, template: dict) -> dict:
    """Reads the settings of a stage. Reports all mistakes in them at once."""
    if not path.exists():
        known = sorted(file.stem for file in path.parent.glob("*.toml") if file.stem != "example")
        have = f"there are {', '.join(known)}" if known else "there is none yet"
        raise Refused(f"{path.name} doesn't exist ({have}): copy deploy/example.toml to deploy/{path.name} and edit it")
    try:
        settings = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path.name}: {error}") from error
    problems = [unknown(name, "setting", SECTIONS) for name in settings if name not in SECTIONS]
    for name in ("stack", "region"):
        if not isinstance(settings.get(name), str) or not settings[name]:
            problems.append(f"{name}: expected a string, such as " + {"stack": '"vega-auth"', "region": '"eu-central-1"'}[name])
    for name in ("parameters", "tags"):
        settings.setdefault(name, {})
        if not isinstance(settings[name], dict):
            problems.append(f"{name}: expected a table, [{name}]")
            settings[name] = {}
    declared = template["Parameters"]
    for name, value in settings["parameters"].items():
        if name in NOT_SETTINGS:
            problems.append(f"{name}: {NOT_SETTINGS[name]}")
        elif name not in declared:
            problems.append(unknown(name, "parameter", set(declared) - set(NOT_SETTINGS)))
        elif problem := wrong(declared[name], value):
            problems.append(f"{name}: {problem}")
    for name, value in settings["tags"].items():
        # sam reads a tag as name=value.
        if not isinstance(value, str) or "=" in name + value:
            problems.append(f"tags.{name}: expected a string without =")
    if not problems:
        problems = broken_rules(template, parameters(settings, template))
    if problems:
        raise Refused(f"{path.name}:\n" + "\n".join(f"  {problem}" for problem in problems))
    return settings


def unknown(name: str, kind: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"{name}: no such {kind}" + (f"; did you mean {close[0]}?" if close else "")


def wrong(declared: dict, value: object) -> str | None:
    """The reason that a parameter can't have this value, by CloudFormation's rules."""
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, (str, int)):
        return "expected a string or a whole number"
    text = str(value)
    if declared["Type"] == "Number":
        if not re.fullmatch(r"-?\d+", text):
            return "expected a whole number"
        low, high = declared.get("MinValue"), declared.get("MaxValue")
        if low is not None and int(text) < int(low) or high is not None and int(text) > int(high):
            return f"expected {low} to {high}"
    if allowed := [str(one) for one in declared.get("AllowedValues", [])]:
        return None if text in allowed else f"expected one of {', '.join(allowed)}"
    if (pattern := declared.get("AllowedPattern")) and not re.search(pattern, text):
        return f"doesn't match {pattern}"
    return None


def parameters(settings: dict, template: dict, protected: bool = True) -> dict[str, str]:
    """Every parameter of the template, with this stage's value."""
    values = {name: str(declared.get("Default", "")) for name, declared in template["Parameters"].items()}
    given = {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings["parameters"].items()
    }
    return {**values, **given, "DeletionProtection": str(protected).lower()}


def broken_rules(template: dict, values: dict[str, str]) -> list[str]:
    """The combinations of parameters that the template's own Rules reject, and one that they can't express."""
    # CloudFormation's rules compare no numbers. Lambda would reject this in the middle of the deployment.
    reserved, provisioned = (int(values[name]) for name in ("AuthorizerConcurrency", "AuthorizerProvisionedConcurrency"))
    exceeded = ["AuthorizerProvisionedConcurrency exceeds AuthorizerConcurrency"] if 0 < reserved < provisioned else []
    return exceeded + [
        assertion["AssertDescription"]
        for rule in template["Rules"].values()
        if holds(rule["RuleCondition"], values)
        for assertion in rule["Assertions"]
        if not holds(assertion["Assert"], values)
    ]


def holds(expression: dict, values: dict[str, str]) -> bool:
    """Evaluates an intrinsic condition function."""
    [(function, argument)] = expression.items()
    match function:
        case "Fn::Equals":
            left, right = (values[side["Ref"]] if isinstance(side, dict) else str(side) for side in argument)
            return left == right
        case "Fn::Not":
            return not holds(argument[0], values)
        case "Fn::And":
            return all(holds(part, values) for part in argument)
        case "Fn::Or":
            return any(holds(part, values) for part in argument)
    raise Refused(f"template.yaml: a rule uses {function}, which deploy.py doesn't support")


def check_table(settings: dict, template: dict) -> None:
    """Rejects an existing table that the functions can't use like the template's own."""
    values = parameters(settings, template)
    name, stream = values["ExistingKeysTable"], values["ExistingKeysTableStream"]
    if not name:
        return
    dynamodb = boto3.client("dynamodb", region_name=settings["region"])
    try:
        table = dynamodb.describe_table(TableName=name)["Table"]
        ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    except dynamodb.exceptions.ResourceNotFoundException as error:
        raise Refused(f"ExistingKeysTable: there is no table {name} in {settings['region']}") from error
    own = template["Resources"]["KeysTable"]["Properties"]
    problems = table_problems(table, ttl, backups, own, stream)
    if problems:
        raise Refused(f"ExistingKeysTable: {name} can't be used:\n" + "\n".join(f"  {problem}" for problem in problems))


def table_problems(table: dict, ttl: dict, backups: dict, own: dict, label: str) -> list[str]:
    """The differences of a table, as DynamoDB describes it, from the template's own that matter."""
    problems = []
    if table["TableStatus"] != "ACTIVE":
        problems.append(f"it is {table['TableStatus']}, not ACTIVE")
    if keys(table) != keys(own):
        problems.append(f"its keys are {keys(table)}, not {keys(own)}")
    [index] = own["GlobalSecondaryIndexes"]
    found = {one["IndexName"]: one for one in table.get("GlobalSecondaryIndexes", [])}.get(index["IndexName"])
    if not found:
        problems.append(f"it has no index {index['IndexName']}")
    else:
        if keys(table, found) != keys(own, index):
            problems.append(f"the keys of its index {index['IndexName']} are {keys(table, found)}, not {keys(own, index)}")
        if found["Projection"]["ProjectionType"] != "ALL":
            wanted, has = (set(one["Projection"].get("NonKeyAttributes", [])) for one in (index, found))
            problems += [f"its index {index['IndexName']} lacks the attribute {name}" for name in sorted(wanted - has)]
    stream = table.get("StreamSpecification", {})
    if not stream.get("StreamEnabled"):
        problems.append("it has no stream")
    else:
        if stream["StreamViewType"] != own["StreamSpecification"]["StreamViewType"]:
            problems.append(f"its stream has {stream['StreamViewType']}, not {own['StreamSpecification']['StreamViewType']}")
        if table["LatestStreamLabel"] != label:
            problems.append(f"ExistingKeysTableStream isn't its stream, {table['LatestStreamLabel']}")
    attribute = own["TimeToLiveSpecification"]["AttributeName"]
    if (ttl["TimeToLiveStatus"], ttl.get("AttributeName")) not in (("ENABLED", attribute), ("ENABLING", attribute)):
        problems.append(
            f"its time to live isn't enabled for the attribute {attribute}: what it should delete would stay for ever"
        )
    if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
        problems.append("its point-in-time recovery is off")
    if not table.get("DeletionProtectionEnabled"):
        problems.append("it isn't protected from deletion")
    return problems


def keys(table: dict, index: dict | None = None) -> str:
    """The keys of a table or of its index, for instance `pk HASH S, sk RANGE S`."""
    types = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    schema = (index or table)["KeySchema"]
    return ", ".join(f"{one['AttributeName']} {one['KeyType']} {types.get(one['AttributeName'])}" for one in schema)


def outputs(cloudformation, stack: str) -> dict[str, str]:
    [found] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def status(cloudformation, stack: str) -> str | None:
    try:
        return cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def is_beginning(cloudformation, stack: str, now: datetime) -> bool:
    """Whether the change set of a first deployment may still be executed."""
    change_sets = cloudformation.list_change_sets(StackName=stack)["Summaries"]
    return any(one["Status"] != "FAILED" and now - one["CreationTime"] < ABANDONED_AFTER for one in change_sets)


def clear(cloudformation, stack: str, now: datetime) -> bool:
    """Deletes the remains of a failed first deployment. Returns whether the stack then doesn't exist."""
    found = status(cloudformation, stack)
    if found == "REVIEW_IN_PROGRESS" and is_beginning(cloudformation, stack, now):
        raise Refused(f"{stack} is being created right now: wait until that is finished, or 15 minutes if it was interrupted")
    if found in NEVER_CREATED:
        print(f"{stack} was never created ({found}): deleting the remains of that attempt", flush=True)
        cloudformation.delete_stack(StackName=stack)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack)
        return True
    if found and found.endswith("IN_PROGRESS"):
        raise Refused(f"{stack} is being changed right now ({found}): wait until that is finished")
    return found is None


def sam(settings: dict, values: dict[str, str]) -> None:
    """Runs `sam deploy` for the build. The settings are in a file, so values can contain spaces and quotes."""
    configuration = {
        "stack_name": settings["stack"],
        "region": settings["region"],
        "template_file": str(BUILT),
        "parameter_overrides": values,
        "capabilities": "CAPABILITY_IAM",
        "resolve_s3": True,
        "confirm_changeset": False,
        "fail_on_empty_changeset": False,
        "no_progressbar": True,
        "tags": [f"{name}={value}" for name, value in settings["tags"].items()],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samconfig.yaml"  # JSON is valid YAML.
        path.write_text(json.dumps({"version": 0.1, "default": {"deploy": {"parameters": configuration}}}))
        command = [Path(sys.executable).parent / "sam", "deploy", "--config-file", path]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "SAM_CLI_TELEMETRY": "0"}, stdin=subprocess.DEVNULL, check=True)


def deploy(settings: dict, template: dict, run: Callable[[dict, dict[str, str]], None] = sam) -> None:
    check_table(settings, template)
    cloudformation = boto3.client("cloudformation", region_name=settings["region"])
    if clear(cloudformation, settings["stack"], datetime.now(timezone.utc)):
        # A protected table or pool would outlive a failed creation.
        run(settings, parameters(settings, template, protected=False))
        print("created; turning on deletion protection", flush=True)
    run(settings, parameters(settings, template))


def stage(name: str) -> tuple[dict, dict]:
    """The settings of a stage, and the template that they are for."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    return load(ROOT / "deploy" / f"{name}.toml", template), template


def reported(command: Callable[[], None]) -> int:
    """Runs a command, and prints a failure that a person can correct as one line. Returns the exit code."""
    try:
        command()
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    except (ClientError, BotoCoreError) as error:
        print(f"AWS: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print("The deployment failed; the reason is above. Correct it and run the same command again.", file=sys.stderr)
        return error.returncode
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["check", "deploy"])
    parser.add_argument("stage")
    arguments = parser.parse_args()

    def command() -> None:
        settings, template = stage(arguments.stage)
        check_table(settings, template)
        if arguments.action == "deploy":
            # The built template, which accepts only one architecture.
            deploy(settings, yaml_parse(BUILT.read_text()))

    return reported(command)


if __name__ == "__main__":
    sys.exit(main())
