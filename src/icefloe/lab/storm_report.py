"""What a storm comes to: one value, said as a table or as JSON."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from rich.table import Table

from icefloe.doors import WallTime
from icefloe.lab.figures import Spread, counted, counts_text, seconds_text
from icefloe.lab.outcomes import Outcome
from icefloe.lab.screen import fields_table
from icefloe.lab.storm import Storm
from icefloe.lab.verifying import doubled, objections
from icefloe.pki.trust import TrustAnchor

DETAILS_MAX = 5
"""Different words of peers that are reported; the first few say enough."""

ANY_NAME = "NAME"
"""Stands for each agent's own name in what peers said, so that it can be counted."""

NOT_ASKED = "not asked"
"""The outcome of an agent whose first connection the deadline cut short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormReport:
    """The figures of one storm.

    Attributes:
        parent: Where all agents asked.
        agents: How many there were.
        at_once: How many at a time.
        first_connection: Outcomes of first connections, counted.
        last_connection: Outcomes of last connections, counted.
        signed: Agents with a certificate at the end.
        attempts: Connections altogether.
        attempts_until_signed: Mean over the agents that were signed; None for none.
        seconds: From the first dial to the last outcome.
        rate: Certificates a second.
        to_certificate: Seconds from an agent's first dial to its certificate.
        details: What peers said to those that were not signed, counted.
        wrong: Certificates that are not what they must be: agent and reason.
        asked_again: Agents that asked once more after they were signed.
        doubled: Agents that were given two different certificates.
        server_cpu: CPU seconds of each given process.
        server_cpu_per_certificate: All of those, divided by the certificates.
        client_cpu: CPU seconds of the storm itself.
        in_time: Whether all agents came to their end before the deadline.
    """

    parent: str
    agents: int
    at_once: int
    first_connection: dict[str, int]
    last_connection: dict[str, int]
    signed: int
    attempts: int
    attempts_until_signed: float | None
    seconds: float
    rate: float
    to_certificate: Spread | None
    details: dict[str, int]
    wrong: list[tuple[str, str]]
    asked_again: int
    doubled: list[str]
    server_cpu: dict[int, float]
    server_cpu_per_certificate: float | None
    client_cpu: float
    in_time: bool

    @classmethod
    def of(
        cls, storm: Storm, *, trust: TrustAnchor | None, at: WallTime
    ) -> StormReport:
        """Sum a storm up.

        Args:
            storm: What happened.
            trust: What every certificate must be under; None takes the first CA
                answered.
            at: The moment to judge certificates by.
        """
        enrollments = storm.enrollments
        signed = [e for e in enrollments if e.is_signed]
        attempts = sum(len(e.attempts) for e in enrollments)
        server_cpu = sum(storm.server_cpu.values())
        return cls(
            parent=str(storm.plan.parent),
            agents=len(enrollments),
            at_once=storm.plan.at_once,
            first_connection=counted(
                e.attempts[0].outcome if e.attempts else NOT_ASKED for e in enrollments
            ),
            last_connection=counted(
                e.last.outcome if e.last else NOT_ASKED for e in enrollments
            ),
            signed=len(signed),
            attempts=attempts,
            attempts_until_signed=(
                round(sum(len(e.attempts) for e in signed) / len(signed), 2)
                if signed
                else None
            ),
            seconds=round(storm.seconds, 3),
            rate=round(len(signed) / storm.seconds, 1) if storm.seconds else 0.0,
            to_certificate=Spread.of([e.seconds for e in signed]),
            details=_first_few(
                counted(
                    attempt.detail.replace(e.agent.name, ANY_NAME)
                    for e in enrollments
                    for attempt in e.attempts
                    if attempt.outcome is not Outcome.SIGNED and attempt.detail
                )
            ),
            wrong=list(objections(enrollments, trust=trust, at=at)),
            asked_again=sum(e.repeated is not None for e in enrollments),
            doubled=doubled(enrollments),
            server_cpu={pid: round(s, 3) for pid, s in storm.server_cpu.items()},
            server_cpu_per_certificate=(
                round(server_cpu / len(signed), 5)
                if signed and storm.server_cpu
                else None
            ),
            client_cpu=round(storm.client_cpu, 3),
            in_time=storm.in_time,
        )

    def complaints(self, *, expected: Outcome | None = None) -> list[str]:
        """Name what must not be, in sentences.

        Args:
            expected: How every first connection has to end; None for any way.
        """
        found = [f"{name}: {reason}" for name, reason in self.wrong]
        found += [f"{name}: two different certificates" for name in self.doubled]
        if not self.in_time:
            found.append("the deadline came before the end")
        if expected is not None and self.first_connection != {expected: self.agents}:
            found.append(
                f"first connections: {counts_text(self.first_connection)};"
                f" expected {self.agents} {expected}"
            )
        return found

    def to_json(self) -> str:
        """Return the figures as a JSON object, on several lines."""
        return msgspec.json.format(msgspec.json.encode(self)).decode()

    def table(self) -> Table:
        """Return the figures for people."""
        rows = [
            ("first connection", counts_text(self.first_connection)),
            ("last connection", counts_text(self.last_connection)),
            ("attempts", _attempts_text(self)),
            ("to a certificate", _spread_text(self.to_certificate)),
            ("altogether", _pace_text(self)),
            ("certificates", _certificates_text(self)),
        ]
        for pid, spent in self.server_cpu.items():
            rows.append((f"CPU of process {pid}", f"{spent:.2f} s"))
        if self.server_cpu_per_certificate is not None:
            each = seconds_text(self.server_cpu_per_certificate)
            rows.append(("CPU per certificate", f"{each}, of all processes named"))
        rows.append(("CPU of the storm", f"{self.client_cpu:.2f} s"))
        rows += [
            ("said by the parent", f"{text} ({count} x)")
            for text, count in self.details.items()
        ]
        return fields_table(
            rows,
            title=f"{self.agents} agents, {self.at_once} at once, at {self.parent}",
        )


def _first_few(counts: dict[str, int]) -> dict[str, int]:
    return dict(list(counts.items())[:DETAILS_MAX])


def _attempts_text(report: StormReport) -> str:
    if report.attempts_until_signed is None:
        return f"{report.attempts} connections"
    mean = f"{report.attempts_until_signed:g} until signed (mean)"
    return f"{report.attempts} connections, {mean}"


def _spread_text(spread: Spread | None) -> str:
    if spread is None:
        return "none was signed"
    named = [
        ("p50", spread.p50),
        ("p90", spread.p90),
        ("p99", spread.p99),
        ("longest", spread.longest),
    ]
    return ", ".join(f"{name} {seconds_text(value)}" for name, value in named)


def _pace_text(report: StormReport) -> str:
    late = "" if report.in_time else "; the deadline came first"
    took = seconds_text(report.seconds)
    return f"{took}, {report.rate:g} certificates a second{late}"


def _certificates_text(report: StormReport) -> str:
    if not report.signed:
        return "none"
    wrong = len({name for name, _ in report.wrong})
    good = "every key, name and CA is right" if not wrong else f"{wrong} are wrong"
    if report.doubled:
        return f"{good}; {len(report.doubled)} agents have two"
    if report.asked_again:
        return f"{good}; {report.asked_again} asked again: no second certificate"
    return good
