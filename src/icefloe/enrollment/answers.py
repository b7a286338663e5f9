"""The result objects of `pki::RequestCertificate`, and giving them to waiters.

Source: protocol, Icinga 2: status 0 signed, 1 refused or nothing to do, 2
pending. A refusal carries no `ca`: automation takes a written `ca.crt` for
success. Our own facts travel under the key `icefloe`, which Icinga ignores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509

from icefloe.doors import MonotonicTime
from icefloe.enrollment.commands import Answer, Drain, Push, Release
from icefloe.enrollment.events import CallId, LinkId
from icefloe.enrollment.links import Links, LinkState
from icefloe.enrollment.model import CertificateRecord, HopRecord, Refusal
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.waiters import Waiter, Waiters
from icefloe.pki.certificates import to_pem
from icefloe.wire.catalogue import CertificateResult, UpdateCertificate

SIGNED = 0
REFUSED = 1
PENDING = 2

# A chain of relays is a handful of nodes with two or three words each.
HOPS_MAX = 32


class Responder:
    """Answers waiters; the core speaks to requesters here only."""

    def __init__(self, *, waiters: Waiters, links: Links) -> None:
        """Answer the given waiters on the given links."""
        self._waiters = waiters
        self._links = links
        self.settings: EnrollmentSettings

    # -- the last word ----------------------------------------------------------

    def give_certificate(
        self, turn: Turn, waiters: Iterable[Waiter], record: CertificateRecord
    ) -> None:
        """Hand out the certificate: a result to a call, a push to the others.

        Not a push of what its owner shows already: while this node's clock was behind,
        a valid certificate was not one. Its connection ends; it comes again, as what it
        is.
        """
        cert_pem = to_pem(x509.load_der_x509_certificate(record.certificate))
        ca_pem = self._ca_pem()
        facts = self._facts(turn, record.request_id)
        for waiter in waiters:
            state = self._links.get(waiter.link)
            has_it = state is not None and state.peer.certificate == record.certificate
            if waiter.call is not None:
                result = CertificateResult(
                    status_code=SIGNED,
                    cert=cert_pem,
                    ca=ca_pem,
                    error="",
                    fingerprint_request=waiter.fingerprint,
                    icefloe=facts,
                )
                self._answer(turn, waiter.link, waiter.call, result)
            elif not has_it:
                update = UpdateCertificate(
                    cert=cert_pem,
                    ca=ca_pem,
                    fingerprint_request=waiter.fingerprint,
                    status_code=SIGNED,
                )
                turn.order(Push(waiter.link, update))
            if state is not None:
                state.answered.add(record.request_id)
            # A daemon that was pushed to closes by itself, with its new identity.
            self._finish(turn, waiter, drain=waiter.call is not None or has_it)

    def refuse(self, turn: Turn, waiters: Iterable[Waiter], refusal: Refusal) -> None:
        """Tell waiters that their attempt was refused, with the reason.

        A real daemon asked without an id and cannot be told; its connection is
        closed, and it comes again.
        """
        for waiter in waiters:
            if waiter.call is not None:
                self.refuse_call(turn, waiter.link, waiter.call, refusal)
            self._finish(turn, waiter)

    def say_pending(
        self,
        turn: Turn,
        waiters: Iterable[Waiter],
        *,
        reason: Reason,
        text: str,
        hop: str = "",
    ) -> None:
        """Tell waiters with an id that the request is kept and undecided.

        A member goes on waiting without its id: the certificate is pushed to it.

        Args:
            turn: to answer in.
            waiters: who is told.
            reason: what it waits for.
            text: the same in words.
            hop: the node it waits for; empty for this one.
        """
        for waiter in waiters:
            if waiter.call is None:
                continue
            facts = self._facts(turn, waiter.request_id)
            result = CertificateResult(
                status_code=PENDING,
                cert="",
                ca=self._ca_pem(),
                error=text,
                fingerprint_request=waiter.fingerprint,
                icefloe={
                    **facts,
                    "hop": hop or self.settings.node_name,
                    "reason": reason.value,
                },
            )
            self._answer(turn, waiter.link, waiter.call, result)
            self._finish(turn, waiter)
            if waiter.member:
                self._waiters.add(
                    Waiter(
                        link=waiter.link,
                        call=None,
                        request_id=waiter.request_id,
                        attempt_id=waiter.attempt_id,
                        fingerprint=waiter.fingerprint,
                        member=True,
                        ticketed=waiter.ticketed,
                        until=silent_until(turn, self.settings),
                        source=waiter.source,
                    )
                )

    def let_go(self, turn: Turn, waiter: Waiter) -> None:
        """Forget a waiter that was promised nothing more."""
        self._finish(turn, waiter, drain=False)

    def park(self, turn: Turn, waiters: Iterable[Waiter]) -> None:
        """Tell waiters that their request is kept and this node stops; reads no ledger.

        Whoever asked without an id cannot be told; it comes again by itself.
        """
        for waiter in waiters:
            if waiter.call is not None:
                name = self.settings.node_name
                result = parked(name, self._ca_pem(), waiter.fingerprint)
                self._answer(turn, waiter.link, waiter.call, result)
            self._finish(turn, waiter)

    # -- answers that concern no recorded attempt ---------------------------------

    def refuse_call(
        self, turn: Turn, link: LinkId, call: CallId, refusal: Refusal
    ) -> None:
        """Answer one call with a refusal; a stranger's connection has served then.

        Not that of a peer over its rate, which the shell ends a moment later: a flood
        that has to shake hands for each refusal would cost more than refusing.
        """
        self._answer(turn, link, call, refused(refusal))
        state = self._links.get(link)
        if refusal.reason == Reason.TOO_MANY_WRONG_TICKETS.value:
            return
        if state is not None and not state.member and not self._waiters.count_on(link):
            turn.order(Drain(link, "answered"))

    # -- in common --------------------------------------------------------------

    def _answer(
        self, turn: Turn, link: LinkId, call: CallId, result: CertificateResult
    ) -> None:
        turn.order(Answer(link, call, result.to_params()))

    def _finish(self, turn: Turn, waiter: Waiter, *, drain: bool = True) -> None:
        """The waiter had its last word; a stranger's connection has served."""
        self._waiters.remove(waiter)
        state = self._links.get(waiter.link)
        if state is None or self._waiters.count_on(waiter.link):
            return
        if drain and not state.member:
            turn.order(Drain(waiter.link, "answered"))
        elif state.held:
            turn.order(Release(waiter.link))
        self._links.let_go(state)

    def _ca_pem(self) -> str:
        anchor = self.settings.anchor
        return anchor.pem if anchor is not None else ""

    def _facts(self, turn: Turn, request_id: str) -> dict[str, object]:
        hops = [_hop_fact(hop) for hop in turn.hops(request_id)[-HOPS_MAX:]]
        return {"hop": self.settings.node_name, "hops": hops}


