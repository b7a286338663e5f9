"""The limits an operator can change: names, defaults, units, ranges and reasons.

    const IcefloeLimits = { wrong_tickets_per_minute = 10, anonymous_connections = 500 }

in `constants.conf`; Icinga ignores the constant. A gateway takes `--limit NAME=NUMBER`.
docs/limits.md is this table for readers; a test holds that the two agree.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from icefloe.config.errors import printable
from icefloe.config.syntax import Value

_UNIT: Final = "unit"
_REASON: Final = "reason"
_LEAST: Final = "least"
_MOST: Final = "most"


def _limit(
    default: int, unit: str, reason: str, *, least: int = 1, most: int = 1_000_000
) -> Any:
    metadata = {_UNIT: unit, _REASON: reason, _LEAST: least, _MOST: most}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every limit, by its name in the configuration; reasons are in `LIMITS`."""

    # Connections of strangers; every peer is one until its handshake is done.
    anonymous_connections: int = _limit(
        4096,
        "connections",
        "One costs 40 KB, so all of them 160 MB. `max_anonymous_clients` of the "
        "ApiListener, if set, stands in its place.",
    )
    anonymous_connections_per_source: int = _limit(
        1024,
        "connections",
        "A whole site may sit behind one address; four such sites fill the total.",
    )
    anonymous_connections_reserve: int = _limit(
        512,
        "connections",
        "Beyond the total, for sources with few connections: a member is a stranger, "
        "too, until its handshake is done.",
        least=0,
    )
    anonymous_connections_few: int = _limit(
        4, "connections", "A source with no more than these may use the reserve."
    )
    handshake_threads: int = _limit(
        2,
        "at a time",
        "A handshake's signature takes 2-5 ms with RSA-4096. Others wait in line, each "
        "source in its turn. Taken at a start only.",
        most=64,
    )
    first_byte_seconds: int = _limit(
        15,
        "s",
        "From accepting to the first byte inside TLS; Icinga's time for connecting.",
        most=3600,
    )
    anonymous_seconds: int = _limit(
        10,
        "s",
        "Lifetime of a stranger's connection on which nobody waits; Icinga's.",
        most=3600,
    )
    # Messages.
    anonymous_message_bytes: int = _limit(
        1_048_576,
        "bytes",
        "Largest message of a stranger; Icinga's. A request has 3 KB.",
        least=65_536,
        most=16_777_216,
    )
    message_nesting: int = _limit(
        32,
        "levels",
        "Objects and arrays inside each other, from whomever; Icinga's since 2.14.9. "
        "Real messages have six.",
        least=8,
        most=64,
    )
    # Askings that wait for their turn, or for an answer.
    askings_per_connection: int = _limit(
        8, "askings", "Of a stranger, without an answer yet. Real clients send one."
    )
    askings_per_source: int = _limit(
        1000,
        "askings",
        "Of a stranger's source, not yet looked at: a second of the core's time.",
    )
    askings_of_strangers: int = _limit(
        4000,
        "askings",
        "Of all strangers, not yet looked at; a source with few finds a quarter more. "
        "Members' messages pass them anyhow.",
    )
    askings_per_member: int = _limit(
        20_000,
        "askings",
        "Of a member, without an answer yet: a relay that gets its parent back sends "
        "all it has.",
    )
    held_connections: int = _limit(
        2000,
        "connections",
        "Of strangers that wait for a person to decide. Others are told to ask again.",
        least=0,
    )
    # What is kept.
    open_requests: int = _limit(
        20_000,
        "requests",
        "Unfinished ones, 5 KB each. Members and who has a ticket find a quarter more.",
    )
    open_requests_per_source: int = _limit(
        5000,
        "requests",
        "Of these from one stranger's source, so that a flood leaves room for others; "
        "a site behind one address may have thousands of agents waiting for a master.",
    )
    open_requests_per_relay: int = _limit(
        10_000, "requests", "The same for a member that forwards them."
    )
    attempts_per_request: int = _limit(
        16,
        "attempts",
        "A roll-out that tries tickets or makes certificates anew needs a handful.",
        least=2,
    )
    attempts_per_request_and_source: int = _limit(
        4,
        "attempts",
        "Who tries tickets for somebody else's certificate takes none of the owner's "
        "places.",
    )
    request_lifetime_days: int = _limit(
        7,
        "days",
        "Unfinished requests nobody asks about are forgotten; Icinga's.",
        most=3650,
    )
    # Tickets.
    wrong_tickets_per_minute: int = _limit(
        30,
        "a minute",
        "From one stranger's source; as many at once. Comparing one takes 10-20 ms of a "
        "signer's CPU, so a source costs a hundredth of a core. People need few.",
    )
    wrong_tickets_per_relay: int = _limit(
        600,
        "a minute",
        "Through one member, which carries many agents; at worst a sixth of a core.",
    )
    wrong_tickets_per_name: int = _limit(
        60,
        "a minute",
        "For one name from all strangers. Above it each source has only the next line's "
        "failures for this name; who has not failed for it is heard.",
    )
    wrong_tickets_per_name_and_source: int = _limit(
        3,
        "a minute",
        "For one name from one source, while the name is over its rate.",
    )
    wrong_tickets_remembered: int = _limit(
        65_536,
        "keys",
        "Sources, names and pairs of both, 200 bytes each. When full, who has least to "
        "wait for is forgotten first.",
        least=16,
        most=10_000_000,
    )
    ticket_checks_at_once: int = _limit(
        8,
        "at a time",
        "Comparisons under way, the sources in turn: two for each thread keep it busy.",
        most=1000,
    )
    ticket_checks_waiting_per_source: int = _limit(
        2048,
        "tickets",
        "Behind them from one source: a site of 2,000 agents that starts at once.",
    )
    certificates_per_name_and_day: int = _limit(
        20,
        "a day",
        "Keys that tickets get signed for one name; as many at once. After that the "
        "request awaits approval. A restart forgets the count.",
    )
    # Renewal.
    renewal_begins_percent: int = _limit(
        66,
        "percent",
        "Of its life, when a node's own certificate may be renewed; the node's own "
        "moment lies evenly spread between here and the next line's end. Two thirds: "
        "early enough for a signer that is away for weeks.",
        least=50,
        most=95,
    )
    renewal_ends_days: int = _limit(
        30,
        "days",
        "Before its end, when it has to be renewed; a tenth of its life if that is "
        "less. Icinga's, whose signers renew nothing earlier.",
        most=365,
    )
    renew_expired_days: int = _limit(
        0,
        "days",
        "A signer renews without a ticket what expired no longer ago than that, for "
        "its known name and key. 0: a ticket or a person. It lets who has an old disk "
        "in for so much longer.",
        least=0,
        most=3650,
    )
    # The log.
    log_lines_per_source: int = _limit(
        5, "lines a minute", "Of one cause by one source: enough to see what it does."
    )
    log_lines_per_cause: int = _limit(
        30,
        "lines a minute",
        "Of one cause by all strangers: enough to see who does it. How many more there "
        "were is said afterwards.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitEntry:
    """One line of the table.

    Attributes:
        name: in the configuration.
        default: a whole number.
        unit: of the number.
        least: smallest number that is taken.
        most: largest.
        reason: why the default is what it is.
    """

    name: str
    default: int
    unit: str
    least: int
    most: int
    reason: str


LIMITS: Final = tuple(
    LimitEntry(
        name=each.name,
        default=int(each.default),  # type: ignore[arg-type]  # each has one
        unit=each.metadata[_UNIT],
        least=each.metadata[_LEAST],
        most=each.metadata[_MOST],
        reason=each.metadata[_REASON],
    )
    for each in fields(Limits)
)

_BY_NAME: Final = {entry.name: entry for entry in LIMITS}


class LimitProblem(Exception):
    """A limit that cannot be taken.

    Attributes:
        name: as it was given.
        message: what is wrong, without a full stop.
        remedy: what to do, as a sentence.
    """

    def __init__(self, name: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.remedy = remedy


def with_limits(
    values: Mapping[str, Value], *, base: Limits | None = None
) -> tuple[Limits, list[LimitProblem]]:
    """Take limits by name.

    Args:
        values: numbers as the configuration has them.
        base: what holds for names that are not given; default the defaults.

    Returns:
        The limits, and what could not be taken.
    """
    taken: dict[str, int] = {}
    problems: list[LimitProblem] = []
    for name, value in values.items():
        try:
            taken[name] = _checked(name, value)
        except LimitProblem as problem:
            problems.append(problem)
    return replace(base or Limits(), **taken), problems


def parse_limit(text: str) -> dict[str, Value]:
    """Read `NAME=NUMBER`, as an option has it.

    Raises:
        LimitProblem: it has another form. Name and number are not judged here.
    """
    name, equals, number = text.partition("=")
    if not equals or not number.isascii() or not number.isdecimal():
        raise LimitProblem(name, "it has the form NAME=NUMBER", "")
    return {name.strip(): float(number[:16])}


def _checked(name: str, value: Value) -> int:
    entry = _BY_NAME.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, _BY_NAME, n=1)
        meant = f"'{close[0]}' may be meant. " if close else ""
        raise LimitProblem(
            name,
            f"there is no limit '{printable(name)[:100]}'",
            f"{meant}docs/limits.md lists them all.",
        )
    if type(value) is not float or not value.is_integer():
        raise LimitProblem(name, f"'{name}' must be a whole number", "")
    number = int(value)
    if not entry.least <= number <= entry.most:
        raise LimitProblem(
            name, f"'{name}' must be from {entry.least} to {entry.most}", ""
        )
    return number
