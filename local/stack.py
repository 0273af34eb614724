"""The local stack: the real template, on an AWS emulator, at http://localhost:8000.

`sam build`, `sam deploy` and template.yaml are those for AWS; MiniStack plays AWS. After the deployment, this script
works around the emulator's gaps, which local/README.md lists. Run it through the Makefile:

    make dev                            the debug user (VEGA_AUTH_PROVIDER=custom)
    make dev VEGA_AUTH_PROVIDER=cognito a user pool, with a user in each group
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import architecture
import build
from emulator import (
    DOMAIN,
    REGION,
    ROOT,
    STACK_NAME,
    USERS,
    Stack,
    emulator,
    keep_private,
    load_template,
    locked,
    make_up_for_the_emulator,
    running,
    settings,
)
from forward import forwarding
from progress import Failure, run

STATE = ROOT / "local" / ".state"
MAIL_FROM = "vega@example.com"


def fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


# --- steps ------------------------------------------------------------------------------------------------------------


def template(stack: Stack) -> Path:
    """Writes the built template, with the packaged functions, local/emulator.yaml and, for provider custom,
    local/debug-login.yaml."""
    from samcli.yamlhelper import yaml_dump, yaml_parse  # Slow to load.

    patches = [ROOT / "local" / "emulator.yaml"]
    if stack.provider == "custom":
        patches.append(ROOT / "local" / "debug-login.yaml")
    merged = yaml_parse((build.SAM_BUILD / "template.yaml").read_text())
    for patch in patches:
        merged = merge_patch(merged, yaml_parse(patch.read_text()))
    for name, resource in merged["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = str(build.package(name))
            # The emulator sets it itself, but `sam local invoke` passes on only what a template declares.
            environment = resource["Properties"].setdefault("Environment", {"Variables": {}})
            environment["Variables"]["AWS_ENDPOINT_URL"] = stack.aws
    path = build.SAM_BUILD / f"{stack.state.name}.yaml"
    path.write_text(yaml_dump(merged))
    return path


def merge_patch(target: object, patch: object) -> object:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def deploy(stack: Stack) -> None:
    """Deploys the built template, unless the same deployment exists. If only programs changed, it updates their functions
    directly."""
    architecture.check(build.SAM_BUILD, architecture.of_host())
    deployed = template(stack)
    kept = settings(stack)
    debug = {name: os.environ[variable] for name, variable in DEBUG_PARAMETERS.items() if os.environ.get(variable)}
    parameters = {
        "Architecture": architecture.of_host(),
        "DomainName": DOMAIN,
        # The emulator doesn't check it.
        "CertificateArn": f"arn:aws:acm:{REGION}:000000000000:certificate/local",
        # The debug login's credentials are documented: only the stack's own page can sign in with them.
        "CorsAllowedOrigin": stack.url,
        # Only a test that plays GitHub listens there.
        "GithubKeysUrl": f"http://127.0.0.1:{stack.port + 2}/meta/public_keys/secret_scanning",
        "NoticeMailFrom": MAIL_FROM,
        **({"AuthSecret": kept["auth_secret"], **debug} if stack.provider == "custom" else {}),
    }
    wanted = fingerprint(deployed.read_text(), json.dumps(parameters, sort_keys=True))
    marker = stack.state / "deployed"
    is_new = not is_deployed(stack)
    if not is_new and marker.exists() and marker.read_text() == wanted:
        changed = update_functions(stack)
        print(f"  deploy: {', '.join(changed) if changed else 'nothing'} changed")
        return
    marker.unlink(missing_ok=True)
    # In a file, so that the secret isn't on a command line, which other users of this machine can read.
    with tempfile.TemporaryDirectory(dir=stack.state) as folder:
        config = Path(folder) / "samconfig.yaml"  # JSON is valid YAML.
        overrides = [f"{name}={value}" for name, value in parameters.items()]
        config.write_text(
            json.dumps({"version": 0.1, "default": {"deploy": {"parameters": {"parameter_overrides": overrides}}}})
        )
        run(
            "deploy template.yaml",
            [
                "sam",
                "deploy",
                "--config-file",
                str(config),
                "--template-file",
                str(deployed),
                "--stack-name",
                STACK_NAME,
                "--region",
                REGION,
                "--resolve-s3",
                "--capabilities",
                "CAPABILITY_IAM",
                "--no-confirm-changeset",
                "--no-fail-on-empty-changeset",
                "--no-progressbar",
            ],
            stack.state / "deploy.log",
            count_resources(),
            cwd=ROOT,
            # By default sam polls every 5 s.
            env=build.environment(**stack.environment(), SAM_CLI_POLL_DELAY="0.5"),
        )
    if is_new:
        served(stack).write_text(json.dumps(build.built()))
    else:
        # CloudFormation sees no change if it deployed this program before and another one replaced it since.
        update_functions(stack)
    make_up_for_the_emulator(stack, stack.outputs())
    if stack.provider == "cognito":
        make_users(stack, kept["passwords"])
        stack.client("ses").verify_email_identity(EmailAddress=MAIL_FROM)
    marker.write_text(wanted)


def count_resources() -> Callable[[str], str | None]:
    """Counts the deployed resources in the output of `sam deploy`."""
    complete = 0

    def read(line: str) -> str | None:
        nonlocal complete
        complete += line.startswith(("CREATE_COMPLETE", "UPDATE_COMPLETE"))
        return f"{complete} resources" if complete else None

    return read


def served(stack: Stack) -> Path:
    """The file with the digests of the emulator's programs, by the functions' logical ids."""
    return stack.state / "served.json"


def update_functions(stack: Stack) -> list[str]:
    """Replaces the emulator's functions that differ. Returns their logical ids."""
    record = served(stack)
    before = json.loads(record.read_text()) if record.exists() else {}
    now = build.built()
    changed = [function for function in now if now[function] != before.get(function)]
    if changed:
        update_packages(stack, {function: build.package(function).read_bytes() for function in changed})
        record.write_text(json.dumps(before | now))
    return changed


