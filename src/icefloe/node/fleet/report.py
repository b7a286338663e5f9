"""What is told of a survey: the order, the counts, the JSON and the CSV.

The JSON is a promise to programs (docs/fleet.md): keys are added, not renamed.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from icefloe.doors import WallTime
from icefloe.node.acceptance import tidy
from icefloe.node.fleet.states import State
from icefloe.node.fleet.verdicts import Facts, Verdict

__all__ = [
    "CSV_COLUMNS",
    "Audit",
    "Issuer",
    "csv_of",
    "days_left",
    "facts_of_audit",
    "issuers",
    "time_text",
    "worst_first",
]

_DAY: Final = 86_400.0

CSV_COLUMNS: Final = (
    "host",
    "address",
    "state",
    "cause",
    "detail",
    "common_name",
    "issuer",
    "not_before",
    "not_after",
    "days_left",
    "fingerprint",
    "next",
)

_FORMULA: Final = ("=", "+", "-", "@")
"""What a spreadsheet takes for the start of a formula; names come from strangers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What is known of a fleet.

    Attributes:
        verdicts: One for each host that was looked at.
        asked: How many hosts there were to look at.
        at: When it was judged.
        days: From how many days on a certificate counts as expiring.
        judged_by: File of the CA; "" when there was none.
        ca_fingerprint: SHA-256 (hex) of that CA's certificate; "" when there was none.
        seconds: How long it took.
    """

    verdicts: Sequence[Verdict]
    asked: int
    at: WallTime
    days: float
    judged_by: str = ""
    ca_fingerprint: str = ""
    seconds: float = 0.0

    @property
    def counts(self) -> dict[State, int]:
        """How many hosts are in each state that occurs, the worst first."""
        counted = Counter(each.state for each in self.verdicts)
        return {state: counted[state] for state in State if counted[state]}

    @property
    def to_mend(self) -> int:
        """How many hosts somebody has to see to."""
        return sum(not each.state.is_well for each in self.verdicts)

    @property
    def reached(self) -> int:
        """How many hosts showed something."""
        return sum(each.state is not State.UNREACHABLE for each in self.verdicts)

    @property
    def complete(self) -> bool:
        """Whether every host was looked at."""
        return len(self.verdicts) == self.asked


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA, as far as nodes show it, and how many certificates it signed.

    Attributes:
        name: As certificates name it.
        ca_fingerprint: SHA-256 (hex) of its certificate; "" for nodes that do not send
            it along, which may be of several CAs.
        hosts: How many.
    """

    name: str
    ca_fingerprint: str
    hosts: int


def worst_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Sort by state, then by cause, by the end of the certificate, and by name."""
    return sorted(
        verdicts,
        key=lambda each: (
            each.state.rank,
            each.cause or "",
            each.facts.ends if each.facts is not None else 0.0,
            each.target.label,
        ),
    )


def issuers(verdicts: Sequence[Verdict]) -> list[Issuer]:
    """Group certificates that are not self-signed by who signed them, most first."""
    counted = Counter(
        (each.facts.issuer, each.facts.ca_fingerprint)
        for each in verdicts
        if each.facts is not None and each.state is not State.SELF_SIGNED
    )
    return [Issuer(*key, count) for key, count in counted.most_common()]


def facts_of_audit(audit: Audit, shown: Sequence[Verdict]) -> dict[str, object]:
    """Return what `--json` prints."""
    judged_by = {"file": audit.judged_by, "ca_fingerprint": audit.ca_fingerprint}
    return {
        "at": time_text(audit.at),
        "asked": audit.asked,
        "looked_at": len(audit.verdicts),
        "complete": audit.complete,
        "seconds": round(audit.seconds, 2),
        "judged_by": judged_by if audit.judged_by else None,
        "days": audit.days,
        "states": {str(state): count for state, count in audit.counts.items()},
        "to_mend": audit.to_mend,
        "issuers": [
            {
                "issuer": tidy(each.name),
                "ca_fingerprint": each.ca_fingerprint or None,
                "hosts": each.hosts,
            }
            for each in issuers(audit.verdicts)
        ],
        "hosts": [_facts_of_verdict(each, audit.at) for each in shown],
    }


def _facts_of_verdict(verdict: Verdict, at: WallTime) -> dict[str, object]:
    """Return what `--json` says about one host."""
    target = verdict.target
    return {
        "host": target.label,
        "name": target.name,
        "address": target.address,
        "state": str(verdict.state),
        "cause": None if verdict.cause is None else str(verdict.cause),
        "findings": [
            {"state": str(each.state), "text": tidy(each.text)}
            for each in verdict.findings
        ],
        "certificate": _certificate(verdict.facts, at),
        "next": verdict.state.next_step or None,
    }


def _certificate(facts: Facts | None, at: WallTime) -> dict[str, object] | None:
    if facts is None:
        return None
    return {
        "common_name": tidy(facts.cn),
        "dns_names": [tidy(each) for each in facts.dns_names],
        "issuer": tidy(facts.issuer),
        "ca_fingerprint": facts.ca_fingerprint or None,
        "not_before": time_text(facts.begins),
        "not_after": time_text(facts.ends),
        "days_left": days_left(facts, at),
        "serial": facts.serial,
        "fingerprint": facts.fingerprint,
    }


def csv_of(audit: Audit, shown: Sequence[Verdict]) -> str:
    """Return what `--csv` prints: a line of names, then one for each host."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for each in shown:
        row = (
            each.target.label,
            each.target.address,
            str(each.state),
            str(each.cause or ""),
            each.detail,
            *_csv_facts(each.facts, audit.at),
            each.state.next_step,
        )
        writer.writerow([_harmless(tidy(cell)) for cell in row])
    return text.getvalue()


def _csv_facts(facts: Facts | None, at: WallTime) -> tuple[str, ...]:
    if facts is None:
        return ("",) * 6
    return (
        facts.cn,
        facts.issuer,
        time_text(facts.begins),
        time_text(facts.ends),
        str(days_left(facts, at)),
        facts.fingerprint,
    )


def _harmless(cell: str) -> str:
    is_number = cell.removeprefix("-").isdigit()
    return f"'{cell}" if cell.startswith(_FORMULA) and not is_number else cell


def days_left(facts: Facts, at: WallTime) -> int:
    """Return whole days until the end; negative, whole days since, after it."""
    return int((facts.ends - at) / _DAY)


def time_text(at: float) -> str:
    """Return a moment as `2026-02-01T12:00:00Z`."""
    return f"{datetime.fromtimestamp(at, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
