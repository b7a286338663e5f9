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
from icefloe.enrollment.answers import SIGNED, Responder, still_undecided
from icefloe.enrollment.commands import Command, Level
from icefloe.enrollment.expiry import Expiry
from icefloe.enrollment.failures import Failures
from icefloe.enrollment.intake import declined
from icefloe.enrollment.ledger import Ledger, Write
from icefloe.enrollment.links import Links, LinkState
from icefloe.enrollment.model import (
    OPEN_ATTEMPT_STATES,
    SETTLED_STATES,
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    RequestRecord,
    RequestState,
    serial_text,
)
from icefloe.enrollment.own import CALL_PREFIX, OwnEnrollment
from icefloe.enrollment.parting import Parting
from icefloe.enrollment.quotas import Quotas
from icefloe.enrollment.reception import Reception
from icefloe.enrollment.relay import Relay
from icefloe.enrollment.self_renewal import own_request
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.signer import Signer
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.unrecorded import UnrecordedTurns
from icefloe.enrollment.upstream import Errand, Upstream
from icefloe.enrollment.waiters import Waiter, Waiters
from icefloe.pki.certificates import (
    common_name,
    is_self_issued,
    key_id,
    load_der,
    serial_number,
    to_pem,
)
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
        failures: peers and names whose wrong tickets are remembered.
    """

    links: int
    waiters: int
    errands: int
    asks: int
    reminders: int
    failures: int


class EnrollmentCore:
    """Requests, attempts and answers at one node; relay or signer by its settings."""

    def __init__(self, *, settings: EnrollmentSettings, ledger: Ledger) -> None:
        """Run on a ledger; give it `events.Started` first."""
        self._ledger = ledger
        self._links = Links()
        self._waiters = Waiters()
        self._responder = Responder(waiters=self._waiters, links=self._links)
        self._upstream = Upstream(
            links=self._links,
            limits=settings.limits,
            is_waited_for=self._is_waited_for,
        )
        self._failures = Failures(settings.limits)
        self._quotas = Quotas()
        self._signer = Signer(
            responder=self._responder,
            waiters=self._waiters,
            links=self._links,
            failures=self._failures,
        )
        self._relay = Relay(
            responder=self._responder,
            waiters=self._waiters,
            upstream=self._upstream,
            links=self._links,
            failures=self._failures,
        )
        self._reception = Reception(
            responder=self._responder,
            waiters=self._waiters,
            links=self._links,
            failures=self._failures,
            quotas=self._quotas,
        )
        self._unrecorded = UnrecordedTurns(
            responder=self._responder, waiters=self._waiters, links=self._links
        )
        self._own = OwnEnrollment()
        self._parting = Parting(
            responder=self._responder,
            waiters=self._waiters,
            upstream=self._upstream,
            own=self._own,
            links=self._links,
        )
        self._recover_at: MonotonicTime | None = None
        self._expiry = Expiry(waiters=self._waiters, upstream=self._upstream)
        self._settings = settings
        self._spread_settings()
        self._handlers: Mapping[type, Callable[[Turn, Any], None]] = {
            ev.Started: self._started,
            ev.LinkUp: self._link_up,
            ev.PeerIsIcefloe: self._peer_is_icefloe,
            ev.ParentStays: self._own.parent_stays,
            ev.LinkEnding: self._parting.link_ending,
            ev.LinkDown: self._link_down,
            ev.DialFailed: self._own.dial_failed,
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
            ev.Stopping: self._parting.stop,
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
        self._quotas.see(turn.writes)
        self._expiry.see(turn.writes, now)
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
        if any(isinstance(event, ev.Stopping) for event in events):
            self._parting.stop(turn)
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
            failures=self._failures.remembered,
        )

    # -- events ---------------------------------------------------------------------

    def _dispatch(self, turn: Turn, event: ev.Event) -> None:
        self._handlers[type(event)](turn, event)

    def _signed(self, turn: Turn, event: ev.Signed) -> None:
        record = self._signer.signed(turn, event)
        if record is not None:
            self._relay.settle(turn, record.request_id, record)
            self._take_for_itself(turn, record)

    def _renew_itself(self, turn: Turn) -> None:
        """A signer's own certificate is due: nobody else would renew it."""
        own = self._own.unfit(turn.now) if self._settings.signs else None
        if own is None or is_self_issued(own.certificate):
            return
        request, attempt = own_request(turn, own.certificate)
        record = turn.certificate(request.request_id)
        if record is not None:
            self._take_for_itself(turn, record)
        elif request.state is not RequestState.REMOVED:
            self._signer.consider(turn, request, attempt)

    def _take_for_itself(self, turn: Turn, record: CertificateRecord) -> None:
        cert = to_pem(load_der(record.certificate))
        if self._own.is_own(cert) and self._own.unfit(turn.now) is not None:
            name = self._settings.node_name
            self._own.offered(turn, cert=cert, ca="", source=name)

    def _ticket_checked(self, turn: Turn, event: ev.TicketChecked) -> None:
        self._signer.ticket_checked(turn, event)

    def _ticket_check_failed(self, turn: Turn, event: ev.TicketCheckFailed) -> None:
        self._signer.ticket_check_failed(turn, event)

    def _signing_failed(self, turn: Turn, event: ev.SigningFailed) -> None:
        self._signer.signing_failed(turn, event)

    def _started(self, turn: Turn, _event: ev.Started) -> None:
        self._own.started(turn)
        self._quotas.started(turn)
        self._resume(turn)
        self._expiry.look(turn)
        self._renew_itself(turn)

    def _asked(self, turn: Turn, event: ev.CertificateAsked) -> None:
        self._reception.asked(
            turn, event, stopping=self._parting.stopping, go_on=self._go_on
        )

    def _go_on(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> None:
        if self._settings.signs:
            self._signer.consider(turn, request, attempt)
        else:
            self._relay.forward(turn, request, attempt)

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
            # A parent pushes on the link it was asked on, and what it was asked about.
            asked = request.request_id in link.asked
            relayed = request.state in SETTLED_STATES | {RequestState.FORWARDED}
            if (
                asked
                and relayed
                and self._relay.take_certificate(turn, request, link, cert_pem)
            ):
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
        self._links.add(state)
        if state.upstream and state.member:
            # Before the ledger is read: where that fails the rest of this is lost, and
            # nobody would tell of this parent again.
            self._own.link_up(turn, state, event.shown)
        if state.member:
            self._member_seen(turn, state)
        if state.upstream and not self._settings.signs:
            self._relay.parent_connected(turn)

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
            serial_text(serial_number(certificate))
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
        state = self._links.drop(event.link)
        if state is None:
            return
        self._waiters.remove_link(event.link)
        if state.upstream:
            self._upstream.link_down(event.link, turn.now)
        self._own.link_down(turn, event.link)
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
        parents = list(self._links.upwards())
        for waiter in self._waiters.expired(now):
            self._hold_ended(turn, waiter, parents)
        for errand in self._upstream.take_due(turn.now):
            self._errand_due(turn, errand)
        if self._own.deadline(turn):
            self._renew_itself(turn)

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

    def _hold_ended(self, turn: Turn, waiter: Waiter, parents: list[LinkState]) -> None:
        if waiter.call is None:
            self._responder.let_go(turn, waiter)
            return
        request = turn.request(waiter.request_id)
        name = request.cn if request is not None else "?"
        reason, text, hop = still_undecided(self._settings, name, parents)
        self._responder.say_pending(turn, [waiter], reason=reason, text=text, hop=hop)

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
        elif any(self._links.upwards()):
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
            self._reception,
            self._responder,
            self._signer,
            self._relay,
            self._unrecorded,
            self._expiry,
            self._own,
        ):
            part.settings = self._settings
        self._upstream.limits = self._settings.limits
        self._failures.reconfigure(self._settings.limits)
