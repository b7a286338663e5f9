"""Whether the parents accept a new certificate of this node's own.

That it verifies here says nothing about them: they may trust another CA, hold a
revocation list, or have a clock that is off.  Who is no member to a parent is told so
in no word: the parent closes the connection 10 s after its start, whatever happens on it
(protocol: Icinga 2, anonymous connections; an Icefloe parent does the same).  So a
certificate is confirmed once a parent is heard, on a connection that it was shown on,
later than that; a parent's heartbeat comes every 20 s.  That a connection has not ended
proves nothing: this process may have stood still, or the network have gone silent.  It
is refused when two connections in a row end earlier, or are refused in TLS, at every
parent that can be reached.  Then the older identity is put back, if it works.  A
certificate that has not begun by every clock yet is tried once more when it has.

A parent that is down refuses nobody: then the certificate stays unconfirmed.  Which
certificate that is stands in the journal of the shell, so that another life goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from icefloe.doors import MonotonicTime, Now
from icefloe.enrollment.commands import ConfirmIdentity, Level, RollBackIdentity
from icefloe.enrollment.events import DialFailed, LinkId
from icefloe.enrollment.links import LinkState
from icefloe.enrollment.settings import EnrollmentSettings, OwnIdentity
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import common_name, fingerprint
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import CLOCKS_APART_SECONDS_MAX

CONFIRMED_AFTER_SECONDS: Final = 15.0
"""A connection on which we are nobody ends after 10 s; a busy parent may be late.  Who
owns the connection judges when the parent was heard, by its own clock."""

STILL_THERE_SECONDS: Final = 1.0
"""From then on it is waited so long before the core is told.  What a process finds that
was stopped meanwhile came perhaps long ago, and behind it the parent's close."""

REFUSALS: Final = 2
"""In a row and from one parent: one may be a parent that was just restarted."""


@dataclass(frozen=True, slots=True)
class Later:
    """A certificate that is worth another try.

    An Icinga signer dates it from the second it signs, and a parent whose clock is
    behind does not believe it yet.  The next one would meet the same.

    Attributes:
        certificate: the one that was refused.
        parent: who refused it.
        at: when it has begun by all clocks that are as right as they must be.
    """

    certificate: x509.Certificate
    parent: str
    at: MonotonicTime


_REMEDY: Final = "see that the parents trust the CA that signed the new one"
_REMEDY_YOUNG: Final = (
    "see that the parents trust the CA that signed the new one; it is tried again when "
    "it has begun by every clock"
)


