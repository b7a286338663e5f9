"""The signer: cheap checks, the ticket, the decision, the intent, the signature.

Every certificate passes through the same steps, each its own turn, so that a
crash between any two of them loses nothing and signs nothing twice:

    considered -> (ticket checked) -> decided and intended -> signed -> issued

The decision and the intent (serial and to-be-signed bytes) are one turn: there
is never a certificate without a recorded decision, and signing the same bytes
again after a crash yields the same certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.doors import WallTime
from icefloe.enrollment.answers import Responder
from icefloe.enrollment.checks import TicketChecks
from icefloe.enrollment.commands import CheckTicket, Level, Sign
from icefloe.enrollment.crowding import forget_if_crowded
from icefloe.enrollment.events import (
    LinkId,
    Signed,
    SigningFailed,
    TicketChecked,
    TicketCheckFailed,
)
from icefloe.enrollment.failures import Failures, over_rate
from icefloe.enrollment.frequency import SignedByTicket
from icefloe.enrollment.links import LinkState
from icefloe.enrollment.model import (
    OPEN_ATTEMPT_STATES,
    SETTLED_STATES,
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    DecisionKind,
    DecisionRecord,
    IntentRecord,
    Refusal,
    RequestRecord,
    RequestState,
    serial_text,
)
from icefloe.enrollment.policy import Gate, gate, reserved_gate
from icefloe.enrollment.reasons import HopDid, Reason
from icefloe.enrollment.returning import attempt_may_come_back
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.waiters import Waiters
from icefloe.pki.canaries import is_canary, lifetime_for
from icefloe.pki.certificates import (
    is_self_issued,
    key_id,
    load_der,
    serial_number,
)
from icefloe.pki.errors import PKIError, ReasonCode
from icefloe.pki.keys import require_supported
from icefloe.pki.profiles import (
    BACKDATE,
    SERIAL_BYTES,
    assemble,
    leaf_tbs,
    serial_from,
)
from icefloe.pki.trust import verify_issued

# Nobody's ticket changes anything any more.
_JUDGED_STATES = SETTLED_STATES | {
    RequestState.DECIDED,
    RequestState.INTENDED,
    RequestState.REMOVED,
}


class Signer:
    """Decides and signs at a node that holds the CA key."""

    def __init__(
        self,
        *,
        responder: Responder,
        waiters: Waiters,
        links: Mapping[LinkId, LinkState],
        failures: Failures,
    ) -> None:
        """Answer through the given responder; count wrong tickets in `failures`."""
        self._responder = responder
        self._waiters = waiters
        self._links = links
        self._failures = failures
        # Tickets being compared and intents being signed right now. Not
        # persistent: after a restart both are started again from the ledger.
        self._checks = TicketChecks()
        self._signing: set[str] = set()
        # What tickets had signed for each name lately; a restart forgets it.
        self._signed_by_ticket = SignedByTicket()
        self.settings: EnrollmentSettings

    # -- an attempt --------------------------------------------------------------

    def consider(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> None:
        """Begin or continue with what an attempt asks for."""
        if request.state in (RequestState.DECIDED, RequestState.INTENDED):
            self.proceed(turn, request)
        elif (renewable := request.renews and not is_canary(request.cn)) and _chains(
            attempt, self.settings, turn.now.wall
        ):
            # The presented certificate is ours and valid: its key renews it.
            self._decide(turn, request, DecisionKind.RENEWAL, attempt)
        elif renewable and attempt_may_come_back(turn, self.settings, attempt):
            self._decide(turn, request, DecisionKind.POLICY, attempt)
        elif attempt.ticket and self.settings.checks_tickets:
            self._check(turn, request, attempt)
        else:
            self._await_approval(turn, request, attempt, None)

    def _check(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> None:
        """Have the ticket compared, when it is its peer's turn."""
        if attempt.attempt_id in self._checks:
            return
        asker = self._failures.asker_of(attempt)
        most = self.settings.limits.ticket_checks_waiting
        if not asker.member and self._checks.waiting_for(asker.key) >= most:
            name = self.settings.node_name
            text = f"{name} is checking enough tickets from {asker.label}; ask later."
            refusal = Refusal(
                reason=Reason.LIMIT.value, text=text, hop=name, retry_after=5.0
            )
            waiters = self._waiters.of_attempt(request.request_id, attempt.attempt_id)
            self._responder.refuse(turn, waiters, refusal)
            return
        self._checks.add(attempt.attempt_id, peer=asker.key)
        self._begin_checks(turn)

    def _begin_checks(self, turn: Turn) -> None:
        """Have the next tickets compared, as long as few enough are."""
        while self._checks.under_way < self.settings.limits.ticket_checks_at_once:
            attempt_id = self._checks.take()
            if attempt_id is None:
                return
            attempt = turn.attempt(attempt_id)
            request = turn.request(attempt.request_id) if attempt else None
            if attempt is None or request is None or not _is_to_check(attempt, request):
                self._checks.done(attempt_id)  # forgotten or settled meanwhile
            elif (at := self._failures.compared_at(attempt, turn.now.mono)) > (
                turn.now.mono
            ):
                self._checks.done(attempt_id)
                self._not_compared(turn, request, attempt, at - turn.now.mono)
            else:
                turn.order(CheckTicket(attempt_id, request.cn, attempt.ticket))

    def _not_compared(
        self,
        turn: Turn,
        request: RequestRecord,
        attempt: AttemptRecord,
        seconds: float,
    ) -> None:
        """Its peer came over its rate while the ticket waited."""
        asker = self._failures.asker_of(attempt)
        refusal = over_rate(self.settings.node_name, asker.label, seconds)
        self._refuse(turn, request, attempt, refusal)

    def ticket_checked(self, turn: Turn, event: TicketChecked) -> None:
        """The comparison of a ticket ended."""
        self._checks.done(event.attempt_id)
        self._judge(turn, event)
        self._begin_checks(turn)

    def _judge(self, turn: Turn, event: TicketChecked) -> None:
        attempt = turn.attempt(event.attempt_id)
        request = turn.request(attempt.request_id) if attempt else None
        if attempt is None or request is None:
            return  # forgotten or removed meanwhile
        if event.valid:
            self._failures.was_right(turn, attempt.attempt_id, request.cn)
        if attempt.state not in OPEN_ATTEMPT_STATES:
            return  # another attempt got the certificate
        if request.state in (RequestState.DECIDED, RequestState.INTENDED):
            return  # its certificate is under way
        if not event.valid:
            self._wrong_ticket(turn, request, attempt)
            return
        if request.state is RequestState.REMOVED:
            return  # an administrator's word stands above a ticket
        if (needs := self._gate(turn, request, attempt)) is not None:
            self._await_approval(turn, request, attempt, needs)
        else:
            self._signed_by_ticket.count(request.cn, turn.now.mono)
            self._decide(turn, request, DecisionKind.TICKET, attempt)

    def ticket_check_failed(self, turn: Turn, event: TicketCheckFailed) -> None:
        """A ticket was not compared, by a fault of ours; it is when asked again."""
        self._checks.done(event.attempt_id)
        self._fault_of_check(turn, event)
        self._begin_checks(turn)

    def _fault_of_check(self, turn: Turn, event: TicketCheckFailed) -> None:
        attempt = turn.attempt(event.attempt_id)
        request = turn.request(attempt.request_id) if attempt else None
        if attempt is None or request is None:
            return  # forgotten meanwhile
        self._failures.was_right(turn, attempt.attempt_id, request.cn)
        turn.log(
            Level.ERROR,
            "ticket could not be compared",
            cn=request.cn,
            request=request.request_id,
        )
        waiters = self._waiters.of_attempt(request.request_id, attempt.attempt_id)
        self._responder.refuse(turn, waiters, self._own_fault(request))

    def _wrong_ticket(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> None:
        name = self.settings.node_name
        refusal = Refusal(
            reason=Reason.WRONG_TICKET.value,
            text=(
                f"{name} refused the certificate request for '{request.cn}': "
                "the ticket is not valid for this name. Create a new one on "
                f"{name} (pki ticket --cn '{request.cn}') and ask again."
            ),
            hop=name,
        )
        asker = self._failures.was_wrong(attempt, request.cn, turn.now.mono)
        self._failures.shun(turn, asker)
        self._refuse(turn, request, attempt, refusal)

    def _refuse(
        self,
        turn: Turn,
        request: RequestRecord,
        attempt: AttemptRecord,
        refusal: Refusal,
    ) -> None:
        turn.settle_attempt(attempt, AttemptState.REFUSED, refusal=refusal)
        turn.add_hop(request.request_id, HopDid.REFUSED)
        turn.log(
            Level.WARNING,
            "request refused",
            reason=refusal.reason,
            cn=request.cn,
            request=request.request_id,
            via=attempt.via,
        )
        waiters = self._waiters.of_attempt(request.request_id, attempt.attempt_id)
        self._responder.refuse(turn, waiters, refusal)
        forget_if_crowded(turn, request, self._waiters, self.settings.limits)

    def _gate(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> Gate | None:
        tree = self.settings.tree
        return gate(
            cn=request.cn,
            key_id=request.key_id,
            origin=attempt.origin,
            forwarder_zone=tree.zone_of(attempt.via) if tree is not None else None,
            known_key=turn.ledger.known_key(request.cn),
            reserved_names=self.settings.reserved_names,
            tree=tree,
        ) or (
            self._revoked_gate(turn, request, attempt)
            # Not refused, or who found a ticket could shut the owner out.
            or self._signed_by_ticket.gate(
                request.cn,
                turn.now.mono,
                most=self.settings.limits.certificates_per_name_and_day,
            )
        )

    def _revoked_gate(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> Gate | None:
        """Whether the key's last certificate, ours or as presented, was revoked."""
        anchor = self.settings.anchor
        if anchor is None or not anchor.revocation_lists:
            return None
        presented = load_der(attempt.certificate)
        serials = [serial_number(presented)] if not is_self_issued(presented) else []
        if request.renews:
            serials.append(int(request.renews, 16))
        at = datetime.fromtimestamp(turn.now.wall, UTC)
        problems = (
            each.problem(serial, at)
            for each in anchor.revocation_lists
            for serial in serials
        )
        if not any(p is not None and p.code is ReasonCode.REVOKED for p in problems):
            return None
        text = f"the last certificate of this key for '{request.cn}' was revoked"
        return Gate(Reason.REVOKED_KEY, text, needs_reserved=True)

    def _await_approval(
        self,
        turn: Turn,
        request: RequestRecord,
        attempt: AttemptRecord,
        needs: Gate | None,
    ) -> None:
        note = needs.text if needs else ""
        if request.state is not RequestState.AWAITING_APPROVAL:
            turn.add_hop(request.request_id, HopDid.PENDING)
            turn.log(
                Level.INFO,
                "request awaits approval",
                cn=request.cn,
                request=request.request_id,
                fingerprint=attempt.fingerprint,
                via=attempt.via,
                note=note,
            )
        turn.move(request, RequestState.AWAITING_APPROVAL, note=note or request.note)
        turn.settle_attempt(attempt, AttemptState.PENDING)
        text = (
            f"The certificate request for '{request.cn}' is pending: it awaits "
            f"approval on {self.settings.node_name}" + (f" ({note})." if note else ".")
        )
        waiters = self._waiters.of_attempt(request.request_id, attempt.attempt_id)
        self._responder.say_pending(
            turn,
            waiters,
            reason=needs.reason if needs else Reason.AWAITING_APPROVAL,
            text=text,
        )

    # -- a decision --------------------------------------------------------------

    def _decide(
        self,
        turn: Turn,
        request: RequestRecord,
        kind: DecisionKind,
        attempt: AttemptRecord,
    ) -> None:
        turn.store_decision(
            DecisionRecord(
                request_id=request.request_id,
                kind=kind,
                actor=self.settings.node_name,
                at=turn.now.wall,
                attempt_id=attempt.attempt_id,
            )
        )
        decided = turn.move(request, RequestState.DECIDED)
        self.proceed(turn, decided)

    def proceed(self, turn: Turn, request: RequestRecord) -> None:
        """Take a decided or intended request one step towards its signature."""
        if request.state is RequestState.DECIDED:
            request = self._intend(turn, request)
        if request.state is not RequestState.INTENDED:
            return
        intent = turn.intent(request.request_id)
        issuer = self.settings.issuer
        if intent is None or issuer is None:
            return
        if request.request_id in self._signing:
            return
        if intent.ca_key_id != key_id(issuer):
            self._intend_anew(turn, request, intent, "it is for a former CA key")
            return
        if _is_out_of_time(turn, request, intent):
            self._intend_anew(turn, request, intent, _CLOCK)
            return
        self._signing.add(request.request_id)
        turn.order(Sign(request.request_id, intent.tbs))

    def _intend(self, turn: Turn, request: RequestRecord) -> RequestRecord:
        issuer = self.settings.issuer
        attempts = turn.attempts(request.request_id)
        decision = turn.decision(request.request_id)
        if issuer is None or not attempts or decision is None:
            return request
        if decision.kind is DecisionKind.APPROVAL and not decision.reserved:
            needs = self._approval_gate(turn, request, attempts[-1])
            if needs is not None:
                return self._decline_approval(turn, request, needs)
        presented = load_der(attempts[-1].certificate)
        serial = serial_from(turn.entropy.bytes(SERIAL_BYTES))
        try:
            tbs = leaf_tbs(
                cn=request.cn,
                public_key=require_supported(presented.public_key()),
                issuer=issuer,
                serial=serial,
                not_before=WallTime(turn.now.wall - BACKDATE),
                not_after=WallTime(turn.now.wall + lifetime_for(request.cn)),
            )
        except PKIError as error:
            self._fault(turn, request, str(error))
            return request
        turn.store_intent(
            IntentRecord(
                request_id=request.request_id,
                serial=serial_text(serial),
                tbs=tbs,
                ca_key_id=key_id(issuer),
                at=turn.now.wall,
            )
        )
        if not is_canary(request.cn):
            # Known from here on: a second key at the same moment is another key.
            turn.remember_key(
                cn=request.cn,
                key_id=request.key_id,
                how="issued",
                replaces=decision.reserved,
            )
        return turn.move(request, RequestState.INTENDED)

    def _intend_anew(
        self, turn: Turn, request: RequestRecord, intent: IntentRecord, why: str
    ) -> None:
        """Nobody has seen this certificate, and nobody could use it: decide anew."""
        turn.log(
            Level.WARNING,
            "intent abandoned",
            cn=request.cn,
            request=request.request_id,
            serial=intent.serial,
            detail=why,
        )
        turn.abandon_intent(request.request_id)
        self.proceed(turn, turn.move(request, RequestState.DECIDED))

    def _decline_approval(
        self, turn: Turn, request: RequestRecord, needs: Gate
    ) -> RequestRecord:
        """The commands check this too; the core trusts no command."""
        turn.log(
            Level.ERROR,
            "approval without --reserved is not carried out",
            cn=request.cn,
            request=request.request_id,
            detail=needs.text,
        )
        turn.withdraw_decision(request.request_id)
        return turn.move(request, RequestState.AWAITING_APPROVAL, note=needs.text)

    def _approval_gate(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> Gate | None:
        return reserved_gate(
            cn=request.cn,
            key_id=request.key_id,
            known_key=turn.ledger.known_key(request.cn),
            reserved_names=self.settings.reserved_names,
        ) or self._revoked_gate(turn, request, attempt)

    # -- a signature --------------------------------------------------------------

    def signed(self, turn: Turn, event: Signed) -> CertificateRecord | None:
        """The CA key signed: verify against the trust anchor, then release.

        Returns:
            The certificate to hand out, or None when it must not be.
        """
        self._signing.discard(event.request_id)
        request = turn.request(event.request_id)
        intent = turn.intent(event.request_id)
        issuer = self.settings.issuer
        anchor = self.settings.anchor
        if request is None or intent is None or issuer is None or anchor is None:
            return None
        if request.state is not RequestState.INTENDED:
            return None
        if intent.ca_key_id != key_id(issuer):
            self.proceed(turn, request)  # the CA was replaced in the meantime
            return None
        try:
            certificate = assemble(
                intent.tbs, event.signature, require_supported(issuer.public_key())
            )
            verify_issued(
                certificate,
                cn=request.cn,
                key_id=request.key_id,
                anchor=anchor,
                at=turn.now.wall,
            )
        except PKIError as error:
            if _is_out_of_time(turn, request, intent):
                self._intend_anew(turn, request, intent, _CLOCK)
            else:
                detail = f"the signed certificate is unusable: {error}"
                self._fault(turn, request, detail)
            return None
        return self._issue(turn, request, certificate)

    def _issue(
        self, turn: Turn, request: RequestRecord, certificate: x509.Certificate
    ) -> CertificateRecord:
        record = CertificateRecord(
            serial=serial_text(certificate.serial_number),
            request_id=request.request_id,
            certificate=_der(certificate),
            source=self.settings.node_name,
            at=turn.now.wall,
        )
        turn.store_certificate(record)
        turn.move(request, RequestState.ISSUED)
        turn.add_hop(request.request_id, HopDid.SIGNED)
        turn.log(
            Level.INFO,
            "certificate issued",
            cn=request.cn,
            request=request.request_id,
            serial=record.serial,
        )
        return record

    def signing_failed(self, turn: Turn, event: SigningFailed) -> None:
        """The CA key could not be used; the intent stays and is tried again."""
        self._signing.discard(event.request_id)
        request = turn.request(event.request_id)
        # A key that was taken away meanwhile is no fault: the request goes up.
        if request is not None and self.settings.issuer is not None:
            self._fault(turn, request, event.detail)

    def _fault(self, turn: Turn, request: RequestRecord, detail: str) -> None:
        turn.log(
            Level.CRITICAL,
            "signing failed",
            cn=request.cn,
            request=request.request_id,
            detail=detail,
        )
        waiters = self._waiters.of_request(request.request_id)
        self._responder.refuse(turn, waiters, self._own_fault(request))

    def _own_fault(self, request: RequestRecord) -> Refusal:
        name = self.settings.node_name
        return Refusal(
            reason=Reason.SIGNER_FAULT.value,
            text=(
                f"{name} could not sign the certificate for '{request.cn}' "
                "because of a fault of its own; see its log. The request is kept."
            ),
            hop=name,
            retry_after=60.0,
        )

    # -- another life ---------------------------------------------------------------

    def forget_running(self) -> None:
        """Forget what is being checked and signed: it is started again."""
        self._signing.clear()
        self._checks.clear()


_CLOCK = "its dates are not those of our clock any more"


def _is_out_of_time(turn: Turn, request: RequestRecord, intent: IntentRecord) -> bool:
    """Whether the clock was set, so far that the certificate would not be valid now."""
    ahead = intent.at - turn.now.wall
    return ahead > BACKDATE or -ahead > lifetime_for(request.cn)


def _is_to_check(attempt: AttemptRecord, request: RequestRecord) -> bool:
    return (
        attempt.state in OPEN_ATTEMPT_STATES
        and bool(attempt.ticket)
        and request.state not in _JUDGED_STATES
    )


def _chains(attempt: AttemptRecord, settings: EnrollmentSettings, at: WallTime) -> bool:
    anchor = settings.anchor
    presented = load_der(attempt.certificate)
    return anchor is not None and anchor.is_signed(presented, at)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
