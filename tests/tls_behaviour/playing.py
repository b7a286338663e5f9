"""Any of the misbehaviours, played against any server."""

from __future__ import annotations

import itertools

from tests.tls_behaviour import deviants, first_flight
from tests.tls_behaviour.deviants import Deviation
from tests.tls_behaviour.first_flight import GOES_ON, Case
from tests.tls_behaviour.observing import Seen, connect, read_in_clear

PARTS: dict[str, list[Case] | list[Deviation]] = {
    **first_flight.PARTS,
    **deviants.PARTS,
}
"""Every misbehaviour, by the part of TLS that it is about."""

_sources = itertools.count()


def play(case: Case | Deviation, address: tuple[str, int]) -> Seen:
    """Misbehave once, from an address of its own: limits per source are not the topic."""
    number = next(_sources)
    source = f"127.0.{1 + number // 250 % 250}.{1 + number % 250}"
    with connect(address, source) as sock:
        if isinstance(case, Deviation):
            return deviants.run(case, sock)
        case.send(sock)
        return read_in_clear(sock, until_hello=case.expected == GOES_ON)


def objection(case: Case | Deviation, seen: Seen) -> str | None:
    """What is wrong with a server's reaction, or None."""
    if isinstance(case, Deviation) and case.stays:
        as_expected = seen.answered and not seen.alerts
    elif case.expected == GOES_ON:
        as_expected = seen.answered
    elif case.expected is not None:
        as_expected = seen.ended and case.expected in seen.alerts
    elif isinstance(case, Deviation):
        as_expected = seen.ended  # an alert does no harm
    else:
        as_expected = seen.ended and not seen.answered
    return None if as_expected else f"{case.name}: {case.expected} expected, {seen}"
