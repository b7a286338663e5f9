"""What is said about a node's own certificate: the record for people, and the alarm.

The record (`OwnStatus`) is told when it changes.  A renewal that does not work is an
alarm with the days that are left: a warning a day after it was due, an error when real
signers renew it, too (30 days before the end), critical a week before.  It is said once
a day, and when it becomes another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.commands import Level, TellOwnStatus
from icefloe.enrollment.confirming import Confirming
from icefloe.enrollment.own_status import OwnStatus, State
from icefloe.enrollment.problem import Code
from icefloe.enrollment.renewal import (
    DAY_SECONDS,
    alarm_level,
    days_left,
    is_due,
    window_of,
)
from icefloe.enrollment.settings import EnrollmentSettings, OwnIdentity
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import fingerprint, is_self_issued
from icefloe.pki.trust import TrustAnchor, moment_for

FIRST_TRY_SECONDS: Final = 600.0
"""A life that began a moment ago has not had its chance: no alarm before."""

TOLD_AGAIN_SECONDS: Final = 60.0
"""A record in which only the next attempt is another one is told again this rarely,
unless that was put off by as much: until then nothing may happen that would tell it."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the last asking came to.

    Attributes:
        state: what it says about us.
        parent: who said it.
        code: of `icefloe.enrollment.problems`; "" for no trouble.
        detail: in words.
    """

    state: State
    parent: str
    code: str
    detail: str


class OwnReport:
    """Says how it stands.

    Attributes:
        settings: set by the core.
        heard: what the last asking came to; None: nothing yet, or it worked.
    """

    def __init__(self) -> None:
        """Begin with nothing said."""
        self.settings: EnrollmentSettings
        self.heard: Heard | None = None
        self._is_connected = False
        self._began: MonotonicTime | None = None
        self._told: OwnStatus | None = None
        self._told_at = MonotonicTime(0.0)
        self._alarmed: tuple[Level, str, MonotonicTime] | None = None

    def look(
        self,
        turn: Turn,
        *,
        asks_at: MonotonicTime | None,
        is_connected: bool,
        confirming: Confirming,
    ) -> None:
        """Say what is to be said now.

        Args:
            turn: to say it in.
            asks_at: when a parent is asked next.
            is_connected: a parent is there to be asked.
            confirming: whether the parents accept the certificate.
        """
        own, anchor = self.settings.own, self.settings.anchor
        if self._began is None:
            self._began = turn.now.mono
        if own is None:
            return  # a gateway, or a command: it has no certificate of its own to keep
        now = turn.now
        self._is_connected = is_connected
        status = self._status(own, anchor, now, confirming)
        if asks_at is not None and status.state not in {"healthy", "signer"}:
            at = now.wall + max(0.0, asks_at - now.mono)
            status = replace(status, next_attempt=WallTime(round(at, 1)))
        self._alarm(turn, own, anchor, status)
        self._tell(turn, status)

    # -- the record -------------------------------------------------------------------------

    def _tell(self, turn: Turn, status: OwnStatus) -> None:
        told, now = self._told, turn.now
        if told is not None and (told.state, told.code) == (status.state, status.code):
            status = replace(status, since=told.since)
            same = replace(status, next_attempt=told.next_attempt) == told
            early = now.mono - self._told_at < TOLD_AGAIN_SECONDS
            if status == told or (same and early and not _is_put_off(told, status)):
                return
        self._told, self._told_at = status, now.mono
        turn.order(TellOwnStatus(status))

    def _status(
        self,
        own: OwnIdentity,
        anchor: TrustAnchor | None,
        now: Now,
        confirming: Confirming,
    ) -> OwnStatus:
        base = self._dates(own, now)
        if anchor is None:
            text = "There is no CA certificate to trust: run 'icefloe node setup'."
            return replace(
                base, state="no-certificate", code=Code.TRUST_MISSING, detail=text
            )
        if (refused := own.refused) is not None and (
            refused.fingerprint != fingerprint(own.certificate)
        ):
            left = days_left(own.certificate, now.wall)
            text = (
                f"The new certificate was put back: {refused.reason}. The older one is "
                f"in use again and ends in {left} days."
            )
            return replace(
                base, state="rolled-back", code=Code.ROLLED_BACK, detail=text
            )
        if confirming.watched is not None:
            return _unconfirmed(base, confirming)
        at = moment_for(own.certificate, now.wall)
        if not anchor.is_signed(own.certificate, at):
            return self._without(base, now)
        if not is_due(own.certificate, self.settings.renewal, now.wall):
            state: State = "signer" if self.settings.signs else "healthy"
            return replace(base, state=state)
        return self._due(base, own, now)

    def _dates(self, own: OwnIdentity, now: Now) -> OwnStatus:
        base = OwnStatus(state="healthy", since=now.wall)
        if is_self_issued(own.certificate):
            return base
        window = window_of(own.certificate, self.settings.renewal)
        return replace(base, certificate_ends=window.ends, renew_at=window.due)

    def _without(self, base: OwnStatus, now: Now) -> OwnStatus:
        """No certificate that others would believe."""
        ends = base.certificate_ends
        if ends is not None and ends <= now.wall:
            text = "The certificate of this node has ended."
            if self.heard is not None:
                text = f"{text} {self.heard.detail}"
            return replace(
                base,
                state="expired",
                parent=self.heard.parent if self.heard is not None else "",
                code=Code.CERTIFICATE_EXPIRED,
                detail=text,
            )
        # An Icinga 2 ends the connection after each answer: what it said stands until
        # it is dialled in vain.
        stands = self.heard is not None and self.heard.state in _ANSWERS
        if not (self._is_connected or stands):
            return _unreachable(base, self.heard)
        if self.heard is None:
            return replace(base, state="pending", code=Code.PENDING)
        return _as_heard(base, self.heard)

    def _due(self, base: OwnStatus, own: OwnIdentity, now: Now) -> OwnStatus:
        """A certificate that is good, and to be renewed."""
        level = self._level(own, now)
        heard = self.heard
        if level is None:
            return replace(base, state="due", parent=heard.parent if heard else "")
        why = heard.detail if heard is not None else ""
        if not why and not self._is_connected and not self.settings.signs:
            why = "No parent is connected."
        left = days_left(own.certificate, now.wall)
        return replace(
            base,
            state="due",
            parent=heard.parent if heard is not None else "",
            code=Code.RENEWAL_FAILING,
            detail=f"The certificate could not be renewed and ends in {left} days. "
            f"{why}".rstrip(),
        )

    # -- the alarm ----------------------------------------------------------------------------

    def _level(self, own: OwnIdentity, now: Now) -> Level | None:
        """How loud a renewal that has not worked is; None: it is not, or not yet."""
        heard, began = self.heard, self._began
        if heard is None and now.mono - (began or now.mono) < FIRST_TRY_SECONDS:
            return None
        window = window_of(own.certificate, self.settings.renewal)
        level = alarm_level(window, now.wall)
        if level is Level.WARNING and heard is not None and not heard.code:
            return None  # "nothing to do", and it is early enough
        return level

    def _alarm(
        self,
        turn: Turn,
        own: OwnIdentity,
        anchor: TrustAnchor | None,
        status: OwnStatus,
    ) -> None:
        now = turn.now
        ends = status.certificate_ends
        watched = status.state in {"due", "expired", "rolled-back"} and ends is not None
        level = self._level(own, now) if watched and anchor is not None else None
        if level is None or ends is None:
            self._alarmed = None
            return
        what = (level, status.code)
        said = self._alarmed
        if said and said[:2] == what and now.mono - said[2] < DAY_SECONDS:
            return
        self._alarmed = (*what, now.mono)
        turn.log(
            level,
            "own certificate could not be renewed",
            days_left=days_left(own.certificate, now.wall),
            ends=own.certificate.not_valid_after_utc.isoformat(),
            parent=status.parent,
            code=status.code,
            detail=status.detail,
            next=_REMEDY_SIGNER if self.settings.signs else _REMEDY,
        )


_ANSWERS: Final = frozenset({"pending", "refused"})
_REMEDY: Final = "see 'icefloe enrollment status'"
_REMEDY_SIGNER: Final = "renew it: pki new-cert --csr, pki sign-csr"


def _is_put_off(told: OwnStatus, status: OwnStatus) -> bool:
    """Whether the next attempt is much later than was told."""
    if told.next_attempt is None or status.next_attempt is None:
        return told.next_attempt != status.next_attempt
    return status.next_attempt - told.next_attempt >= TOLD_AGAIN_SECONDS


def _unconfirmed(base: OwnStatus, confirming: Confirming) -> OwnStatus:
    parent, seen = confirming.refused_by
    if parent:
        text = (
            f"{parent} does not accept the certificate of this node: {seen}. There is "
            "no older one that works."
        )
        return replace(
            base,
            state="refused",
            parent=parent,
            code=Code.CERTIFICATE_REFUSED,
            detail=text,
        )
    text = "The new certificate is in place; no parent has accepted it yet."
    return replace(base, state="unconfirmed", code=Code.UNCONFIRMED, detail=text)


def _unreachable(base: OwnStatus, heard: Heard | None) -> OwnStatus:
    detail = heard.detail if heard is not None and heard.state == "unreachable" else ""
    return replace(
        base,
        state="unreachable",
        parent=heard.parent if heard is not None else "",
        code=Code.UNREACHABLE,
        detail=detail or "No parent is connected.",
    )


def _as_heard(base: OwnStatus, heard: Heard) -> OwnStatus:
    return replace(
        base,
        state=heard.state,
        parent=heard.parent,
        code=heard.code,
        detail=heard.detail,
    )