def update_packages(stack: Stack, packages: dict[str, bytes]) -> None:
    """Replaces the packages of the given functions, by logical id."""
    names, client = function_names(stack), stack.client("lambda")
    for function, package in packages.items():
        # A function whose condition is false is built but not deployed.
        if function in names:
            client.update_function_code(FunctionName=names[function], ZipFile=package)
            client.get_waiter("function_updated_v2").wait(FunctionName=names[function], WaiterConfig={"Delay": 1})
            publish(client, names[function])


def publish(client, function: str) -> None:
    """Has a function's aliases, if there are any, name what was just deployed."""
    aliases = client.list_aliases(FunctionName=function)["Aliases"]
    if not aliases:
        return
    version = client.publish_version(FunctionName=function)["Version"]
    for alias in aliases:
        client.update_alias(FunctionName=function, Name=alias["Name"], FunctionVersion=version)
    for old in {alias["FunctionVersion"] for alias in aliases} - {version}:
        client.delete_function(FunctionName=function, Qualifier=old)


def function_names(stack: Stack) -> dict[str, str]:
    """The functions' names, by logical id."""
    pages = stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=STACK_NAME)
    resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in resources
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }


DEBUG_PARAMETERS = {
    "DebugEmail": "VEGA_DEBUG_EMAIL",
    "DebugPassword": "VEGA_DEBUG_PASSWORD",
    "DebugGroups": "VEGA_DEBUG_GROUPS",
}


def is_deployed(stack: Stack) -> bool:
    try:
        return bool(stack.outputs())
    except stack.client("cloudformation").exceptions.ClientError:
        return False


