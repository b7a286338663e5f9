"""The relay: forwards attempts and carries the parents' answers down.

How the parents are asked is `upstream.py`; this module decides what is worth
asking, and what an answer means for the attempts and their waiters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.doors import MonotonicTime, WallTime
from icefloe.enrollment.answers import HOPS_MAX, PENDING, REFUSED, SIGNED, Responder
from icefloe.enrollment.commands import Level
from icefloe.enrollment.crowding import forget_if_crowded
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.failures import Failures
from icefloe.enrollment.links import LinkState
from icefloe.enrollment.model import (
    OPEN_ATTEMPT_STATES,
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    HopRecord,
    Origin,
    Refusal,
    RequestRecord,
    RequestState,
    serial_text,
)
from icefloe.enrollment.reasons import (
    OF_THE_NODE,
    TEMPORARY,
    HopDid,
    Reason,
    reason_in_words,
)
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.upstream import Begun, Errand, Upstream
from icefloe.enrollment.waiters import Waiters
from icefloe.pki.certificates import load_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import up_to_date, verify_issued
from icefloe.wire.catalogue import CertificateResult

# "Pending" for these reasons waits for a person: no use holding on.
_WAITS_FOR_PERSON = frozenset(
    {
        Reason.AWAITING_APPROVAL.value,
        Reason.RESERVED_NAME.value,
        Reason.OUTSIDE_SUBTREE.value,
        Reason.REVOKED_KEY.value,
        Reason.TOO_MANY_CERTIFICATES.value,
    }
)
_FACT_CHARS_MAX = 256
# Words of a parent that are kept and passed on.
_TEXT_CHARS_MAX = 2000
# A parent that wants to be left alone longer is asked all the same.
RETRY_AFTER_MAX = 60.0


class Relay:
    """Forwards and answers at a node without the CA key."""

    def __init__(
        self,
        *,
        responder: Responder,
        waiters: Waiters,
        upstream: Upstream,
        links: Mapping[LinkId, LinkState],
        failures: Failures,
    ) -> None:
        """Ask through `upstream`, answer through `responder`."""
        self._failures = failures
        self._responder = responder
        self._waiters = waiters
        self._upstream = upstream
        self._links = links
        self.settings: EnrollmentSettings

    # -- from below -----------------------------------------------------------------

    def forward(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> None:
        """Take a recorded attempt to a parent, unless it has to stand back."""
        ahead = self._ahead_of(turn, attempt, turn.attempts(request.request_id))
        if ahead:
            # Whom it waits for must be on its way, or both would wait for ever: its
            # own asker may be long gone.
            first = self._standing(turn, ahead)
            if first and not any(self._upstream.knows(a.attempt_id) for a in ahead):
                self.forward(turn, request, first)
            return
        begun = self._upstream.begin(turn, attempt)
        if begun is Begun.ASKED:
            if attempt.state is AttemptState.RECEIVED:
                turn.settle_attempt(attempt, AttemptState.FORWARDED)
            self._mark_forwarded(turn, request)
        if begun is not Begun.NO_PARENT:
            return
        grace = MonotonicTime(turn.now.mono + self.settings.limits.hold_parentless)
        for waiter in self._waiters.of_attempt(request.request_id, attempt.attempt_id):
            if waiter.call is not None:
                self._waiters.shorten(waiter, grace)

    def stands_back(self, turn: Turn, attempt: AttemptRecord) -> bool:
        """Whether another attempt of the request has to go first."""
        attempts = turn.attempts(attempt.request_id)
        return bool(self._ahead_of(turn, attempt, attempts))

    def _mark_forwarded(self, turn: Turn, request: RequestRecord) -> None:
        if request.state is not RequestState.FORWARDED:
            turn.add_hop(request.request_id, HopDid.FORWARDED)
        turn.move(request, RequestState.FORWARDED)

    def went_up(
        self,
        turn: Turn,
        errand: Errand,
        request: RequestRecord,
        attempt: AttemptRecord,
    ) -> None:
        """An errand had its turn: say so in the ledger, and look behind it."""
        if errand.waiting_on and attempt.state is AttemptState.RECEIVED:
            turn.settle_attempt(attempt, AttemptState.FORWARDED)
            self._mark_forwarded(turn, request)
        if attempt.ticket and not self._is_fresh(turn, attempt):
            self._let_forward(turn, request)

    # -- from a parent ----------------------------------------------------------------

    def parent_connected(self, turn: Turn) -> None:
        """Take up what waits for a parent: one errand a request, and the waiters'."""
        by_request: dict[str, list[AttemptRecord]] = {}
        for attempt in turn.ledger.open_attempts():
            by_request.setdefault(attempt.request_id, []).append(attempt)
        for request_id, attempts in by_request.items():
            request = turn.request(request_id)
            if request is None or request.state is RequestState.REMOVED:
                continue
            standing = self._standing(turn, attempts)
            for attempt in attempts:
                waited = self._waiters.of_attempt(request_id, attempt.attempt_id)
                ahead = self._ahead_of(turn, attempt, attempts)
                if attempt is standing or (waited and not ahead):
                    self._upstream.resume(attempt, turn.now)
            # They go up in a moment, paced; should the node die first, the next
            # life does the same.

    def answered(
        self, turn: Turn, link: LinkState, call: str, result: CertificateResult
    ) -> None:
        """A parent answered an ask."""
        asked = self._asked(turn, link, call)
        if asked is None:
            turn.log(Level.DEBUG, "answer to no ask of ours", parent=link.name)
            return
        request, attempt = asked
        reason = result.reason or ""
        link.trouble = _trouble(link, result)
        if result.status_code == SIGNED and result.cert:
            self._hops_from(turn, request, result.hops)
            if not self.take_certificate(turn, request, link, result.cert):
                pause = self.settings.limits.poll_unusable
                self._undecided(
                    turn, link, call, request, attempt, reason="", pause=pause
                )
        elif result.status_code == REFUSED and reason not in TEMPORARY:
            self._refused(turn, link, request, attempt, result)
        elif result.status_code == PENDING:
            self._undecided(
                turn, link, call, request, attempt, reason=reason, said=result
            )
        else:
            turn.log(
                Level.WARNING,
                "parent could not decide",
                parent=link.name,
                cn=request.cn,
                detail=result.error,
            )
            self._undecided(
                turn,
                link,
                call,
                request,
                attempt,
                reason="",
                at_least=min(result.retry_after or 0.0, RETRY_AFTER_MAX),
            )

    def failed(self, turn: Turn, link: LinkState, call: str, detail: str) -> None:
        """A parent could not be asked, or answered with an error."""
        asked = self._asked(turn, link, call)
        if asked is None:
            return
        request, attempt = asked
        turn.log(
            Level.INFO,
            "parent gave no answer",
            parent=link.name,
            cn=request.cn,
            detail=detail,
        )
        self._undecided(turn, link, call, request, attempt, reason="", answered=False)

    def _asked(
        self, turn: Turn, link: LinkState, call: str
    ) -> tuple[RequestRecord, AttemptRecord] | None:
        """Return what a call was about; None when nothing is waited for any more.

        A request that an administrator removed here stays removed, whatever a
        parent says by now; restored, it is asked about again.
        """
        name = self._upstream.attempt_of(call, link.link)
        attempt = turn.attempt(name) if name else None
        request = turn.request(attempt.request_id) if attempt else None
        if attempt is None or request is None:
            return None
        if request.state is RequestState.REMOVED:
            self._upstream.end(attempt.attempt_id)
            return None
        return request, attempt

    def take_certificate(
        self, turn: Turn, request: RequestRecord, link: LinkState, cert_pem: str
    ) -> bool:
        """Record a certificate a parent handed down and answer everyone.

        Returns:
            False when it does not fit the request or our CA: it is not used.
        """
        anchor = self.settings.anchor
        try:
            certificate = load_pem(cert_pem)
            if anchor is None:
                return False
            verify_issued(
                certificate,
                cn=request.cn,
                key_id=request.key_id,
                anchor=anchor,
                at=turn.now.wall,
            )
        except PKIError as error:
            self._not_used(turn, request, link, str(error))
            return False
        serial = serial_text(certificate.serial_number)
        other = turn.ledger.certificate_by_serial(serial)
        if other is not None and other.request_id != request.request_id:
            return self._give_known(turn, request, link, certificate, other)
        self._keep(turn, request, link, certificate)
        return True

    def _give_known(
        self,
        turn: Turn,
        request: RequestRecord,
        link: LinkState,
        certificate: x509.Certificate,
        known: CertificateRecord,
    ) -> bool:
        """A parent answers with a certificate that we have under another request.

        Of the same name and key it is right: it came, unasked, while the earlier one
        of this key could be given out, and now that one cannot. A serial number stands
        in the ledger once, so it stays where it is, and whoever waits is given it. Of
        another name or key, or due, or not the very same one, it is not used: only
        what came now has been verified.
        """
        owner = turn.request(known.request_id)
        ours = (request.cn, request.key_id)
        is_same = certificate.public_bytes(Encoding.DER) == known.certificate
        is_due = not up_to_date(certificate, turn.now.wall)
        is_ours = owner is not None and (owner.cn, owner.key_id) == ours
        if is_due or not is_same or not is_ours:
            # The ledger would refuse it, and everything else of the same batch.
            detail = f"serial number {known.serial} was given to another request before"
            self._not_used(turn, request, link, detail)
            return False
        for attempt in turn.attempts(request.request_id):
            self._upstream.end(attempt.attempt_id)
            if attempt.ticket:
                self._failures.was_right(turn, attempt.attempt_id, request.cn)
        waiters = self._waiters.of_request(request.request_id)
        self._responder.give_certificate(turn, waiters, known)
        return True

    def _not_used(
        self, turn: Turn, request: RequestRecord, link: LinkState, detail: str
    ) -> None:
        turn.log(
            Level.ERROR,
            "certificate from parent is not passed on",
            parent=link.name,
            cn=request.cn,
            request=request.request_id,
            detail=detail,
        )

    # -- inside -----------------------------------------------------------------------

    def _keep(
        self,
        turn: Turn,
        request: RequestRecord,
        link: LinkState,
        certificate: x509.Certificate,
    ) -> None:
        record = CertificateRecord(
            serial=serial_text(certificate.serial_number),
            request_id=request.request_id,
            certificate=certificate.public_bytes(Encoding.DER),
            source=link.name,
            at=turn.now.wall,
        )
        first = turn.certificate(request.request_id)
        if first is None:
            turn.store_certificate(record)
            turn.move(request, RequestState.ANSWERED)
            # Should this relay become a signer, it knows the keys in use.
            turn.remember_key(cn=request.cn, key_id=request.key_id, how="issued")
            turn.add_hop(request.request_id, HopDid.ANSWERED)
            turn.log(
                Level.INFO,
                "certificate received from parent",
                parent=link.name,
                cn=request.cn,
                request=request.request_id,
                serial=record.serial,
            )
            self.settle(turn, request.request_id, record)
        elif turn.ledger.certificate_by_serial(record.serial) is None:
            # An ECDSA signature has a second form that verifies as well: of one serial
            # number the first that came is kept, whoever made the other.
            surplus = CertificateRecord(
                serial=record.serial,
                request_id=record.request_id,
                certificate=record.certificate,
                source=record.source,
                at=record.at,
                surplus=True,
            )
            turn.store_certificate(surplus)
            turn.log(
                Level.WARNING,
                "parent signed the same request twice",
                parent=link.name,
                cn=request.cn,
                serial=record.serial,
                given_out=first.serial,
            )

    def settle(self, turn: Turn, request_id: str, record: CertificateRecord) -> None:
        """A request has its certificate: close its attempts, answer everyone."""
        request = turn.request(request_id)
        for attempt in turn.attempts(request_id):
            self._upstream.end(attempt.attempt_id)
            if attempt.ticket and request is not None:
                self._failures.was_right(turn, attempt.attempt_id, request.cn)
            if attempt.state in OPEN_ATTEMPT_STATES:
                turn.settle_attempt(attempt, AttemptState.SIGNED)
        waiters = self._waiters.of_request(request_id)
        self._responder.give_certificate(turn, waiters, record)

    def _refused(
        self,
        turn: Turn,
        link: LinkState,
        request: RequestRecord,
        attempt: AttemptRecord,
        result: CertificateResult,
    ) -> None:
        quiet = _is_nothing_to_do(request, result)
        refusal = Refusal(
            reason=result.reason or (quiet or reason_in_words(result.error)).value,
            text=result.error[:_TEXT_CHARS_MAX] or f"{link.name} refused the request.",
            hop=result.hop or link.name,
            retry_after=result.retry_after,
        )
        self._upstream.end(attempt.attempt_id)
        if refusal.reason == Reason.WRONG_TICKET.value:
            # From here on this node refuses for its parent, if it was one too many.
            asker = self._failures.was_wrong(attempt, request.cn, turn.now.mono)
            self._failures.shun(turn, asker)
        turn.settle_attempt(attempt, AttemptState.REFUSED, refusal=refusal)
        turn.add_hop(request.request_id, HopDid.REFUSED)
        turn.log(
            Level.INFO if quiet else Level.WARNING,
            "request refused by parent",
            parent=link.name,
            hop=refusal.hop,
            reason=refusal.reason,
            cn=request.cn,
            request=request.request_id,
        )
        waiters = self._waiters.of_attempt(request.request_id, attempt.attempt_id)
        self._responder.refuse(turn, waiters, refusal)
        self._let_forward(turn, request)
        forget_if_crowded(turn, request, self._waiters, self.settings.limits)

    def _let_forward(self, turn: Turn, request: RequestRecord) -> None:
        """Attempts that stood back for another one have their turn."""
        for attempt in turn.attempts(request.request_id):
            if attempt.state not in OPEN_ATTEMPT_STATES:
                continue
            if self._upstream.knows(attempt.attempt_id):
                continue
            waited = self._waiters.of_attempt(request.request_id, attempt.attempt_id)
            if waited or attempt.state is AttemptState.RECEIVED:
                current = turn.request(request.request_id) or request
                self.forward(turn, current, attempt)

    def _undecided(
        self,
        turn: Turn,
        link: LinkState,
        call: str,
        request: RequestRecord,
        attempt: AttemptRecord,
        *,
        reason: str,
        said: CertificateResult | None = None,
        answered: bool = True,
        pause: float = 0.0,
        at_least: float = 0.0,
    ) -> None:
        """A parent said "pending", or nothing of use: others, a rest, the askers."""
        if self._upstream.undecided(
            turn, call, attempt, pause=pause, at_least=at_least
        ):
            if answered and self._upstream.asks_only(attempt.attempt_id, link.link):
                # Held longer than we bear silence: it was asked once more meanwhile.
                attempt = turn.settle_attempt(attempt, AttemptState.PENDING)
                self._end_if_idle(turn, request, attempt)
            return
        if answered:
            attempt = turn.settle_attempt(attempt, AttemptState.PENDING)
        for_person = reason in _WAITS_FOR_PERSON
        text = said.error if said is not None and link.icefloe else ""
        waiting = [
            waiter
            for waiter in self._waiters.of_request(request.request_id)
            if waiter.attempt_id == attempt.attempt_id or not waiter.ticketed
        ]
        if answered:
            told = [w for w in waiting if for_person or not w.ticketed]
            self._responder.say_pending(
                turn,
                told,
                reason=Reason(reason) if for_person else Reason.PARENT_PENDING,
                text=text or _pending_text(link, request),
                # Who waits for a person is told which node that person has to go to.
                hop=(said.hop or link.name) if said and for_person else "",
            )
        self._end_if_idle(turn, request, attempt)

    def _end_if_idle(
        self, turn: Turn, request: RequestRecord, attempt: AttemptRecord
    ) -> None:
        """An undecided attempt that nobody waits for, nor stands for all, is left.

        Asked on and on it would stay fresh at the parent, and keep the owner's back.
        """
        still = self._waiters.somebody_waits_for(request.request_id, attempt.attempt_id)
        standing = self._standing(turn, turn.attempts(request.request_id))
        is_standing = standing is not None and standing.attempt_id == attempt.attempt_id
        if not still and not is_standing:
            self._upstream.end(attempt.attempt_id)

    # -- which attempt goes first --------------------------------------------------------

    def _is_fresh(self, turn: Turn, attempt: AttemptRecord) -> bool:
        """Whether an attempt's ticket still counts: its asker is there, or just was.

        Behind a real parent, which tells no refusal, a mistyped ticket would
        otherwise keep the owner's later asking without one back for ever.  So would a
        ticket that came before the clock was set back by hours, hence both ways.
        """
        limits, request = self.settings.limits, attempt.request_id
        is_young = abs(turn.now.wall - attempt.asked_at) < limits.stand_back
        return is_young or self._waiters.somebody_waits_for(request, attempt.attempt_id)

    def _standing(
        self, turn: Turn, attempts: Iterable[AttemptRecord]
    ) -> AttemptRecord | None:
        return standing_attempt(attempts, is_fresh=partial(self._is_fresh, turn))

    def _ahead_of(
        self, turn: Turn, attempt: AttemptRecord, attempts: Iterable[AttemptRecord]
    ) -> list[AttemptRecord]:
        ahead = _ahead_of(attempt, attempts)
        return [each for each in ahead if self._is_fresh(turn, each)]

    def _hops_from(
        self, turn: Turn, request: RequestRecord, hops: tuple[object, ...]
    ) -> None:
        """Record what the nodes above did, as they told us."""
        known = {(hop.node, hop.did) for hop in turn.hops(request.request_id)}
        for entry in hops[:HOPS_MAX]:
            hop = _hop(request.request_id, entry)
            if hop is not None and (hop.node, hop.did) not in known:
                turn.add_hop_of(hop)


