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
from icefloe.node.log_gate import PEERS_MAX, PERIOD_SECONDS, LogGate, LogLimits
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


def test_what_a_stranger_causes_is_let_through_a_few_times_a_minute_and_counted() -> (
    None
):
    clock = HandClock()
    gate = clock.gate
    for port in range(1000):
        gate.log(
            Level.WARNING,
            "request turned away",
            address=f"192.0.2.1:{port}",
            reason="limit",
        )
    few = LogLimits().lines_per_source
    assert len(clock.logs.events) == few
    clock.seconds += PERIOD_SECONDS
    gate.log(Level.WARNING, "request turned away", reason="limit")
    assert clock.logs.events[few:] == [
        (
            Level.WARNING,
            f"{1000 - few} more left out",
            {
                "kind": "request turned away",
                "reason": "limit",
                "peers": 1,
                "most_by": "192.0.2.1",
                "most": 1000 - few,
            },
        ),
        (Level.WARNING, "request turned away", {"reason": "limit"}),
    ]


def test_one_peer_does_not_hide_another_nor_one_cause_another() -> None:
    clock = HandClock()
    gate = clock.gate
    for _ in range(1000):
        gate.log(Level.WARNING, "request refused", via="192.0.2.1:9", reason="a")
    gate.log(Level.WARNING, "request refused", via="192.0.2.2:9", reason="a")
    gate.log(Level.WARNING, "request refused", via="192.0.2.1:9", reason="b")
    assert [fields for _, _, fields in clock.logs.events[-2:]] == [
        {"via": "192.0.2.2:9", "reason": "a"},
        {"via": "192.0.2.1:9", "reason": "b"},
    ]


def test_many_peers_together_are_bounded_too_and_the_loudest_is_named() -> None:
    clock = HandClock()
    gate = clock.gate
    for number in range(5000):
        host = f"10.0.{number // 250}.{number % 250}"
        gate.log(Level.INFO, "handshake failed", address=f"{host}:1")
    for _ in range(50):
        gate.log(Level.INFO, "handshake failed", address="10.0.0.1:1")
    assert len(clock.logs.events) == LogLimits().lines_per_cause
    clock.seconds += PERIOD_SECONDS
    gate.log(Level.INFO, "another")
    said = clock.logs.events[LogLimits().lines_per_cause][2]
    # Behind the peers that were told apart come all the others as one.
    assert (said["peers"], said["most_by"]) == (
        PEERS_MAX + 1 - LogLimits().lines_per_cause + 1,
        "others",
    )
    assert said["most"] == 5000 - PEERS_MAX


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
    assert len(clock.logs.events) == 1000 + LogLimits().lines_per_source


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


def test_what_a_peer_says_cannot_act_on_the_terminal() -> None:
    """Text without blanks was printed as it came (found by fuzzing)."""
    stream = io.StringIO()
    log = configure(stream=stream)
    log.log(Level.INFO, "parent failed", detail="a\x1b[2J\u202eb", peer="zürich")
    assert stream.getvalue().rstrip("\n").isprintable()
    assert r"detail=a\x1b[2J\u202eb" in stream.getvalue()
    assert "peer=zürich" in stream.getvalue()
