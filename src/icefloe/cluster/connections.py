"""One connection for each endpoint.

Both sides of a pair may dial, a network may swallow a connection without a word, and
two machines may run with one certificate (a copied disk).  So a second connection for
an endpoint is a daily event.  Icinga's rule is that whoever detects it drops the
second.  Ours is the same, with two exceptions that end a bad time sooner:

* The first has been silent for longer than a heartbeat takes: its peer was restarted
  or cut off.  The second one takes its place, instead of waiting 60 s for the first to
  be given up.
* The two were dialled from both ends at about the same time.  Each end may see them in
  another order, and if each dropped its second, none would be left.  So the one that
  the node with the smaller name dialled stays, which both ends can tell.

Two copies of a machine both send heartbeats, so the first of them keeps its place.

Source: Icinga 2, duplicate connections; the exceptions are ours.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from icefloe.cluster.states import Role
from icefloe.doors import MonotonicTime

STALE_SECONDS: Final = 25.0
"""After this silence a connection gives way: a live peer sends a heartbeat every 20 s."""

CROSSING_SECONDS: Final = 2.0
"""Connections dialled from both ends within this time count as simultaneous: the time
of a slow TLS handshake."""

_LinkT = TypeVar("_LinkT", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Admit:
    """The connection is its endpoint's one and only."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection has to go (drain it); the one there is stays.

    Attributes:
        reason: stable code.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Replace(Generic[_LinkT]):
    """The connection takes the place of another one, which has to go (drain it).

    Attributes:
        link: the other one; already forgotten here.
        reason: stable code.
    """

    link: _LinkT
    reason: str


@dataclass(frozen=True, slots=True)
class _Entry(Generic[_LinkT]):
    link: _LinkT
    role: Role
    admitted_at: MonotonicTime


class Connections(Generic[_LinkT]):
    """Which endpoint is connected, by which link.  Members only; strangers are many."""

    def __init__(self, *, node_name: str) -> None:
        """Begin with none.

        Args:
            node_name: our own endpoint.
        """
        self._node_name = node_name
        self._entries: dict[str, _Entry[_LinkT]] = {}
        self._endpoints: dict[_LinkT, str] = {}

    def link_of(self, endpoint: str) -> _LinkT | None:
        """Return the endpoint's link, None if it is not connected."""
        entry = self._entries.get(endpoint)
        return None if entry is None else entry.link

    def links(self) -> Mapping[str, _LinkT]:
        """Return all links by endpoint: a copy."""
        return MappingProxyType(
            {endpoint: entry.link for endpoint, entry in self._entries.items()}
        )

    def admit(
        self,
        link: _LinkT,
        endpoint: str,
        *,
        role: Role,
        now: MonotonicTime,
        incumbent_seen: MonotonicTime | None = None,
    ) -> Admit | Refuse | Replace[_LinkT]:
        """Decide about a new connection of a member.

        Args:
            link: the new connection, not known here yet.
            endpoint: the member's name.
            role: which side of it we are.
            now: the time.
            incumbent_seen: when the endpoint was last heard on the link it has
                (`link_of`), which is `Session.last_seen`; None if it has none.

        Returns:
            What to do.  After `Admit` and `Replace` the new link is registered.
        """
        entry = self._entries.get(endpoint)
        if entry is None:
            self._register(link, endpoint, role, now)
            return Admit()
        reason = self._reason_to_replace(entry, endpoint, role, now, incumbent_seen)
        if reason is None:
            return Refuse("duplicate")
        self.forget(entry.link)
        self._register(link, endpoint, role, now)
        return Replace(entry.link, reason)

    def forget(self, link: _LinkT) -> str | None:
        """Forget a link, at the beginning of its end.

        Returns:
            Its endpoint; None for a link that was not registered (any more).
        """
        endpoint = self._endpoints.pop(link, None)
        if endpoint is not None:
            del self._entries[endpoint]
        return endpoint

    def _register(
        self, link: _LinkT, endpoint: str, role: Role, now: MonotonicTime
    ) -> None:
        assert link not in self._endpoints
        self._entries[endpoint] = _Entry(link, role, now)
        self._endpoints[link] = endpoint

    def _reason_to_replace(
        self,
        entry: _Entry[_LinkT],
        endpoint: str,
        role: Role,
        now: MonotonicTime,
        incumbent_seen: MonotonicTime | None,
    ) -> str | None:
        heard_at = entry.admitted_at
        if incumbent_seen is not None:
            heard_at = max(heard_at, incumbent_seen)
        if now - heard_at > STALE_SECONDS:
            return "stale"
        crossing = now - entry.admitted_at <= CROSSING_SECONDS
        smaller = Role.DIALLER if self._node_name < endpoint else Role.LISTENER
        if crossing and entry.role is not role and role is smaller:
            return "crossing"
        return None
