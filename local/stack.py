"""The local stack: the real template, on an AWS emulator, at http://localhost:8000.

`sam build` and `sam deploy` are the ones that deploy to AWS, and so is template.yaml; MiniStack plays AWS. What the
emulator lacks is made up for after the deployment and listed in local/README.md. Run through the Makefile:

    make dev                            the debug user (VEGA_AUTH_PROVIDER=custom)
    make dev VEGA_AUTH_PROVIDER=cognito a user pool, with a user in each group
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from emulator import REGION, ROOT, STACK_NAME, USERS, Failure, Stack, emulator, make_up_for_the_emulator, settings
from forward import forwarding

STATE = ROOT / "local" / ".state"
TOOLS = ROOT / "local" / ".venv" / "tools" / "bin"
BUILD = ROOT / ".aws-sam" / "build"
# The custom domain that the emulator maps to the API, so that no stage prefix shows. local/forward.py asks for it.
DOMAIN = "api.vega.localhost"
MAIL_FROM = "vega@example.com"


def fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def sources() -> str:
    """Changes when anything does that a build depends on."""
    files = [ROOT / "template.yaml", ROOT / "Cargo.toml", ROOT / "Cargo.lock"]
    unbuilt = {"tests", "node_modules", "dist"}
    for folder in ("functions", "shared", "dashboard"):
        files += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and unbuilt.isdisjoint(path.parts))
    return fingerprint(*(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files))


# --- the steps --------------------------------------------------------------------------------------------------------


def run(step: str, command: list[str], log: Path, **environment: str) -> None:
    """Runs a step quietly; its output goes to `log`, and is shown if it fails."""
    started = time.monotonic()
    print(f"  {step} …", end="", flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        code = subprocess.call(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0", **environment},
        )
    if code != 0:
        tail = "\n".join(log.read_text().splitlines()[-40:])
        raise Failure(f"{step} failed ({code}); the end of {log.relative_to(ROOT)}:\n{tail}")
    print(f" {time.monotonic() - started:.0f} s")


def build() -> str:
    """Builds the functions as a deployment does, unless nothing changed. Returns what was built."""
    wanted = sources()
    marker = BUILD.parent / "sources"
    if marker.exists() and marker.read_text() == wanted and BUILD.exists():
        print("  build: nothing changed")
        return wanted
    marker.unlink(missing_ok=True)
    run("build the functions (minutes the first time)", ["sam", "build", "--region", REGION], STATE / "build.log")
    marker.write_text(wanted)
    return wanted


def deploy(stack: Stack, built: str) -> None:
    """Deploys the built template as it is, unless that very deployment is there already."""
    kept = settings(stack)
    debug = {name: os.environ[variable] for name, variable in DEBUG_PARAMETERS.items() if os.environ.get(variable)}
    parameters = {
        "AuthProvider": stack.provider,
        "DomainName": DOMAIN,
        # Nobody listens there but a test that plays GitHub.
        "GithubKeysUrl": f"http://127.0.0.1:{stack.port + 2}/meta/public_keys/secret_scanning",
        "NoticeMailFrom": MAIL_FROM,
        **({"AuthSecret": kept["auth_secret"], **debug} if stack.provider == "custom" else {}),
    }
    wanted = fingerprint(built, json.dumps(parameters, sort_keys=True))
    marker = stack.state / "deployed"
    if marker.exists() and marker.read_text() == wanted and is_deployed(stack):
        print("  deploy: nothing changed")
        return
    marker.unlink(missing_ok=True)
    # By file, so that the secret isn't on a command line that other users of this machine can read.
    with tempfile.TemporaryDirectory(dir=stack.state) as folder:
        config = Path(folder) / "samconfig.yaml"  # JSON is YAML
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
                str(BUILD / "template.yaml"),
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
            AWS_ENDPOINT_URL=stack.aws,
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
            AWS_DEFAULT_REGION=REGION,
        )
    make_up_for_the_emulator(stack)
    if stack.provider == "cognito":
        make_users(stack, kept["passwords"])
        stack.client("ses").verify_email_identity(EmailAddress=MAIL_FROM)
    marker.write_text(wanted)


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
    """One user in each group, and one in none, if they aren't there yet."""
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


# --- what people call -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(stack: Stack) -> Iterator[None]:
    built = build()
    with emulator(stack), forwarding(stack.port, stack.aws_port, DOMAIN):
        deploy(stack, built)
        yield