def make_users(stack: Stack, passwords: dict[str, str]) -> None:
    """Creates one user per group, and one in no group, unless they exist."""
    cognito, pool = stack.client("cognito-idp"), stack.outputs()["UserPoolId"]
    for email, group in USERS.items():
        with contextlib.suppress(cognito.exceptions.UsernameExistsException):
            cognito.admin_create_user(
                UserPoolId=pool,
                Username=email,
                MessageAction="SUPPRESS",
                UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
            )
        cognito.admin_set_user_password(UserPoolId=pool, Username=email, Password=passwords[email], Permanent=True)
        if group:
            cognito.admin_add_user_to_group(UserPoolId=pool, Username=email, GroupName=group)


# --- actions ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(stack: Stack) -> Iterator[None]:
    build.compile_functions()
    build.check_rules()
    build.lay_out()
    with emulator(stack), forwarding(stack.port, stack.aws_port, DOMAIN, compression()):
        deploy(stack)
        yield


def compression() -> int:
    """The size from which the template lets API Gateway compress."""
    return load_template()["Resources"]["Api"]["Properties"]["MinimumCompressionSize"]


def dev(stack: Stack) -> int:
    """Serves until Ctrl-C."""
    print(f"Vega Auth, provider {stack.provider}:")
    sources = build.sources()
    with locked(stack), serving(stack):
        print(what_to_try(stack), flush=True)
        watch(stack, sources)
        print("\nstopping …", flush=True)
    print("stopped; `make dev` continues with this data, `make reset` deletes it")
    return 0


def watch(stack: Stack, sources: dict) -> None:
    """Serves whatever changes after `sources` were read, until Ctrl-C."""
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(True))
    while not stop:
        time.sleep(0.3)
        if build.sources() != sources:
            # By then, an editor that saves several files, or one in several steps, is finished.
            time.sleep(0.2)
            before, sources = sources, build.sources()
            reload(stack, before, sources)


def reload(stack: Stack, before: dict, now: dict) -> None:
    """Serves changes while the stack runs, and reports them in one line. If the build fails, nothing changes."""
    started = time.monotonic()
    changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
    try:
        if any(path.startswith("dashboard/") for path in changed):
            build.build_page()
        build.compile_functions(quiet=True)
        if any(path.startswith("access/") for path in changed):
            build.check_rules(quiet=True)
        build.lay_out()
        functions = update_functions(stack)
    # Whatever failed, the next change can mend it.
    except Exception as error:
        what = str(error) if isinstance(error, Failure) else f"the reload failed: {type(error).__name__}: {error}"
        print(f"{what}\nStill serving the previous version. Waiting for the next change.", flush=True)
        return
    what = ", ".join(functions) if functions else "no function changed"
    print(f"reloaded: {what} ({time.monotonic() - started:.1f} s)", flush=True)


def what_to_try(stack: Stack) -> str:
    if stack.provider == "custom":
        email = os.environ.get("VEGA_DEBUG_EMAIL", "debug@example.com")
        password = os.environ.get("VEGA_DEBUG_PASSWORD", "vega-debug-password")
        body = json.dumps({"email": email, "password": password}, separators=(",", ":"))
        who = ""
        sign_in = (
            f"TOKEN=$(curl -s {stack.url}/v1/auth/login -H 'content-type: application/json' -d '{body}' | jq -r .access_token)"
        )
    else:
        passwords = settings(stack)["passwords"]
        who = "Users of this stack, with their passwords:\n" + "".join(
            f"    {email:22} {passwords[email]:28} {group or 'no group'}\n" for email, group in USERS.items()
        )
        sign_in = f"TOKEN=$(make -s token EMAIL=user@example.com PORT={stack.port})"
    port = "" if stack.port == 8000 else f" PORT={stack.port}"
    return f"""
Ready: {stack.url}/api-keys is the dashboard, {stack.url}/v1/openapi.json describes the API
Ctrl-C stops it; `make logs{port}` shows the newest decisions, `make logs FOLLOW=1{port}` also those to come.
{who}
Paste into another terminal, in this folder (jq parses the responses):

  # sign in, and get the current user
  {sign_in}
  curl -s {stack.url}/v1/auth/me -H "Authorization: Bearer $TOKEN" | jq

  # create a key, and call the API with it
  CREATED=$(curl -s {stack.url}/v1/api-keys -H "Authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{{"name":"first"}}')
  KEY=$(echo "$CREATED" | jq -r .key); ID=$(echo "$CREATED" | jq -r .id)
  curl -s {stack.url}/v1/projects -H "Authorization: Bearer $KEY" | jq

  # revoke it: the next call gets a 401
  curl -s -X DELETE -w '%{{http_code}}\n' {stack.url}/v1/api-keys/$ID -H "Authorization: Bearer $TOKEN"
  curl -s {stack.url}/v1/projects -H "Authorization: Bearer $KEY" | jq
"""


