"""Every sample event in events/ gets its expected response from the deployed binary, through the Lambda Runtime API of the
emulator that comes with the SAM CLI. The table is the local stack's."""

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import samcli
from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent
MACHINE = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
EMULATOR = Path(samcli.__file__).parent / "local" / "rapid" / f"aws-lambda-rie-{MACHINE}"
FUNCTIONS = {
    "authorizer": "AuthorizerFunction",
    "authorizer-check": "AuthorizerCheckFunction",
    "login-debug": "LoginDebugFunction",
    "me": "MeFunction",
    "projects": "ProjectsFunction",
    "api-keys": "ApiKeysFunction",
    "leaked-keys": "LeakedKeysFunction",
    "owners": "OwnersFunction",
    "notifications": "NotificationsFunction",
    "mail": "MailFunction",
    "dashboard": "DashboardFunction",
    "openapi": "OpenApiFunction",
    "session": "SessionFunction",
}
EVENTS = sorted(path for path in (ROOT / "events").glob("*/*.json") if not path.name.endswith(".expected.json"))

pytestmark = [
    pytest.mark.provider("custom"),
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="needs the local stack's table and build"),
]


def environment(function: str) -> dict[str, str]:
    sample = json.loads((ROOT / "events" / "env.json").read_text())
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        **sample.get(FUNCTIONS[function], {}),
        "VEGA_KEYS_TABLE": os.environ["VEGA_KEYS_TABLE"],
        "LAMBDA_TASK_ROOT": str(ROOT / ".aws-sam" / "build" / FUNCTIONS[function]),
        **{name: os.environ[name] for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
        "AWS_REGION": os.environ["AWS_DEFAULT_REGION"],
    }


@contextlib.contextmanager
def runtime(environment: Callable[[str], dict[str, str]]) -> Iterator[Callable[[str, dict], Any]]:
    """Sends an event to a function. Each function is started once, with its environment, and killed with its children."""
    running: dict[str, tuple[subprocess.Popen, int]] = {}

    def started(function: str) -> int:
        if function not in running:
            with socket.socket() as probe, socket.socket() as other:
                probe.bind(("127.0.0.1", 0))
                other.bind(("127.0.0.1", 0))
                port, api = probe.getsockname()[1], other.getsockname()[1]
            binary = ROOT / ".aws-sam" / "build" / FUNCTIONS[function] / "bootstrap"
            command = [
                EMULATOR,
                "--runtime-interface-emulator-address",
                f"127.0.0.1:{port}",
                "--runtime-api-address",
                f"127.0.0.1:{api}",
                binary,
            ]
            process = subprocess.Popen(
                command, env=environment(function), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            running[function] = process, port
        return running[function][1]

    def call(function: str, event: dict) -> Any:
        url = f"http://127.0.0.1:{started(function)}/2015-03-31/functions/function/invocations"
        process, _ = running[function]
        while process.poll() is None:
            try:
                return httpx.post(url, json=event, timeout=30).json()
            except httpx.ConnectError:
                time.sleep(0.1)  # The emulator isn't listening yet.
        raise AssertionError(f"the Runtime Interface Emulator ended ({process.returncode})")

    try:
        yield call
    finally:
        for process, _ in running.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def invoke() -> Iterator[Callable[[str, dict], Any]]:
    with runtime(environment) as call:
        yield call


@pytest.mark.parametrize("event", EVENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_sample_event_gets_its_expected_response(invoke, event: Path):
    expected = json.loads(event.with_suffix(".expected.json").read_text())
    assert_contains(invoke(event.parent.name, json.loads(event.read_text())), expected)


def test_every_function_has_sample_events():
    assert (
        {path.parent.name for path in EVENTS}
        == set(FUNCTIONS)
        == {path.parent.name for path in (ROOT / "functions").glob("*/Cargo.toml")}
    )


def test_sam_passes_on_every_variable_of_the_samples():
    """`sam local invoke --env-vars` drops those that the template doesn't declare."""
    deployed = ROOT / ".aws-sam" / "build" / f"{Path(os.environ['VEGA_LOCAL_STATE']).name}.yaml"
    resources = yaml_parse(deployed.read_text())["Resources"]
    for function, variables in json.loads((ROOT / "events" / "env.json").read_text()).items():
        # Provider custom has neither the owner sync nor mail.
        if function in resources:
            assert variables.keys() <= resources[function]["Properties"]["Environment"]["Variables"].keys(), function


def test_an_invalid_configuration_is_reported_in_full_at_start():
    nonsense = {
        "VEGA_AUTH_PROVIDER": "custom",
        "VEGA_AUTH_SECRET": "a-short-secret",
        "LAMBDA_TASK_ROOT": str(ROOT / "tests"),
        "VEGA_KEY_LIMIT": "many",
        "VEGA_GITHUB_KEYS_URL": "http://api.github.com",
    }
    for function, wanted in (
        ("authorizer", ["AWS_ENDPOINT_URL", "VEGA_AUTH_SECRET", "VEGA_KEYS_TABLE", "LAMBDA_TASK_ROOT", "AWS_REGION"]),
        ("login-debug", ["AWS_ENDPOINT_URL", "VEGA_AUTH_SECRET"]),
        ("api-keys", ["VEGA_KEYS_TABLE", "VEGA_KEY_LIMIT", "LAMBDA_TASK_ROOT", "AWS_REGION"]),
        ("leaked-keys", ["VEGA_KEYS_TABLE", "VEGA_GITHUB_KEYS_URL", "AWS_REGION"]),
        ("owners", ["VEGA_KEYS_TABLE", "VEGA_COGNITO_USER_POOL_ID", "AWS_REGION"]),
        ("notifications", ["VEGA_KEYS_TABLE", "VEGA_NOTICE_SOURCE", "AWS_REGION"]),
        ("session", ["VEGA_COGNITO_APP_CLIENT_ID", "AWS_REGION"]),
        ("mail", ["VEGA_COGNITO_USER_POOL_ID", "VEGA_MAIL_FROM", "AWS_REGION"]),
    ):
        binary = ROOT / ".aws-sam" / "build" / FUNCTIONS[function] / "bootstrap"
        ended = subprocess.run([binary], env=nonsense, capture_output=True, text=True, timeout=10)
        line = json.loads(ended.stdout.splitlines()[0])
        assert ended.returncode != 0 and (line["outcome"], line["code"]) == ("fault", "configuration")
        for name in wanted:
            assert any(name in problem for problem in line["problems"]), (name, line)
        assert "a-short-secret" not in ended.stdout + ended.stderr


def assert_contains(answer, expected) -> None:
    if expected == "<any>":
        assert answer not in (None, "")
    elif isinstance(expected, dict):
        answer = json.loads(answer) if isinstance(answer, str) else answer
        assert set(expected) <= set(answer), answer
        for name, value in expected.items():
            assert_contains(answer[name], value)
    else:
        assert answer == expected
