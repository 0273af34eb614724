"""MiniStack, a local stack's AWS emulator: its process, its clients, and workarounds for its gaps."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import yaml
from progress import Failure

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / "local" / ".venv" / "ministack" / "bin" / "python"
# The custom domain that the emulator maps to the API, so that paths have no stage. local/forward.py uses it.
DOMAIN = "api.vega.localhost"
STACK_NAME = "vega-auth"
REGION = "us-west-1"
USERS = {"root@example.com": "root", "operator@example.com": "operator", "user@example.com": "user", "nobody@example.com": ""}


@dataclass(frozen=True)
class Stack:
    provider: str
    port: int
    state: Path

    @property
    def lock(self) -> Path:
        """Beside the state, because the state can be deleted."""
        return self.state.with_suffix(".lock")

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def aws_port(self) -> int:
        return self.port + 1

    @property
    def aws(self) -> str:
        return f"http://127.0.0.1:{self.aws_port}"

    def client(self, service: str):
        return boto3.client(service, endpoint_url=self.aws, region_name=REGION, **self.credentials())

    def credentials(self) -> dict[str, str]:
        """This stack's own key, which local/guard.py requires. Only the secret matters, not the id."""
        return {"aws_access_key_id": "local", "aws_secret_access_key": settings(self)["secret_access_key"]}

    def environment(self) -> dict[str, str]:
        """Endpoint and credentials for tools and tests that call AWS."""
        return {
            "AWS_ENDPOINT_URL": self.aws,
            "AWS_DEFAULT_REGION": REGION,
            **{name.upper(): value for name, value in self.credentials().items()},
        }

    def outputs(self) -> dict[str, str]:
        [stack] = self.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def settings(stack: Stack) -> dict:
    """This stack's secrets, generated once and readable only by their owner."""
    path = stack.state / "settings.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    made = {
        "auth_secret": secrets.token_urlsafe(48),
        "secret_access_key": secrets.token_urlsafe(48),
        "passwords": {email: f"Vega-{secrets.token_urlsafe(12)}-1a" for email in USERS},
    }
    if not made.keys() <= kept.keys():
        kept = {**made, **kept}
        stack.state.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(".new")
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(kept, file, indent=2)
        written.replace(path)
    return kept


def keep_private(folder: Path) -> None:
    """Makes a folder private to its owner, and thereby everything in it, however old."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


@contextlib.contextmanager
def emulator(stack: Stack) -> Iterator[subprocess.Popen]:
    """Runs MiniStack in its own process group, so that it can be ended together with the functions that it started."""
    for port in (stack.port, stack.aws_port):
        if not is_free(port):
            free = next(port for port in range(8100, 9000, 10) if is_free(port) and is_free(port + 1))
            raise Failure(
                f"port {port} is in use: stop the program that uses it, or choose another port, which is used with the next one: "
                f"make dev PORT={free}"
            )
    data = stack.state / "ministack"
    scratch = data / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(data),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(stack.aws_port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        # The functions get this too: provider custom requires an emulator on this machine.
        **stack.environment(),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(data / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(data / "s3"),
        "LAMBDA_EXECUTOR": "local",
        # IoT's broker would listen on every address of the machine.
        "IOT_MTLS_ENABLED": "0",
    }
    with (stack.state / "ministack.log").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, ROOT / "local" / "guard.py", str(stack.port), DOMAIN, stack.state / "calls.jsonl"],
            env=environment,
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    try:
        wait_until_healthy(stack, process)
        yield process
    finally:
        # A second Ctrl-C must not leave anything behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.terminate()  # It writes its state, then exits.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Keeps other processes from using the same state: both would save to it, and the last to stop would win."""
    keep_private(stack.state.parent)
    with stack.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise Failure(f"this stack already runs, on port {file.read()}: stop it first (Ctrl-C)") from error
        file.truncate(0)
        file.write(str(stack.port))
        file.flush()
        yield


