"""`make smoke` against the local stack, with the emulator's known differences."""

import os
from pathlib import Path

import boto3
import pytest
import smoke
import tomllib
from conftest import BASE_URL
from emulator import STACK_NAME
from samcli.yamlhelper import yaml_parse

TESTS = Path(__file__).resolve().parent

pytestmark = [
    pytest.mark.provider("cognito"),
    pytest.mark.skipif("VEGA_LOCAL_STATE" not in os.environ, reason="expects the emulator's differences"),
]


def test_smoke_finds_only_the_emulators_differences():
    [stack] = boto3.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    settings = {"stack": STACK_NAME, "region": os.environ["AWS_DEFAULT_REGION"], "parameters": parameters, "tags": {}}
    run = smoke.Smoke(
        settings,
        yaml_parse((TESTS.parent / "template.yaml").read_text()),
        url=BASE_URL,
        known=tomllib.loads((TESTS / "smoke-differences.toml").read_text()),
        invokes_owners=True,
    )
    results = run.run()
    assert [one for one in results if not one.is_good] == []
    assert results[-1] == smoke.Result("clean-up", "ok", "6 keys revoked, 1 person deleted")