def standing_attempt(
    attempts: Iterable[AttemptRecord],
    *,
    is_fresh: Callable[[AttemptRecord], bool] = lambda _attempt: True,
) -> AttemptRecord | None:
    """Return the attempt that speaks for its request while nobody waits.

    The owner's before a forwarded one before a stranger's; with a fresh ticket
    before without: an empty ticket never replaces another; then the newest.
    """

    def rank(attempt: AttemptRecord) -> tuple[int, bool, float]:
        ticketed = bool(attempt.ticket) and is_fresh(attempt)
        return _ORIGINS[attempt.origin], ticketed, attempt.asked_at

    is_open = [a for a in attempts if a.state in OPEN_ATTEMPT_STATES]
    return max(is_open, key=rank, default=None)


_ORIGINS = {Origin.DIRECT: 2, Origin.RELAYED: 1, Origin.POSTED: 0}


def _ahead_of(
    attempt: AttemptRecord, attempts: Iterable[AttemptRecord]
) -> list[AttemptRecord]:
    """Return the open attempts with a ticket that one without has to wait for.

    A real parent keeps one ticket a request: forwarding the empty one after the
    other would erase it there. Nobody waits for an attempt that proves less than
    its own: a stranger's ticket does not keep the owner back.
    """
    if attempt.ticket:
        return []
    rank = _ORIGINS[attempt.origin]
    return [
        a
        for a in attempts
        if a.ticket and a.state in OPEN_ATTEMPT_STATES and _ORIGINS[a.origin] >= rank
    ]