def test(stack: Stack, authorizer: Path | None, command: list[str]) -> int:
    """Runs `command` against a fresh stack and deletes it afterwards. If given, `authorizer` replaces the stack's own."""
    print(f"Vega Auth for a test, provider {stack.provider}, port {stack.port}:")
    with locked(stack):
        shutil.rmtree(stack.state, ignore_errors=True)
        try:
            with serving(stack):
                if authorizer:
                    package = io.BytesIO()
                    build.write_package(package, build.SAM_BUILD / "AuthorizerFunction", authorizer)
                    update_packages(stack, {"AuthorizerFunction": package.getvalue()})
                    print(f"  the authorizer is {authorizer}", flush=True)
                return subprocess.call(command, cwd=ROOT, env={**os.environ, **test_environment(stack)})
        finally:
            if os.environ.get("KEEP_STATE") != "1":
                shutil.rmtree(stack.state, ignore_errors=True)


def test_environment(stack: Stack) -> dict[str, str]:
    """The environment that tests/ needs; for a stack on AWS see tests/README.md."""
    outputs = stack.outputs()
    return {
        "VEGA_BASE_URL": stack.url,
        "VEGA_AUTH_PROVIDER": stack.provider,
        "VEGA_TEST_USERS": json.dumps(
            {
                group or "none": {"email": email, "password": settings(stack)["passwords"][email]}
                for email, group in USERS.items()
            }
        ),
        "VEGA_COGNITO_REGION": REGION,
        "VEGA_COGNITO_USER_POOL_ID": outputs.get("UserPoolId", ""),
        "VEGA_COGNITO_APP_CLIENT_ID": outputs.get("AppClientId", ""),
        "VEGA_KEYS_TABLE": outputs["KeysTableName"],
        "VEGA_STAGE_URL": f"{stack.aws}/restapis/{outputs['ApiId']}/live/_user_request_",
        "VEGA_LOCAL_STATE": str(stack.state),
        "VEGA_OWNERS_FUNCTION": outputs.get("OwnersFunctionName", ""),
        "VEGA_NOTIFICATIONS_FUNCTION": outputs["NotificationsFunctionName"],
        "VEGA_NOTICE_SOURCE": outputs["NoticeSource"],
        "VEGA_LOCAL_GITHUB_PORT": str(stack.port + 2),
        "VEGA_AUTH_SECRET": settings(stack)["auth_secret"],
        **stack.environment(),
    }


def token(stack: Stack, email: str) -> int:
    """Signs in a user of the local pool over SRP and prints the access token."""
    from pycognito import AWSSRP

    if email not in USERS:
        raise Failure(
            f"name one of the pool's users: make -s token EMAIL={next(iter(USERS))} (or {', '.join(list(USERS)[1:])})"
        )
    if stack.provider != "cognito":
        raise Failure(
            f"the stack on port {stack.port} has no user pool: POST {stack.url}/v1/auth/login, or VEGA_AUTH_PROVIDER=cognito make dev"
        )
    outputs = stack.outputs()
    answer = AWSSRP(
        username=email,
        password=settings(stack)["passwords"][email],
        pool_id=outputs["UserPoolId"],
        client_id=outputs["AppClientId"],
        client=stack.client("cognito-idp"),
    ).authenticate_user()
    print(answer["AuthenticationResult"]["AccessToken"])
    return 0


# Lines that `make logs` shows without FOLLOW.
NEWEST = 200


