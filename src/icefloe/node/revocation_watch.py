"""Revocation lists grow old; whoever forgets to renew them is told in time.

A list past its nextUpdate fails safe, and loudly: OpenSSL verifies nobody by it, so
every *new* connection is a stranger's, dialled or accepted; and nothing that is signed
under it is given out.  Connections of members that are open stay open: nothing was said
against them.  (protocol: as a real Icinga node, which checks at the handshake too.)
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from icefloe.doors import WallTime
from icefloe.enrollment.commands import Level
from icefloe.node.material import Material
from icefloe.pki.revocation import RevocationList
from icefloe.pki.trust import TrustAnchor

SOON_SECONDS: Final = 86_400.0
"""A list that ends sooner is said to: the job that renews it may have failed."""

_NOBODY: Final = -1
"""No certificate has this serial number."""


def stale_lists(anchor: TrustAnchor | None, at: WallTime) -> tuple[str, ...]:
    """Say which lists cannot be relied upon at a moment; empty: none such."""
    moment = _moment(at)
    problems = (each.problem(_NOBODY, moment) for each in _newest(anchor))
    return tuple(str(problem) for problem in problems if problem is not None)


def list_alarms(
    material: Material, at: WallTime
) -> Iterator[tuple[Level, str, dict[str, object]]]:
    """Word what an operator has to know about the lists: level, event, fields."""
    path = str(material.configuration.listener.crl_path)
    stale = stale_lists(material.anchor, at)
    for problem in stale:
        yield (
            Level.ERROR,
            "revocation list out of date: no new connection is a member's",
            {"path": path, "detail": problem, "next": "install it anew and reload"},
        )
    if stale:
        return
    for each in _newest(material.anchor):
        ends = each.next_update
        if ends is not None and ends.timestamp() - at < SOON_SECONDS:
            yield (
                Level.WARNING,
                "revocation list ends soon",
                {"path": path, "ends": ends.isoformat()},
            )


def _newest(anchor: TrustAnchor | None) -> list[RevocationList]:
    """Return the list that counts of each issuer."""
    by_issuer: dict[object, RevocationList] = {}
    for each in anchor.revocation_lists if anchor is not None else ():
        known = by_issuer.get(each.issuer)
        if known is None or known.this_update < each.this_update:
            by_issuer[each.issuer] = each
    return list(by_issuer.values())


def _moment(at: WallTime) -> datetime:
    return datetime.fromtimestamp(at, tz=UTC)
