"""The reception: who asks is turned away, answered at once, or begins to wait.

Cheap refusals come first. A ticket from a peer that is over its rate is refused before
its certificate is read; one for a name over its rate before anything is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from icefloe.doors import MonotonicTime
from icefloe.enrollment.answers import Responder, silent_until
from icefloe.enrollment.commands import Hold, Level
from icefloe.enrollment.events import CallId, CertificateAsked
from icefloe.enrollment.failures import Asker, Failures, over_rate
from icefloe.enrollment.intake import Intake, Turned, full, take_in
from icefloe.enrollment.links import Links, LinkState
from icefloe.enrollment.model import (
    AttemptRecord,
    CertificateRecord,
    Refusal,
    RequestRecord,
)
from icefloe.enrollment.quotas import Quotas
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.waiters import Waiter, Waiters

# To decide or to forward what was taken in.
GoOn = Callable[[Turn, RequestRecord, AttemptRecord], None]


class Reception:
    """Takes askings in."""

    def __init__(
        self,
        *,
        responder: Responder,
        waiters: Waiters,
        links: Links,
        failures: Failures,
        quotas: Quotas,
    ) -> None:
        """Answer through `responder`."""
        self._responder = responder
        self._waiters = waiters
        self._links = links
        self._failures = failures
        self._quotas = quotas
        self.settings: EnrollmentSettings

    def asked(
        self, turn: Turn, event: CertificateAsked, *, stopping: bool, go_on: GoOn
    ) -> None:
        """Take an asking.

        Args:
            turn: the working table.
            event: the asking.
            stopping: the node stops: who is to wait is told so instead.
            go_on: to signer or relay.
        """
        link = self._links.get(event.link)
        if link is None:
            return
        asker = Asker.of_peer(link.peer)
        try:
            self._admit(link)
            self._hear(turn, asker, event)
            intake = self._take_in(turn, link, asker, event)
        except Turned as turned:
            if turned.is_failure:
                self._failures.was_unusable(turn, asker)
            self._turn_away(turn, link, event.call, turned.refusal)
            return
        self._tell_displaced(turn, intake.request)
        found = intake.found
        waiter = self._waiter(turn, link, event, intake.request, intake.fingerprint)
        if isinstance(found, CertificateRecord):
            self._waiters.add(waiter)
            self._responder.give_certificate(turn, [waiter], found)
            return
        waiter.attempt_id = found.attempt_id
        self._waiters.add(waiter)
        if stopping:
            self._responder.park(turn, [waiter])
            return
        self._hold(turn, link, waiter)
        if found.ticket and (self.settings.checks_tickets or not self.settings.signs):
            self._failures.admitted(
                found.attempt_id, asker, intake.request.cn, turn.now.mono
            )
            self._failures.shun(turn, asker)
        go_on(turn, intake.request, found)

    # -- turning away ---------------------------------------------------------------

    def _admit(self, link: LinkState) -> None:
        limits = self.settings.limits
        most = (
            limits.waiters_member_max if link.member else limits.waiters_anonymous_max
        )
        if self._waiters.calls_on(link.link) < most:
            return
        text = f"{self.settings.node_name} is asked too much on this connection."
        raise Turned(
            Refusal(
                reason=Reason.LIMIT.value,
                text=text,
                hop=self.settings.node_name,
                retry_after=10.0,
            )
        )

    def _hear(self, turn: Turn, asker: Asker, event: CertificateAsked) -> None:
        """Refuse a ticket of a peer that is over its rate."""
        if not event.params.ticket:
            return
        now = turn.now.mono
        heard_at = self._failures.peer_heard_at(asker, now)
        if heard_at > now:
            self._failures.shun(turn, asker)
            name = self.settings.node_name
            raise Turned(over_rate(name, asker.label, heard_at - now))

    def _refuse_name(self, asker: Asker, now: MonotonicTime, cn: str) -> None:
        """Refuse a ticket for a name that is over its rate, from who failed for it."""
        heard_at = self._failures.name_heard_at(asker, cn, now)
        if heard_at > now:
            name = self.settings.node_name
            raise Turned(over_rate(name, asker.label, heard_at - now, cn=cn))

    def _take_in(
        self, turn: Turn, link: LinkState, asker: Asker, event: CertificateAsked
    ) -> Intake:
        return take_in(
            turn,
            self.settings,
            link,
            event,
            asker=asker,
            quotas=self._quotas,
            refuse_name=partial(self._refuse_name, asker, turn.now.mono),
            is_awaited=self._is_waited_for,
        )

    def _turn_away(
        self,
        turn: Turn,
        link: LinkState,
        call: CallId | None,
        refusal: Refusal,
    ) -> None:
        quiet = refusal.reason == Reason.NOTHING_TO_DO.value
        turn.log(
            Level.DEBUG if quiet else Level.WARNING,
            "request turned away",
            peer=link.name,
            reason=refusal.reason,
            detail=refusal.text,
        )
        if call is not None:
            self._responder.refuse_call(turn, link.link, call, refusal)

    def _tell_displaced(self, turn: Turn, request: RequestRecord) -> None:
        """Whoever waited for what made room must not hear that it is kept."""
        for attempt_id in turn.forgotten:
            waiters = self._waiters.of_attempt(request.request_id, attempt_id)
            self._responder.refuse(turn, waiters, full(self.settings.node_name))

    # -- waiting --------------------------------------------------------------------

    def _waiter(
        self,
        turn: Turn,
        link: LinkState,
        event: CertificateAsked,
        request: RequestRecord,
        fingerprint: str,
    ) -> Waiter:
        limits = self.settings.limits
        hold = limits.hold_member if link.member else limits.hold_ticketed
        until = None
        if event.call is not None:
            until = MonotonicTime(turn.now.mono + hold)
        elif link.member:
            until = silent_until(turn, self.settings)
        return Waiter(
            link=link.link,
            call=event.call,
            request_id=request.request_id,
            attempt_id="",
            fingerprint=fingerprint,
            member=link.member,
            ticketed=bool(event.params.ticket),
            until=until,
            source=event,
        )

    def _hold(self, turn: Turn, link: LinkState, waiter: Waiter) -> None:
        if link.member or link.held:
            return
        limits = self.settings.limits
        if self._links.held_count < limits.held_links_max:
            self._links.hold(link)
            turn.order(Hold(link.link))
        elif waiter.call is not None:
            ends = MonotonicTime(turn.now.mono + limits.hold_unheld)
            self._waiters.shorten(waiter, ends)

    def _is_waited_for(self, attempt: AttemptRecord) -> bool:
        waiters = self._waiters.of_attempt(attempt.request_id, attempt.attempt_id)
        return bool(waiters)