def refused(refusal: Refusal) -> CertificateResult:
    """Make the result that tells a refusal."""
    facts: dict[str, object] = {"hop": refusal.hop, "reason": refusal.reason}
    if refusal.retry_after is not None:
        facts["retry_after"] = refusal.retry_after
    return CertificateResult(
        status_code=REFUSED,
        cert="",
        ca="",
        error=refusal.text,
        fingerprint_request="",
        icefloe=facts,
    )


def parked(node_name: str, ca_pem: str, fingerprint: str) -> CertificateResult:
    """Make the result for a request that is kept by a node that stops.

    Args:
        node_name: who speaks.
        ca_pem: the CA certificate, or "".
        fingerprint: of the certificate that was shown, or "".
    """
    return CertificateResult(
        status_code=PENDING,
        cert="",
        ca=ca_pem,
        error=(
            f"The certificate request is kept on {node_name}, which is being stopped; "
            "it goes on when the node runs again. Ask again."
        ),
        fingerprint_request=fingerprint,
        icefloe={"hop": node_name, "reason": Reason.NODE_STOPS.value},
    )


def still_undecided(
    settings: EnrollmentSettings, cn: str, parents: Sequence[LinkState]
) -> tuple[Reason, str, str]:
    """Word what a requester is told whose hold ends.

    Args:
        settings: whose node speaks.
        cn: the name asked for.
        parents: the connected parents.

    Returns:
        What it waits for, in a code and in words, and the node that it waits for.
    """
    own = settings.node_name
    if settings.signs:
        text = f"The certificate request for '{cn}' is kept and not decided yet."
        return Reason.AWAITING_APPROVAL, text, own
    troubles = [parent.trouble for parent in parents if parent.trouble is not None]
    if parents and len(troubles) == len(parents):
        found = troubles[0]
        text = (
            f"The certificate request for '{cn}' is kept on {own} and goes on by "
            f"itself, but {found.hop} cannot decide now: {found.text}"
        )
        return Reason(found.reason), text, found.hop
    if parents:
        names = ", ".join(parent.name for parent in parents)
        text = (
            f"The certificate request for '{cn}' is kept and was forwarded "
            f"to {names}; there is no decision yet. Ask again."
        )
        return Reason.PARENT_PENDING, text, own
    text = (
        f"The certificate request for '{cn}' is kept on {own}, "
        "which has no connection to a parent now; it is forwarded as soon as "
        "there is one. Ask again."
    )
    return Reason.PARENT_UNREACHABLE, text, own


def silent_until(turn: Turn, settings: EnrollmentSettings) -> MonotonicTime:
    """Until when a member that asked without an id may be pushed to."""
    return MonotonicTime(turn.now.mono + settings.limits.hold_member_silent)


def _hop_fact(hop: HopRecord) -> dict[str, object]:
    return {"node": hop.node, "did": hop.did, "at": round(hop.at, 6)}
