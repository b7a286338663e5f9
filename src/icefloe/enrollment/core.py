"""The enrollment core: one event in, writes and commands out.

The same object runs in the daemon, in the commands that decide without a
daemon, and in the simulator. It reads through the `Ledger`, and neither writes
nor sends: `handle` returns the turn's writes and commands, and whoever runs the
core commits the writes before the commands are carried out. When that commit
fails, `commit_failed` puts right what the core remembers and tells the askers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icefloe.doors import Entropy, MonotonicTime, Now
from icefloe.enrollment import events as ev
from icefloe.enrollment.answers import SIGNED, Responder, silent_until, still_undecided
from icefloe.enrollment.commands import (
    Command,
    Hold,
    Level,
)
from icefloe.enrollment.expiry import Expiry
from icefloe.enrollment.intake import Turned, declined, take_in
from icefloe.enrollment.ledger import Ledger, Write
from icefloe.enrollment.links import LinkState
from icefloe.enrollment.model import (
    OPEN_ATTEMPT_STATES,
    SETTLED_STATES,
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    Refusal,
    RequestRecord,
    RequestState,
    serial_text,
)
from icefloe.enrollment.own import CALL_PREFIX, OwnEnrollment
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.relay import Relay
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.signer import Signer
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.unrecorded import UnrecordedTurns
from icefloe.enrollment.upstream import Errand, Upstream
from icefloe.enrollment.waiters import Waiter, Waiters
from icefloe.pki.certificates import common_name, key_id, load_der
from icefloe.pki.errors import PKIError

# After a failed commit the ledger is read anew this much later.
RECOVER_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What one event leads to.

    Attributes:
        writes: to be committed first.
        commands: to be carried out after the commit, in order.
    """

    writes: tuple[Write, ...]
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Census:
    """How much the core remembers besides its ledger, for status and for bounds.

    Attributes:
        links: connections.
        waiters: askers without their last word.
        errands: attempts on their way to a parent.
        asks: calls to parents without an answer.
        reminders: moments kept to act at.
    """

    links: int
    waiters: int
    errands: int
    asks: int
    reminders: int