class Confirming:
    """Watches the connections on which an unconfirmed certificate was shown.

    Attributes:
        settings: set by the core.
        refused_by: the parent that refused last and what was seen, once every reachable
            parent refuses; ("", "") before.
        next_deadline: when `deadline` has something to do.
    """

    def __init__(self) -> None:
        """Begin with no connection."""
        self.settings: EnrollmentSettings
        self.refused_by = ("", "")
        self.stopping = False
        self._young: dict[LinkId, tuple[str, MonotonicTime]] = {}
        self._refusals: dict[str, int] = {}
        self._away: set[str] = set()
        self._about = ""
        # The certificate that was confirmed or given up: its command is being carried
        # out, and the settings do not know yet.
        self._settled = ""
        self._is_given_up = False
        # Before, a parent's clock may say that the certificate has not begun.
        self._begun_at = MonotonicTime(0.0)
        self.later: Later | None = None
        self.next_deadline: MonotonicTime | None = None

    @property
    def watched(self) -> OwnIdentity | None:
        """The identity that no parent has accepted yet; None: there is no doubt."""
        own = self.settings.own
        if own is None or not own.unconfirmed or self._settled == self._about:
            return None
        return own

    def reconfigured(self, now: Now) -> None:
        """The settings are new; with another certificate all begins anew."""
        own = self.settings.own
        about = fingerprint(own.certificate) if own is not None else ""
        if about != self._about:
            self._about, self._settled = about, ""
            self._young.clear()
            self._refusals.clear()
            self._away.clear()
            self.refused_by = ("", "")
            self._is_given_up = False
            until_begun = _seconds_until_begun(own, now) if own is not None else 0.0
            self._begun_at = MonotonicTime(now.mono + until_begun)
            if self.watched is not None:
                self.later = None  # it is in use again, or a newer one is
        elif self._is_given_up:
            # It is still here: the shell found no older one that works.
            self._settled, self.later = "", None
        if self.watched is not None and not self._parents():
            self.next_deadline = now.mono

    # -- from the core --------------------------------------------------------------------

    def link_up(self, turn: Turn, state: LinkState, shown: str) -> None:
        """A parent is connected, by the certificate with that fingerprint."""
        if self.watched is None or shown not in ("", self._about):
            return
        self._young[state.link] = state.name, turn.now.mono
        self._away.discard(state.name)

    def parent_stays(self, turn: Turn, link: LinkId) -> None:
        """A parent was heard on a connection that a stranger would not have any more."""
        name, _ = self._young.get(link, ("", turn.now.mono))
        if name and self.watched is not None:
            self._confirm(turn, name)

    def link_down(self, turn: Turn, link: LinkId, detail: str = "") -> None:
        """A connection ended: too early, perhaps."""
        name, since = self._young.pop(link, ("", turn.now.mono))
        if not name or self.watched is None:
            return
        lasted = turn.now.mono - since
        if self.stopping:
            return
        if detail:
            self._refused(turn, name, detail)
        elif lasted < CONFIRMED_AFTER_SECONDS and not self._is_connected(name):
            # Of two connections between two nodes one is closed: it says nothing.
            # Nor does a later end, which we may have come to hear of late.
            seen = f"it closed the connection after {lasted:.0f} s"
            self._refused(turn, name, seen)

    def dial_failed(self, turn: Turn, event: DialFailed) -> None:
        """A parent was dialled in vain."""
        if self.watched is None or event.endpoint not in self._parents():
            return
        if event.refused:
            self._refused(turn, event.endpoint, event.detail)
        elif not self._is_connected(event.endpoint):
            self._away.add(event.endpoint)
            self._judge(turn, self.refused_by[1])

    def deadline(self, turn: Turn) -> None:
        """Confirm at once where nobody could refuse."""
        if self.next_deadline is None or self.next_deadline > turn.now.mono:
            return
        self.next_deadline = None
        if self.watched is not None and not self._parents():
            # Nobody is above this node who could refuse it.
            self._confirm(turn, "")

    # -- inside -----------------------------------------------------------------------------

    def _parents(self) -> frozenset[str]:
        tree = self.settings.tree
        if tree is None or self.settings.signs:
            return frozenset()
        return frozenset(endpoint.name for endpoint in tree.upstreams())

    def _is_connected(self, name: str) -> bool:
        return any(each == name for each, _ in self._young.values())

    def _confirm(self, turn: Turn, name: str) -> None:
        self._settled = self._about
        self.refused_by = ("", "")
        turn.log(Level.INFO, "own certificate confirmed", parent=name)
        turn.order(ConfirmIdentity(self._about))

    def _refused(self, turn: Turn, name: str, detail: str) -> None:
        self._away.discard(name)
        self._refusals[name] = self._refusals.get(name, 0) + 1
        turn.log(
            Level.WARNING,
            "parent does not accept our new certificate",
            parent=name,
            times=self._refusals[name],
            detail=detail,
        )
        self._judge(turn, detail, name)

    def _judge(self, turn: Turn, detail: str, name: str = "") -> None:
        """Give the certificate up when every parent that can be reached refuses it."""
        reached = {*self._refusals, *(each for each, _ in self._young.values())}
        reached -= self._away
        counts = [self._refusals.get(each, 0) for each in reached]
        if not counts or min(counts) < REFUSALS:
            return
        own = self.watched
        if own is None:
            return
        refuses = name or min(reached)
        reason = f"{refuses} does not accept it: {detail}"
        is_news = not self.refused_by[0]
        self.refused_by = (refuses, detail)
        if not self._is_given_up and _works(own, self.settings, turn.now):
            self._settled, self._is_given_up = self._about, True
            is_young = turn.now.mono < self._begun_at
            if is_young:
                self.later = Later(own.certificate, refuses, self._begun_at)
            turn.log(
                Level.ERROR,
                "own certificate refused by the parents, the older one is put back",
                parent=refuses,
                detail=detail,
                next=_REMEDY_YOUNG if is_young else _REMEDY,
            )
            turn.order(RollBackIdentity(reason, self._about))
        elif is_news:
            turn.log(
                Level.ERROR,
                "own certificate refused by the parents, and there is no older one",
                parent=refuses,
                detail=detail,
                next="see that the parents trust the CA that signed it, and their clocks",
            )


def _seconds_until_begun(own: OwnIdentity, now: Now) -> float:
    """Return how long some parent's clock may say that a certificate has not begun.

    Ours may be behind the signer's by as much; that it is wrong by more is no reason to
    wait longer.
    """
    begins = own.certificate.not_valid_before_utc.timestamp()
    seconds = begins + CLOCKS_APART_SECONDS_MAX - now.wall
    return min(max(seconds, 0.0), 2 * CLOCKS_APART_SECONDS_MAX)


def _works(own: OwnIdentity, settings: EnrollmentSettings, now: Now) -> bool:
    """Whether the older identity would be believed: as it was, and is in date."""
    older, anchor = own.older, settings.anchor
    if older is None or anchor is None or older == own.certificate:
        return False
    try:
        same_name = common_name(older) == common_name(own.certificate)
    except PKIError:
        return False
    return same_name and anchor.is_signed(older, now.wall)
