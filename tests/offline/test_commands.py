"""`make dev`, `logs`, `token` and `reset` answer mistakes with one line, and never share a state."""

import json
import signal
import socket
import sys

import emulator
import pytest
import stack


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a command of local/stack.py on an empty state; returns its exit code and its only line of errors."""
    monkeypatch.setattr(stack, "STATE", tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stack.py", *arguments])
        code = stack.main()
        lines = capsys.readouterr().err.split("\n")
        assert [line for line in lines if line] == lines[-2:-1], lines
        return code, lines[-2] if code else ""

    yield call
    signal.signal(signal.SIGTERM, before)


def test_an_unknown_provider_is_named(run):
    assert run("--provider", "nonsense", "dev") == (1, "VEGA_AUTH_PROVIDER: expected custom or cognito, not nonsense")


@pytest.mark.parametrize("command", [["logs"], ["token", "user@example.com"]])
def test_a_port_on_which_nothing_runs_is_named(run, command):
    code, line = run("--port", "9999", *command)
    assert code == 1 and line.startswith("no local stack runs on port 9999: ")


def test_a_running_stack_is_neither_shared_nor_reset(run, tmp_path):
    with emulator.locked(emulator.Stack("custom", 8150, tmp_path / "custom")):
        kept = tmp_path / "custom" / "data"
        kept.parent.mkdir()
        kept.write_text("a key")
        assert run("--port", "8160", "dev") == (1, "this stack already runs, on port 8150: stop it first (Ctrl-C)")
        assert run("reset") == (1, "a local stack runs on port 8150: stop it first (Ctrl-C)")
        assert run("--port", "8000", "logs")[1].startswith(
            "no local stack runs on port 8000 (one runs on port 8150: PORT=8150)"
        )
        assert kept.exists()
    assert run("reset") == (0, "")
    assert not kept.exists()


def test_a_token_needs_a_user_of_a_pool(run, tmp_path):
    with emulator.locked(emulator.Stack("custom", 8150, tmp_path / "custom")):
        code, line = run("--port", "8150", "token")
        assert code == 1 and "make -s token EMAIL=root@example.com" in line
        code, line = run("--port", "8150", "token", "user@example.com")
        assert code == 1 and line.startswith("the stack on port 8150 has no user pool")


def test_a_busy_port_is_answered_with_a_free_one(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(emulator.Failure) as failure, emulator.emulator(emulator.Stack("custom", port, tmp_path)):
            pass
        free = int(str(failure.value).rsplit("PORT=", 1)[1])
    assert f"port {port} is in use" in str(failure.value)
    assert emulator.is_free(free) and emulator.is_free(free + 1)


def test_log_lines_are_readable():
    line = {"outcome": "reject", "code": "key_revoked", "request_id": "r", "route": "/v1/projects", "method": "GET"}

    def shown(message: str) -> str | None:
        found = stack.readable({"function": "authorizer", "timestamp": 0, "message": message})
        return found and found[len("00:00:00 ") :]

    assert shown(json.dumps({**line, "duration_ms": 1})) == "authorizer reject key_revoked GET /v1/projects 1 ms"
    assert shown("START RequestId: 1") is None and shown("REPORT RequestId: 1") is None
    assert shown("panicked at src/lib.rs\n") == "authorizer panicked at src/lib.rs"