def logs(stack: Stack, only: str, follow: bool) -> int:
    """Prints the functions' newest log lines that contain `only`, oldest first; with `follow`, also those to come."""
    seen: list[dict] = []
    while True:
        # A line may arrive a second after a later one.
        since = seen[-1]["timestamp"] - 1000 if seen else 0
        events = log_events(stack, since)
        new = [event for event in events if event not in seen]
        lines = [line for event in new if (line := readable(event)) and only in line]
        for line in lines if seen else lines[-NEWEST:]:
            print(line, flush=True)
        if not follow:
            return 0
        seen = events or seen
        time.sleep(0.5)


def log_events(stack: Stack, since: int) -> list[dict]:
    client = stack.client("logs")
    groups = client.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    pages = client.get_paginator("filter_log_events")
    events = [
        {"timestamp": event["timestamp"], "message": event["message"], "function": group["logGroupName"].rsplit("/", 1)[-1]}
        for group in groups
        for page in pages.paginate(logGroupName=group["logGroupName"], startTime=max(since, 0))
        for event in page["events"]
    ]
    return sorted(events, key=lambda event: event["timestamp"])


def readable(event: dict) -> str | None:
    """A function's own line, such as `12:15:16 authorizer reject key_revoked GET /v1/projects 1 ms`; `None` for Lambda's."""
    try:
        line = json.loads(event["message"])
    except ValueError:
        # START, END and REPORT, and whatever a crash leaves behind.
        is_lambdas = event["message"].startswith(("START ", "END ", "REPORT ", "INIT_START "))
        line = {} if is_lambdas else {"message": event["message"].rstrip()}
    if not isinstance(line, dict) or not line:
        return None
    words = [line.get(name) for name in ("outcome", "code", "status", "method", "route", "message", "cause")]
    duration = f"{line['duration_ms']} ms" if "duration_ms" in line else None
    at = time.strftime("%H:%M:%S", time.localtime(event["timestamp"] / 1000))
    return " ".join(str(word) for word in (at, event["function"], *words, duration) if word is not None)


def reset() -> int:
    for port in running(STATE):
        raise Failure(f"a local stack runs on port {port}: stop it first (Ctrl-C)")
    shutil.rmtree(STATE, ignore_errors=True)
    print("deleted all local users, keys and tables, of both providers")
    return 0


def running_on(port: int) -> Stack:
    stack = running(STATE).get(port)
    if stack is None:
        others = "".join(f" (one runs on port {other}: PORT={other})" for other in running(STATE))
        raise Failure(f"no local stack runs on port {port}{others}: start one with make dev")
    return stack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", default=os.environ.get("VEGA_AUTH_PROVIDER") or "custom")
    parser.add_argument("--port", type=int, default=8000)
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("dev", "reset"):
        actions.add_parser(name)
    reading = actions.add_parser("logs")
    reading.add_argument("--only", default="", help="show lines that contain this text")
    reading.add_argument("--follow", action="store_true", help="wait for new lines")
    actions.add_parser("token").add_argument("email", nargs="?", default="")
    tests = actions.add_parser("test")
    tests.add_argument("--authorizer", type=Path, help="another build of the authorizer")
    tests.add_argument("command", nargs="+")
    arguments = parser.parse_args()

    folder = f"{arguments.provider}-test-{arguments.port}" if arguments.action == "test" else arguments.provider
    keep_private(STATE)
    # However it ends, it leaves no emulator behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.provider not in ("custom", "cognito"):
            raise Failure(f"VEGA_AUTH_PROVIDER: expected custom or cognito, not {arguments.provider}")
        stack = Stack(arguments.provider, arguments.port, STATE / folder)
        match arguments.action:
            case "dev":
                return dev(stack)
            case "test":
                return test(stack, arguments.authorizer, arguments.command)
            case "token":
                return token(running_on(arguments.port), arguments.email)
            case "logs":
                return logs(running_on(arguments.port), arguments.only, arguments.follow)
            case _:
                return reset()
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
