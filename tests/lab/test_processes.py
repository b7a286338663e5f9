from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from icefloe.lab.errors import ProcessFailed
from icefloe.lab.processes import LoggingDaemon, end, interruptible, run_command

ENVIRONMENT = dict(os.environ)
READY = 'import sys; print(\'no json\\n{"event": "ready", "port": 7}\', flush=True)\n'
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
WAIT = "sys.stdin.close(); import time; time.sleep(600)\n"


def daemon(tmp_path: Path, source: str) -> LoggingDaemon:
    return LoggingDaemon(
        [sys.executable, "-c", source],
        environment=ENVIRONMENT,
        what="the daemon",
        log=tmp_path / "log",
    )


def command(source: str) -> str:
    return asyncio.run(
        run_command(
            [sys.executable, "-c", source],
            environment=ENVIRONMENT,
            what="the command",
        )
    )


def test_a_command_gives_what_it_printed() -> None:
    assert command("print('done')") == "done\n"


def test_a_command_that_fails_says_why() -> None:
    source = "import sys; print('out'); sys.exit('the reason')"
    with pytest.raises(ProcessFailed, match=r"(?s)the command: ended with 1.*reason"):
        command(source)


def test_an_event_of_a_daemon_is_waited_for(tmp_path: Path) -> None:
    started = daemon(tmp_path, READY + WAIT)
    try:
        event = asyncio.run(started.wait_for(event="ready"))
        assert event["port"] == 7
        assert started.is_running
        assert started.events(event="other") == []
    finally:
        end([started])
    assert not started.is_running


def test_a_daemon_that_ends_before_its_event_is_told_with_its_last_words(
    tmp_path: Path,
) -> None:
    started = daemon(tmp_path, READY)
    with pytest.raises(ProcessFailed, match=r"(?s)'connected': it ended.*ready"):
        asyncio.run(started.wait_for(event="connected"))
    end([started])


def test_a_daemon_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icefloe.lab.processes.STOP_SECONDS_MAX", 0.0)
    started = daemon(tmp_path, DEAF + READY + WAIT)
    asyncio.run(started.wait_for(event="ready"))
    end([started])
    assert started.reap() == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_is_as_ctrl_c_inside_and_as_before_outside(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