def running(state: Path) -> dict[int, Stack]:
    """The stacks that run with a state below this folder, by port."""
    found = {}
    for path in state.glob("*.lock"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                port = int(file.read())
                found[port] = Stack(path.stem.partition("-")[0], port, state / path.stem)
    return found


def wait_until_healthy(stack: Stack, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, urllib.error.URLError):
            with urllib.request.urlopen(f"{stack.aws}/_ministack/health", timeout=2):
                return
        time.sleep(0.1)
    raise Failure(f"the emulator did not start; see {stack.state / 'ministack.log'}")


def make_up_for_the_emulator(stack: Stack, outputs: dict[str, str]) -> None:
    """Creates what the emulator ignores or lacks, through the API calls for it: two parts of the API's body, the archive,
    and two settings of the table."""
    resources = load_template(CorsAllowedOrigin=stack.url)["Resources"]
    put_archive(stack.client("events"), resources["KeyChangesArchive"]["Properties"], outputs)
    complete_table(stack.client("dynamodb"), resources["KeysTable"]["Properties"], outputs["KeysTableName"])
    api = resources["Api"]["Properties"]
    gateway, api_id = stack.client("apigateway"), outputs["ApiId"]
    for kind, response in api["GatewayResponses"].items():
        put_gateway_response(gateway, api_id, kind, response)
    for resource in gateway.get_resources(restApiId=api_id, limit=500)["items"]:
        if "OPTIONS" in resource.get("resourceMethods", {}):
            put_preflight(gateway, api_id, resource["id"], api["Cors"])
    gateway.create_deployment(restApiId=api_id, stageName=api["StageName"])


def put_archive(events, archive: dict, outputs: dict[str, str]) -> None:
    pattern = {**archive["EventPattern"], "source": [outputs["NoticeSource"]]}
    with contextlib.suppress(events.exceptions.ResourceAlreadyExistsException):
        events.create_archive(
            ArchiveName=outputs["KeyChangesArchiveName"],
            EventSourceArn=events.describe_event_bus()["Arn"],
            EventPattern=json.dumps(pattern),
            RetentionDays=archive["RetentionDays"],
        )


def complete_table(dynamodb, table: dict, name: str) -> None:
    if dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED":
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=table["TimeToLiveSpecification"])
    backups = table["PointInTimeRecoverySpecification"]
    dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=backups)


def put_gateway_response(gateway, api_id: str, kind: str, response: dict) -> None:
    headers = response["ResponseParameters"]["Headers"]
    gateway.put_gateway_response(
        restApiId=api_id,
        responseType=kind,
        **({"statusCode": str(response["StatusCode"])} if "StatusCode" in response else {}),
        responseParameters={f"gatewayresponse.header.{name}": resolved(value) for name, value in headers.items()},
        responseTemplates={kind: resolved(template) for kind, template in response["ResponseTemplates"].items()},
    )


def put_preflight(gateway, api_id: str, resource_id: str, cors: dict) -> None:
    """The response to OPTIONS that SAM generates from `Cors`."""
    method = {"restApiId": api_id, "resourceId": resource_id, "httpMethod": "OPTIONS"}
    names = {
        "AllowOrigin": "Allow-Origin",
        "AllowMethods": "Allow-Methods",
        "AllowHeaders": "Allow-Headers",
        "MaxAge": "Max-Age",
    }
    headers = {f"method.response.header.Access-Control-{names[name]}": resolved(value) for name, value in cors.items()}
    gateway.put_integration(**method, type="MOCK", requestTemplates={"application/json": '{"statusCode": 200}'})
    gateway.put_method_response(**method, statusCode="200", responseParameters=dict.fromkeys(headers, False))
    gateway.put_integration_response(**method, statusCode="200", responseParameters=headers)


def resolved(text: str) -> str:
    """Replaces the authorizer's word, which the emulator doesn't insert, with `forbidden`, which is true of every 403."""
    return text.replace("$context.authorizer.denied_as", "forbidden")


def load_template(**parameters: str) -> dict:
    """Reads template.yaml with each `!Function value` as its plain value, and with the given parameters inserted."""
    text = (ROOT / "template.yaml").read_text()
    for name, value in parameters.items():
        text = text.replace(f"${{{name}}}", value)

    class Loader(yaml.SafeLoader):
        pass

    def plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node):
        match node:
            case yaml.ScalarNode():
                return loader.construct_scalar(node)
            case yaml.SequenceNode():
                return loader.construct_sequence(node)
        return loader.construct_mapping(node)

    Loader.add_multi_constructor("!", plain)
    return yaml.load(text, Loader)