class EnrollmentCore:
    """Requests, attempts and answers at one node; relay or signer by its settings."""

    def __init__(self, *, settings: EnrollmentSettings, ledger: Ledger) -> None:
        """Run on a ledger; give it `events.Started` first."""
        self._ledger = ledger
        self._links: dict[ev.LinkId, LinkState] = {}
        self._waiters = Waiters()
        self._responder = Responder(waiters=self._waiters, links=self._links)
        self._upstream = Upstream(
            links=self._links,
            limits=settings.limits,
            is_waited_for=self._is_waited_for,
        )
        self._signer = Signer(
            responder=self._responder, waiters=self._waiters, links=self._links
        )
        self._relay = Relay(
            responder=self._responder,
            waiters=self._waiters,
            upstream=self._upstream,
            links=self._links,
        )
        self._unrecorded = UnrecordedTurns(
            responder=self._responder, waiters=self._waiters, links=self._links
        )
        self._own = OwnEnrollment()
        self._recover_at: MonotonicTime | None = None
        self._expiry = Expiry(waiters=self._waiters, upstream=self._upstream)
        self._settings = settings
        self._spread_settings()
        self._handlers: Mapping[type, Callable[[Turn, Any], None]] = {
            ev.Started: self._started,
            ev.LinkUp: self._link_up,
            ev.PeerIsIcefloe: self._peer_is_icefloe,
            ev.LinkDown: self._link_down,
            ev.CertificateAsked: self._asked,
            ev.ParentAnswered: self._parent_answered,
            ev.ParentFailed: self._parent_failed,
            ev.CertificateUpdated: self._updated,
            ev.TicketChecked: self._ticket_checked,
            ev.TicketCheckFailed: self._ticket_check_failed,
            ev.Signed: self._signed,
            ev.SigningFailed: self._signing_failed,
            ev.LedgerChanged: self._ledger_changed,
            ev.DeadlineReached: self._deadline,
        }

    # -- from whoever runs the core --------------------------------------------------

    def handle(self, event: ev.Event, now: Now, entropy: Entropy) -> TurnResult:
        """Take one event through the core.

        Raises:
            LedgerUnavailableError: the ledger could not be read; call
                `commit_failed` as for a failed commit.
        """
        turn = self._turn(now, entropy)
        self._dispatch(turn, event)
        for attempt_id in turn.forgotten:
            self._upstream.end(attempt_id)
        return TurnResult(tuple(turn.writes), tuple(turn.commands))

    def reconfigure(self, settings: EnrollmentSettings, now: Now) -> None:
        """Stand on new settings (identity, zones, CA) from the next event on."""
        self._settings = settings
        self._spread_settings()
        self._own.reconfigured(now)
        self._recover_at = now.mono

    def commit_failed(
        self,
        *,
        events: Sequence[ev.Event],
        results: Sequence[TurnResult],
        now: Now,
        entropy: Entropy,
    ) -> tuple[Command, ...]:
        """Put right what is remembered of turns whose writes were not kept.

        Args:
            events: all events of the failed batch, also those without a result.
            results: the results whose commands will not be carried out.
            now: the time.
            entropy: as for `handle`.

        Returns:
            Commands to carry out now, without a commit: the askers are told
            that nothing was recorded; logs and holds are passed on.
        """
        turn = self._turn(now, entropy)
        commands = [command for result in results for command in result.commands]
        self._unrecorded.put_right(turn, events, commands)
        self._upstream.end_all()
        self._signer.forget_running()
        self._recover_at = MonotonicTime(now.mono + RECOVER_AFTER)
        if self._expiry.due_at is None:
            self._expiry.due_at = self._recover_at
        return tuple(turn.commands)

    @property
    def next_deadline(self) -> MonotonicTime | None:
        """When to send `events.DeadlineReached`; None: nothing is timed."""
        deadlines = (
            self._waiters.next_deadline,
            self._upstream.next_deadline,
            self._own.next_deadline,
            self._recover_at,
            self._expiry.due_at,
        )
        return min((d for d in deadlines if d is not None), default=None)

    @property
    def waiting(self) -> int:
        """How many requests somebody waits for (a figure for status)."""
        return sum(1 for _ in self._waiters.request_ids())

    def census(self) -> Census:
        """Count what is remembered besides the ledger."""
        return Census(
            links=len(self._links),
            waiters=len(self._waiters),
            errands=len(self._upstream),
            asks=self._upstream.asks,
            reminders=self._waiters.reminders + self._upstream.reminders,
        )

    # -- events ---------------------------------------------------------------------

    def _dispatch(self, turn: Turn, event: ev.Event) -> None:
        self._handlers[type(event)](turn, event)

    def _signed(self, turn: Turn, event: ev.Signed) -> None:
        record = self._signer.signed(turn, event)
        if record is not None:
            self._relay.settle(turn, record.request_id, record)

    def _ticket_checked(self, turn: Turn, event: ev.TicketChecked) -> None:
        self._signer.ticket_checked(turn, event)

    def _ticket_check_failed(self, turn: Turn, event: ev.TicketCheckFailed) -> None:
        self._signer.ticket_check_failed(turn, event)

    def _signing_failed(self, turn: Turn, event: ev.SigningFailed) -> None:
        self._signer.signing_failed(turn, event)

    def _started(self, turn: Turn, _event: ev.Started) -> None:
        self._own.started(turn)
        self._resume(turn)
        self._expiry.look(turn)

    def _asked(self, turn: Turn, event: ev.CertificateAsked) -> None:
        link = self._links.get(event.link)
        if link is None:
            return
        try:
            self._admit(link)
            intake = take_in(
                turn, self._settings, link, event, is_awaited=self._is_waited_for
            )
        except Turned as turned:
            self._turn_away(turn, link, event.call, turned.refusal)
            return
        found = intake.found
        waiter = self._waiter(turn, link, event, intake.request, intake.fingerprint)
        if isinstance(found, CertificateRecord):
            self._waiters.add(waiter)
            self._responder.give_certificate(turn, [waiter], found)
            return
        waiter.attempt_id = found.attempt_id
        self._waiters.add(waiter)
        self._hold(turn, link, waiter)
        if self._settings.signs:
            self._signer.consider(turn, intake.request, found)
        else:
            self._relay.forward(turn, intake.request, found)

    def _admit(self, link: LinkState) -> None:
        limits = self._settings.limits
        most = (
            limits.waiters_member_max if link.member else limits.waiters_anonymous_max
        )
        if self._waiters.calls_on(link.link) < most:
            return
        text = f"{self._settings.node_name} is asked too much on this connection."
        raise Turned(
            Refusal(
                reason=Reason.LIMIT.value,
                text=text,
                hop=self._settings.node_name,
                retry_after=10.0,
            )
        )

    def _turn_away(
        self,
        turn: Turn,
        link: LinkState,
        call: ev.CallId | None,
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

    def _waiter(
        self,
        turn: Turn,
        link: LinkState,
        event: ev.CertificateAsked,
        request: RequestRecord,
        fingerprint: str,
    ) -> Waiter:
        limits = self._settings.limits
        hold = limits.hold_member if link.member else limits.hold_ticketed
        until = None
        if event.call is not None:
            until = MonotonicTime(turn.now.mono + hold)
        elif link.member:
            until = silent_until(turn, self._settings)
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
        limits = self._settings.limits
        few = len(self._links) < limits.held_links_max
        if few or self._held_count() < limits.held_links_max:
            link.held = True
            turn.order(Hold(link.link))
        elif waiter.call is not None:
            ends = MonotonicTime(turn.now.mono + limits.hold_unheld)
            self._waiters.shorten(waiter, ends)

    def _held_count(self) -> int:
        return sum(1 for state in self._links.values() if state.held)

    def _is_waited_for(self, attempt: AttemptRecord | Errand) -> bool:
        waiters = self._waiters.of_attempt(attempt.request_id, attempt.attempt_id)
        return bool(waiters)

    # -- parents --------------------------------------------------------------------

    def _parent_answered(self, turn: Turn, event: ev.ParentAnswered) -> None:
        link = self._links.get(event.link)
        if link is None or not link.upstream:
            return
        if event.call.startswith(CALL_PREFIX):
            self._own.answered(turn, event.link, event.call, event.result)
        elif (
            event.result.status_code == SIGNED
            and self._upstream.attempt_of(event.call, event.link) is None
        ):
            # Late: the request was answered otherwise. A second certificate is
            # recorded all the same.
            fingerprint = event.result.fingerprint_request
            self._take_by_fingerprint(turn, link, fingerprint, event.result.cert)
        else:
            self._relay.answered(turn, link, event.call, event.result)

    def _parent_failed(self, turn: Turn, event: ev.ParentFailed) -> None:
        link = self._links.get(event.link)
        if link is None:
            return
        if event.call.startswith(CALL_PREFIX):
            self._own.failed(turn, event.link, event.call, event.detail)
        else:
            self._relay.failed(turn, link, event.call, event.detail)

    def _updated(self, turn: Turn, event: ev.CertificateUpdated) -> None:
        link = self._links.get(event.link)
        if link is None:
            return
        params = event.params
        if not link.upstream or not link.member:
            turn.log(
                Level.WARNING,
                "certificate update from a peer that may not send one",
                peer=link.name,
            )
            return
        if params.status_code not in (None, SIGNED):
            return
        if self._own.is_own(params.cert):
            self._own.offered(turn, cert=params.cert, ca=params.ca, source=link.name)
            return
        self._take_by_fingerprint(turn, link, params.fingerprint_request, params.cert)

    def _take_by_fingerprint(
        self, turn: Turn, link: LinkState, fingerprint: str, cert_pem: str
    ) -> None:
        for attempt in self._ledger.attempts_by_fingerprint(fingerprint):
            request = turn.request(attempt.request_id)
            if request is None or self._settings.signs:
                continue
            relayed = request.state in SETTLED_STATES | {RequestState.FORWARDED}
            if relayed and self._relay.take_certificate(turn, request, link, cert_pem):
                return
        turn.log(
            Level.INFO, "certificate for no request of ours ignored", peer=link.name
        )

    # -- links ----------------------------------------------------------------------

    def _peer_is_icefloe(self, _turn: Turn, event: ev.PeerIsIcefloe) -> None:
        if event.link in self._links:
            self._links[event.link].icefloe = True

    def _link_up(self, turn: Turn, event: ev.LinkUp) -> None:
        state = LinkState(event.link, event.peer, upstream=event.upstream)
        self._links[event.link] = state
        if state.member:
            self._member_seen(turn, state)
        if state.upstream:
            if not self._settings.signs:
                self._relay.parent_connected(turn)
            if state.member:
                self._own.link_up(turn, state)

    def _member_seen(self, turn: Turn, state: LinkState) -> None:
        """A member's key is in use: its first key, and its request's last state."""
        peer = state.peer
        if peer.certificate is None or not peer.common_name or not peer.key_id:
            return
        self._remember(turn, peer.common_name, peer.key_id)
        try:
            certificate = load_der(peer.certificate)
        except PKIError:
            return
        record = turn.ledger.certificate_by_serial(
            serial_text(certificate.serial_number)
        )
        request = turn.request(record.request_id) if record else None
        if (
            record is not None
            and request is not None
            and request.state in SETTLED_STATES
            and request.cn == common_name(certificate)
            and record.certificate == peer.certificate
        ):
            turn.move(request, RequestState.CONFIRMED)

    def _remember(self, turn: Turn, cn: str, key: str) -> None:
        if turn.ledger.known_key(cn) is None:
            turn.remember_key(cn=cn, key_id=key, how="member")

    def _link_down(self, turn: Turn, event: ev.LinkDown) -> None:
        state = self._links.pop(event.link, None)
        if state is None:
            return
        self._waiters.remove_link(event.link)
        if state.upstream:
            self._upstream.link_down(event.link, turn.now)
        self._own.link_down(event.link)
        if not event.clean:
            return
        for request_id in state.answered:
            request = turn.request(request_id)
            if request is not None and request.state in (
                RequestState.ISSUED,
                RequestState.ANSWERED,
            ):
                turn.move(request, RequestState.DELIVERED)

    # -- time and other processes --------------------------------------------------------

    def _deadline(self, turn: Turn, _event: ev.DeadlineReached) -> None:
        now = turn.now.mono
        if self._recover_at is not None and self._recover_at <= now:
            self._recover_at = None
            self._resume(turn)
        if self._expiry.due_at is not None and self._expiry.due_at <= now:
            self._expiry.look(turn)
        parents = [s.name for s in self._links.values() if s.upstream]
        for waiter in self._waiters.expired(now):
            self._hold_ended(turn, waiter, parents)
        for errand in self._upstream.take_due(turn.now):
            self._errand_due(turn, errand)
        self._own.deadline(turn)

    def _errand_due(self, turn: Turn, errand: Errand) -> None:
        """Take an attempt to a parent, if it may still be taken there."""
        attempt = turn.attempt(errand.attempt_id)
        request = turn.request(errand.request_id)
        if (
            attempt is None
            or request is None
            or request.state is RequestState.REMOVED
            or attempt.state not in OPEN_ATTEMPT_STATES
            or self._relay.stands_back(turn, attempt)
        ):
            self._upstream.end(errand.attempt_id)
            return
        self._upstream.ask_again(turn, errand, attempt)
        self._relay.went_up(turn, errand, request, attempt)

    def _hold_ended(self, turn: Turn, waiter: Waiter, parents: list[str]) -> None:
        if waiter.call is None:
            self._responder.let_go(turn, waiter)
            return
        request = turn.request(waiter.request_id)
        name = request.cn if request is not None else "?"
        reason, text = still_undecided(self._settings, name, parents)
        self._responder.say_pending(turn, [waiter], reason=reason, text=text)

    def _ledger_changed(self, turn: Turn, _event: ev.LedgerChanged) -> None:
        """An operator decided: carry it out, tell those who wait."""
        if self._settings.signs:
            for request in turn.ledger.requests({RequestState.DECIDED}):
                self._signer.proceed(turn, request)
        for request_id in self._waiters.request_ids():
            waited_for = turn.request(request_id)
            if waited_for is None:
                continue
            if waited_for.state is RequestState.REMOVED:
                self._removed(turn, waited_for)
            elif (record := turn.certificate(request_id)) is not None:
                self._relay.settle(turn, request_id, record)

    def _removed(self, turn: Turn, request: RequestRecord) -> None:
        for attempt in turn.attempts(request.request_id):
            self._upstream.end(attempt.attempt_id)
        waiters = self._waiters.of_request(request.request_id)
        refusal = declined(self._settings.node_name, request)
        self._responder.refuse(turn, waiters, refusal)

    def _resume(self, turn: Turn) -> None:
        """Take up what the ledger holds: decided, intended, unchecked, unforwarded."""
        self._remember_keys(turn)
        if self._settings.signs:
            unsigned = {RequestState.DECIDED, RequestState.INTENDED}
            for request in turn.ledger.requests(unsigned):
                self._signer.proceed(turn, request)
            for attempt in turn.ledger.open_attempts():
                self._reconsider(turn, attempt)
        elif any(state.upstream for state in self._links.values()):
            self._relay.parent_connected(turn)

    def _remember_keys(self, turn: Turn) -> None:
        """Keys in use now are the first ones of their names, unless others were."""
        own = self._settings.own
        if self._settings.signs and own is not None:
            # Nobody else gets a certificate for our own name by a ticket.
            self._remember(turn, self._settings.node_name, key_id(own.certificate))
        for state in self._links.values():
            if state.member:
                self._member_seen(turn, state)

    def _reconsider(self, turn: Turn, attempt: AttemptRecord) -> None:
        """Judge an attempt whose judgement a crash may have cut short."""
        request = turn.request(attempt.request_id)
        unjudged = attempt.state in (AttemptState.RECEIVED, AttemptState.FORWARDED)
        closed = SETTLED_STATES | {RequestState.REMOVED}
        if request is not None and unjudged and request.state not in closed:
            self._signer.consider(turn, request, attempt)

    # -- inside -----------------------------------------------------------------------

    def _turn(self, now: Now, entropy: Entropy) -> Turn:
        return Turn(
            ledger=self._ledger,
            now=now,
            entropy=entropy,
            node_name=self._settings.node_name,
        )

    def _spread_settings(self) -> None:
        for part in (
            self._responder,
            self._signer,
            self._relay,
            self._unrecorded,
            self._expiry,
            self._own,
        ):
            part.settings = self._settings
        self._upstream.limits = self._settings.limits
