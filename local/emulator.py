"""MiniStack, the AWS emulator of a local stack: its process, its clients, and what it lacks and is given."""

from __future__ import annotations

import contextlib
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
# The custom domain that the emulator maps to the API, so that no stage prefix shows. local/forward.py asks for it.
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
        """The key of this stack alone, which local/guard.py asks for. Its id says nothing, the secret everything."""
        return {"aws_access_key_id": "local", "aws_secret_access_key": settings(self)["secret_access_key"]}

    def environment(self) -> dict[str, str]:
        """Where AWS is, and what to sign with, for the tools and tests that talk to it."""
        return {
            "AWS_ENDPOINT_URL": self.aws,
            "AWS_DEFAULT_REGION": REGION,
            **{name.upper(): value for name, value in self.credentials().items()},
        }

    def outputs(self) -> dict[str, str]:
        [stack] = self.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def settings(stack: Stack) -> dict:
    """The secrets of this stack, made once and readable by their owner alone."""
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
    """Makes a folder its owner's alone, and so everything in it, whoever wrote that and however long ago."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


@contextlib.contextmanager
def emulator(stack: Stack) -> Iterator[subprocess.Popen]:
    """MiniStack, in a process group of its own, so that it and every function it started can be ended together."""
    for port in (stack.port, stack.aws_port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise Failure(
                    f"port {port} is in use: stop what listens there, or choose others: make dev PORT=8100"
                ) from error
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
        # What the functions are told too: an emulator on this machine, which is what provider custom asks for.
        **stack.environment(),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(data / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(data / "s3"),
        "LAMBDA_EXECUTOR": "local",
        # A broker of IoT's, which listens on every address of the machine.
        "IOT_MTLS_ENABLED": "0",
    }
    with (stack.state / "ministack.log").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, ROOT / "local" / "guard.py", str(stack.port), DOMAIN],
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
        process.terminate()  # it writes its state, then ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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


def make_up_for_the_emulator(stack: Stack) -> None:
    """The emulator leaves two things of the API's body out: it gets them by the calls that exist for them."""
    api = load_template(CorsAllowedOrigin=stack.url)["Resources"]["Api"]["Properties"]
    gateway, api_id = stack.client("apigateway"), stack.outputs()["ApiId"]
    for kind, response in api["GatewayResponses"].items():
        put_gateway_response(gateway, api_id, kind, response)
    for resource in gateway.get_resources(restApiId=api_id, limit=500)["items"]:
        if "OPTIONS" in resource.get("resourceMethods", {}):
            put_preflight(gateway, api_id, resource["id"], api["Cors"])
    gateway.create_deployment(restApiId=api_id, stageName=api["StageName"])


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
    """The answer to OPTIONS that SAM makes of `Cors`."""
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
    """The template's text, without the authorizer's word in the body of a 403, which the emulator doesn't put in:
    `forbidden` is true of each."""
    return text.replace("$context.authorizer.denied_as", "forbidden")


def load_template(**parameters: str) -> dict:
    """template.yaml, with each `!Function value` read as its plain value, and these parameters in the place of their names."""
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