def dev(stack: Stack) -> int:
    """Serves until Ctrl-C."""
    print(f"Vega Auth, provider {stack.provider}:")
    with serving(stack):
        print(what_to_try(stack), flush=True)
        stop = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.append(True))
        while not stop:
            time.sleep(0.2)
        print("\nstopping …", flush=True)
    print("stopped; `make dev` goes on where this left off, `make reset` forgets it all")
    return 0


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
        who = "The users, and their passwords for this stack:\n" + "".join(
            f"    {email:22} {passwords[email]:28} {group or 'no group'}\n" for email, group in USERS.items()
        )
        sign_in = f"TOKEN=$(make -s token EMAIL=user@example.com PORT={stack.port})"
    return f"""
Ready: {stack.url}/api-keys is the page, {stack.url} the API   (Ctrl-C stops it; `make logs` shows what was decided)
{who}
Paste into another terminal, in this folder (jq reads the answers):

  # sign in; who am I?
  {sign_in}
  curl -s {stack.url}/v1/auth/me -H "Authorization: Bearer $TOKEN"

  # make a key, and call the API with it
  CREATED=$(curl -s {stack.url}/v1/api-keys -H "Authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{{"name":"first"}}')
  KEY=$(echo "$CREATED" | jq -r .key); ID=$(echo "$CREATED" | jq -r .id)
  curl -s {stack.url}/v1/projects -H "Authorization: Bearer $KEY"

  # revoke it: the next call is refused
  curl -s -X DELETE {stack.url}/v1/api-keys/$ID -H "Authorization: Bearer $TOKEN"
  curl -si {stack.url}/v1/projects -H "Authorization: Bearer $KEY"
"""


def test(stack: Stack, command: list[str]) -> int:
    """Runs `command` against a fresh stack, which is gone afterwards."""
    print(f"Vega Auth for a test, provider {stack.provider}, port {stack.port}:")
    shutil.rmtree(stack.state, ignore_errors=True)
    try:
        with serving(stack):
            return subprocess.call(command, cwd=ROOT, env={**os.environ, **test_environment(stack)})
    finally:
        if os.environ.get("KEEP_STATE") != "1":
            shutil.rmtree(stack.state, ignore_errors=True)


def test_environment(stack: Stack) -> dict[str, str]:
    """What tests/ needs to know of a deployment; see tests/README.md for a deployed one."""
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
        "VEGA_NOTICES_FUNCTION": outputs["NoticesFunctionName"],
        "VEGA_NOTICE_SOURCE": outputs["NoticeSource"],
        "VEGA_LOCAL_GITHUB_PORT": str(stack.port + 2),
        "VEGA_AUTH_SECRET": settings(stack)["auth_secret"],
        "AWS_ENDPOINT_URL": stack.aws,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def token(stack: Stack, email: str) -> int:
    """Signs a user of the local pool in over SRP and prints the access token."""
    from pycognito import AWSSRP

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


def logs(stack: Stack) -> int:
    """What the functions logged, oldest first."""
    client, lines = stack.client("logs"), []
    for group in client.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
        for event in client.filter_log_events(logGroupName=group["logGroupName"], limit=1000)["events"]:
            lines.append((event["timestamp"], event["message"].rstrip()))
    print("\n".join(line for _, line in sorted(lines)))
    return 0


def reset() -> int:
    shutil.rmtree(STATE, ignore_errors=True)
    print("forgot every local user, key and table")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=["custom", "cognito"], default=os.environ.get("VEGA_AUTH_PROVIDER") or "custom")
    parser.add_argument("--port", type=int, default=8000)
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("dev", "build", "logs", "reset"):
        actions.add_parser(name)
    actions.add_parser("token").add_argument("email", choices=USERS)
    actions.add_parser("test").add_argument("command", nargs="+")
    arguments = parser.parse_args()

    folder = "test-" + arguments.provider if arguments.action == "test" else arguments.provider
    provider = "cognito" if arguments.action == "token" else arguments.provider
    stack = Stack(provider, arguments.port, STATE / ("cognito" if arguments.action == "token" else folder))
    try:
        match arguments.action:
            case "dev":
                return dev(stack)
            case "test":
                return test(stack, arguments.command)
            case "build":
                build()
                return 0
            case "token":
                return token(stack, arguments.email)
            case "logs":
                return logs(stack)
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
