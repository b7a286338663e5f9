"""The result objects of `pki::RequestCertificate`, and giving them to waiters.

Source: protocol, Icinga 2: status 0 signed, 1 refused or nothing to do, 2
pending. A refusal carries no `ca`: automation takes a written `ca.crt` for
success. Our own facts travel under the key `icefloe`, which Icinga ignores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cryptography import x509

from icefloe.doors import MonotonicTime
from icefloe.enrollment.commands import Answer, Drain, Push, Release
from icefloe.enrollment.events import CallId, LinkId
from icefloe.enrollment.links import LinkState
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

    def __init__(self, *, waiters: Waiters, links: Mapping[LinkId, LinkState]) -> None:
        """Answer the given waiters on the given links."""
        self._waiters = waiters
        self._links = links
        self.settings: EnrollmentSettings

    # -- the last word ----------------------------------------------------------

    def give_certificate(
        self, turn: Turn, waiters: Iterable[Waiter], record: CertificateRecord
    ) -> None:
        """Hand out the certificate: a result to a call, a push to the others."""
        cert_pem = to_pem(x509.load_der_x509_certificate(record.certificate))
        ca_pem = self._ca_pem()
        facts = self._facts(turn, record.request_id)
        for waiter in waiters:
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
            else:
                update = UpdateCertificate(
                    cert=cert_pem,
                    ca=ca_pem,
                    fingerprint_request=waiter.fingerprint,
                    status_code=SIGNED,
                )
                turn.order(Push(waiter.link, update))
            state = self._links.get(waiter.link)
            if state is not None:
                state.answered.add(record.request_id)
            # A daemon that was pushed to closes by itself, with its new identity.
            self._finish(turn, waiter, drain=waiter.call is not None)

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
        self, turn: Turn, waiters: Iterable[Waiter], *, reason: Reason, text: str
    ) -> None:
        """Tell waiters with an id that the request is kept and undecided.

        A member goes on waiting without its id: the certificate is pushed to it.
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
                icefloe={**facts, "reason": reason.value},
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

    # -- answers that concern no recorded attempt ---------------------------------

    def refuse_call(
        self, turn: Turn, link: LinkId, call: CallId, refusal: Refusal
    ) -> None:
        """Answer one call with a refusal."""
        facts: dict[str, object] = {"hop": refusal.hop, "reason": refusal.reason}
        if refusal.retry_after is not None:
            facts["retry_after"] = refusal.retry_after
        result = CertificateResult(
            status_code=REFUSED,
            cert="",
            ca="",
            error=refusal.text,
            fingerprint_request="",
            icefloe=facts,
        )
        self._answer(turn, link, call, result)
        state = self._links.get(link)
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
        state.held = False

    def _ca_pem(self) -> str:
        anchor = self.settings.anchor
        return anchor.pem if anchor is not None else ""

    def _facts(self, turn: Turn, request_id: str) -> dict[str, object]:
        hops = [_hop_fact(hop) for hop in turn.hops(request_id)[-HOPS_MAX:]]
        return {"hop": self.settings.node_name, "hops": hops}


def still_undecided(
    settings: EnrollmentSettings, cn: str, parents: Sequence[str]
) -> tuple[Reason, str]:
    """Word what a requester is told whose hold ends.

    Args:
        settings: whose node speaks.
        cn: the name asked for.
        parents: the connected parents.
    """
    if settings.signs:
        text = f"The certificate request for '{cn}' is kept and not decided yet."
        return Reason.AWAITING_APPROVAL, text
    if parents:
        text = (
            f"The certificate request for '{cn}' is kept and was forwarded "
            f"to {', '.join(parents)}; there is no decision yet. Ask again."
        )
        return Reason.PARENT_PENDING, text
    text = (
        f"The certificate request for '{cn}' is kept on {settings.node_name}, "
        "which has no connection to a parent now; it is forwarded as soon as "
        "there is one. Ask again."
    )
    return Reason.PARENT_UNREACHABLE, text


def silent_until(turn: Turn, settings: EnrollmentSettings) -> MonotonicTime:
    """Until when a member that asked without an id may be pushed to."""
    return MonotonicTime(turn.now.mono + settings.limits.hold_member_silent)


def _hop_fact(hop: HopRecord) -> dict[str, object]:
    return {"node": hop.node, "did": hop.did, "at": round(hop.at, 6)}
