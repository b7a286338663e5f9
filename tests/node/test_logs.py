"""The log: strangers do not fill it, and a full disk does not matter."""

from __future__ import annotations

import errno
import io
import json
import logging
from dataclasses import dataclass, field

import pytest
from tests.node.cluster import Logs

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.commands import Level
from icefloe.node.log_gate import LINES_MAX, PERIOD_SECONDS, LogGate
from icefloe.node.logs import configure


@dataclass
class HandClock:
    """A clock that a test sets."""

    seconds: float = 1000.0
    logs: Logs = field(default_factory=lambda: Logs("m1"))

    def now(self) -> Now:
        return Now(wall=WallTime(self.seconds), mono=MonotonicTime(self.seconds))

    @property
    def gate(self) -> LogGate:
        return LogGate(self.logs, clock=self)


def test_what_strangers_cause_is_let_through_a_few_times_a_minute_and_counted() -> None:
    clock = HandClock()
    gate = clock.gate
    for _ in range(1000):
        gate.log(Level.WARNING, "request turned away")
    assert len(clock.logs.events) == LINES_MAX
    clock.seconds += PERIOD_SECONDS
    gate.log(Level.WARNING, "request turned away", reason="limit")
    assert clock.logs.events[LINES_MAX:] == [
        (
            Level.WARNING,
            f"{1000 - LINES_MAX} more suppressed",
            {"kind": "request turned away"},
        ),
        (Level.WARNING, "request turned away", {"reason": "limit"}),
    ]


@pytest.mark.parametrize(
    "level, event, fields",
    [
        (Level.INFO, "connected", {"standing": "member"}),
        (Level.INFO, "session.ended", {"standing": "member"}),
        (Level.INFO, "certificate issued", {}),
        (Level.ERROR, "request refused", {}),
    ],
)
def test_members_issued_certificates_and_errors_always_pass(
    level: Level, event: str, fields: dict[str, str]
) -> None:
    clock = HandClock()
    gate = clock.gate
    for _ in range(1000):
        gate.log(Level.INFO, "session.ended", standing="anonymous")
        gate.log(level, event, **fields)
    assert clock.logs.events.count((level, event, fields)) == 1000
    assert len(clock.logs.events) == 1000 + LINES_MAX


def test_a_member_that_ends_is_not_hidden_by_strangers_that_end() -> None:
    clock = HandClock()
    gate = clock.gate
    for _ in range(1000):
        gate.log(Level.INFO, "session.ended", standing="anonymous")
    gate.log(Level.INFO, "session.ended", standing="member", peer="s1")
    assert clock.logs.events[-1][2]["peer"] == "s1"


class Full(io.StringIO):
    """Standard error, redirected to a disk that is full."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_stream_that_cannot_be_written_to_loses_lines_and_nothing_else() -> None:
    stream = Full()
    log = configure(stream=stream)
    log.log(Level.CRITICAL, "disk full")
    logging.getLogger("asyncio").critical("disk still full")
    assert "disk full" in stream.getvalue()


def test_events_are_one_json_object_a_line_on_demand() -> None:
    stream = io.StringIO()
    configure(stream=stream, as_json=True).log(Level.INFO, "ready", node="m1")
    written = json.loads(stream.getvalue())
    assert (written["event"], written["node"]) == ("ready", "m1")
