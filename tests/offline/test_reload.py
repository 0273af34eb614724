"""What ends a reload doesn't end `make dev`. tests/test_reload.py has a real one."""

import subprocess

import build
import pytest
import stack
from botocore.exceptions import ClientError, EndpointConnectionError
from progress import StepFailed

FAILURES = [
    StepFailed("compile the functions failed (101); the end of the log:\nerror[E0425]: cannot find value"),
    subprocess.CalledProcessError(2, ["make", "build-MeFunction"]),
    ClientError({"Error": {"Code": "ResourceConflictException", "Message": "busy"}}, "UpdateFunctionCode"),
    EndpointConnectionError(endpoint_url="http://127.0.0.1:8001"),
    OSError(28, "No space left on device"),
]
STEPS = [(build, "compile_functions"), (build, "check_rules"), (build, "lay_out"), (stack, "update_functions")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize(("module", "step"), STEPS, ids=[step for _, step in STEPS])
def test_any_failure_of_a_reload_is_printed_and_survived(module, step, failure, monkeypatch, capsys):
    def fail(*_arguments, **_options):
        raise failure

    for each, name in STEPS:
        monkeypatch.setattr(each, name, lambda *_arguments, **_options: [])
    monkeypatch.setattr(module, step, fail)
    stack.reload(None, {}, {"functions/me/src/lib.rs": (1, 1), "access/vega.json": (1, 1)})
    printed = capsys.readouterr().out.splitlines()
    assert str(failure).splitlines()[0] in printed[0]
    assert printed[-1] == "Still serving the previous version. Waiting for the next change."
    assert not any(line.startswith("reloaded") for line in printed)
