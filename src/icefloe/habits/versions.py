"""The differences between releases, as data.

One row per release that the founding story and the tests speak of.

    version   after "pending" the anonymous    takes a certificate   sends
              requester's link is              from anonymous        requestor_ca
    2.13.6    flushed and closed               yes                   no
    2.14.3    flushed and closed               yes                   yes
    2.14.4    closed, the answer dropped       yes                   yes
    2.14.5    kept until its 10 s are over     yes                   yes
    2.16.5    kept until its 10 s are over     no                    yes
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from icefloe.errors import IcefloeError
from icefloe.wire.catalogue import Hello

ANONYMOUS_SECONDS: Final = 10.0
"""How long a link without an Endpoint lives, whatever happens on it."""

RECONNECT_SECONDS: Final = 10.0
"""Ticks, counted from the start, at which endpoints that are not connected are
dialled.  No backoff, no jitter."""

REQUEST_LIFETIME_SECONDS: Final = 7 * 86400.0
"""A stored request that was not written for so long is deleted."""


class AfterPending(enum.Enum):
    """What becomes of an anonymous requester's link once the outcome is "pending"."""

    REPLY_THEN_CLOSE = "reply-then-close"
    """The answer is queued and flushed, then the link is closed."""

    CUT = "cut"
    """The link is marked as closing first, which drops the answer (only 2.14.4)."""

    REPLY_AND_STAY = "reply-and-stay"
    """The answer is sent; the link lives until its 10 s are over."""


class UnknownVersion(IcefloeError):
    """A release without a row in this table.

    Attributes:
        version: As it was asked for.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        known = ", ".join(HABITS)
        super().__init__(
            f"the habits of Icinga {version!r} are not known (known: {known})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How one release treats certificate requests.

    Attributes:
        version: As people write it, `2.14.4`.
        wire_version: As its Hello says it, 21404.
        capabilities: As its Hello says them.
        after_pending: What happens to the requester's link.
        close_drops_queue: Whether closing a link drops what is queued on it.
        update_needs_member: Whether a certificate is taken only from a configured
            endpoint.
        knows_requestor_ca: Whether it judges, stores and forwards the requester's
            root certificate, which makes a new root reach old nodes.
        keeps_verified_strangers: Whether a peer with a valid certificate and no
            Endpoint keeps its link (it may do no more than an anonymous one).
    """

    version: str
    wire_version: int
    capabilities: int
    after_pending: AfterPending
    close_drops_queue: bool
    update_needs_member: bool
    knows_requestor_ca: bool
    keeps_verified_strangers: bool

    @property
    def hello(self) -> Hello:
        """What this release says of itself at the start of a session."""
        return Hello(version=self.wire_version, capabilities=self.capabilities)


_ROWS: Final = (
    Habits(
        version="2.13.6",
        wire_version=21306,
        capabilities=1,
        after_pending=AfterPending.REPLY_THEN_CLOSE,
        close_drops_queue=False,
        update_needs_member=False,
        knows_requestor_ca=False,
        keeps_verified_strangers=True,
    ),
    Habits(
        version="2.14.3",
        wire_version=21403,
        capabilities=3,
        after_pending=AfterPending.REPLY_THEN_CLOSE,
        close_drops_queue=False,
        update_needs_member=False,
        knows_requestor_ca=True,
        keeps_verified_strangers=True,
    ),
    Habits(
        version="2.14.4",
        wire_version=21404,
        capabilities=3,
        after_pending=AfterPending.CUT,
        close_drops_queue=True,
        update_needs_member=False,
        knows_requestor_ca=True,
        keeps_verified_strangers=True,
    ),
    Habits(
        version="2.14.5",
        wire_version=21405,
        capabilities=3,
        after_pending=AfterPending.REPLY_AND_STAY,
        close_drops_queue=True,
        update_needs_member=False,
        knows_requestor_ca=True,
        keeps_verified_strangers=True,
    ),
    Habits(
        version="2.16.5",
        wire_version=21605,
        capabilities=7,
        after_pending=AfterPending.REPLY_AND_STAY,
        close_drops_queue=True,
        update_needs_member=True,
        knows_requestor_ca=True,
        keeps_verified_strangers=False,
    ),
)

HABITS: Final[Mapping[str, Habits]] = MappingProxyType(
    {habits.version: habits for habits in _ROWS}
)
"""The known rows, oldest first."""


def habits_of(version: str) -> Habits:
    """Return the habits of a release.

    Only a release with a row of its own: what lies between two rows has some of its
    habits from the one and some from the other.

    Raises:
        UnknownVersion: There is no such row.
    """
    try:
        return HABITS[version]
    except KeyError:
        raise UnknownVersion(version) from None