def _pending_text(link: LinkState, request: RequestRecord) -> str:
    return (
        f"The certificate request for '{request.cn}' is kept and was forwarded "
        f"to {link.name}, which has not decided yet. Ask again, or approve it "
        "on the signer."
    )


def _is_nothing_to_do(
    request: RequestRecord, result: CertificateResult
) -> Reason | None:
    """Whether a real node says that a certificate need not be renewed yet.

    Without a code: no other refusal carries neither CA nor fingerprint (protocol).
    """
    bare = not (result.reason or result.ca or result.fingerprint_request)
    return Reason.NOTHING_TO_DO if bare and request.renews else None


def _trouble(link: LinkState, result: CertificateResult) -> Refusal | None:
    """Return what a parent says keeps it from deciding anything at all."""
    reason = result.reason or ""
    if result.status_code != REFUSED or reason not in OF_THE_NODE:
        return None
    return Refusal(
        reason=reason,
        text=result.error[:_TEXT_CHARS_MAX],
        hop=_text(result.hop) or link.name,
    )


def _text(value: object) -> str:
    return value[:_FACT_CHARS_MAX] if isinstance(value, str) else ""


def _hop(request_id: str, entry: object) -> HopRecord | None:
    if not isinstance(entry, Mapping):
        return None
    node, did = _text(entry.get("node")), _text(entry.get("did"))
    at = entry.get("at")
    if not node or did not in set(HopDid) or isinstance(at, bool):
        return None
    if not isinstance(at, int | float) or not math.isfinite(at):
        return None
    return HopRecord(request_id=request_id, node=node, did=did, at=WallTime(float(at)))
