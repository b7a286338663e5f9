"""The daemon's own certificate: asked of a parent until it is issued.

A daemon whose certificate is self-signed (its setup ended "pending"), due, or
not from the trusted CA asks its parents, again and again, and installs only what
matches its own key and name and chains to the CA it trusts, or to a new
certificate of that CA's own key (promise 6).

It asks one parent at a time, as a relay does: the next one after an answer that is no
certificate, a disconnect, or 2 s of silence.  Behind two parents there may be two
signers, and each that is asked signs.
"""

from __future__ import annotations

import itertools

from cryptography import x509

from icefloe.doors import MonotonicTime, Now
from icefloe.enrollment.answers import PENDING, SIGNED
from icefloe.enrollment.commands import Ask, InstallIdentity, Level
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.links import LinkState
from icefloe.enrollment.settings import EnrollmentSettings, OwnIdentity
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import common_name, key_id, load_pem, to_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import TrustAnchor, moment_for, up_to_date, verify_issued
from icefloe.wire.catalogue import CertificateResult, RequestCertificate

# After a refusal only a person can help (a new ticket, an approval).
RETRY_REFUSED = 60.0
CALL_PREFIX = "own."
# Whether our certificate has become due is looked at this often.
LOOK_EVERY = 3600.0
# A parent that has not answered by then (an Icefloe one holds for 25 s) is asked again.
CALL_SECONDS_MAX = 90.0
# A certificate that is still not in use after so long is taken and installed again.
INSTALL_SECONDS_MAX = 60.0


class OwnEnrollment:
    """Asks for this node's own certificate."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.settings: EnrollmentSettings
        self._numbers = itertools.count(1)
        self._calls: dict[str, tuple[LinkId, MonotonicTime]] = {}
        self._links: dict[LinkId, LinkState] = {}
        # This round: who was asked, the shortest rest an answer calls for, the rest.
        self._asked: set[LinkId] = set()
        self._rest: float | None = None
        self._rests_until: MonotonicTime | None = None
        self._asked_for: x509.Certificate | None = None
        self._since: MonotonicTime | None = None
        # The last certificate ordered to be installed, and when.
        self._installing: tuple[str, MonotonicTime] | None = None
        self.next_deadline: MonotonicTime | None = None

    def started(self, turn: Turn) -> None:
        """The node runs: its certificate is looked at, with a parent or without."""
        self._again(turn.now, LOOK_EVERY)
        if self.settings.signs:
            self._warn_signer(turn)

    def reconfigured(self, now: Now) -> None:
        """The identity or the trust anchor changed: look again."""
        self._installing = None
        own = self.settings.own
        if own is None or own.certificate != self._asked_for:
            # What was asked with another certificate is answered for another one.
            self._calls.clear()
            self._begin_round()
        self.next_deadline = now.mono

    def link_up(self, turn: Turn, state: LinkState) -> None:
        """A parent is connected."""
        self._links[state.link] = state
        self._again(turn.now, LOOK_EVERY)
        own = self._unfit(turn.now)
        if own is not None and not self._installs(turn.now):
            self._rests_until = None
            self._ask_next(turn, own)

    def link_down(self, link: LinkId, now: Now) -> None:
        """A connection ended; what was asked on it is asked of another parent."""
        self._links.pop(link, None)
        self._asked.discard(link)
        kept = {c: on for c, on in self._calls.items() if on[0] != link}
        if len(kept) < len(self._calls):
            self._again(now, 0.0)
        self._calls = kept

    def deadline(self, turn: Turn) -> None:
        """Ask again when it is time."""
        if self.next_deadline is None or self.next_deadline > turn.now.mono:
            return
        self.next_deadline = None
        self._again(turn.now, LOOK_EVERY)
        if self.settings.signs:
            self._warn_signer(turn)
        own = self._unfit(turn.now)
        if own is None:
            return
        now = turn.now.mono
        for call, (link, at) in list(self._calls.items()):
            if now - at >= CALL_SECONDS_MAX:
                del self._calls[call]
                self._asked.discard(link)
        if self._rests_until is not None and now < self._rests_until:
            self._again(turn.now, self._rests_until - now)
            return
        self._rests_until = None
        self._ask_next(turn, own)

    def answered(
        self, turn: Turn, link: LinkId, call: str, result: CertificateResult
    ) -> None:
        """A parent answered our own request."""
        state = self._links.get(link)
        if state is None or not self._was_asked(link, call):
            return
        if result.status_code == SIGNED and result.cert:
            name = state.name
            if self.offered(turn, cert=result.cert, ca=result.ca, source=name):
                # If it does not come into use, who gave it is asked first: it has it.
                self._asked = set(self._links) - {link}
            else:
                self._no_use(turn, RETRY_REFUSED)
            return
        icefloe = state.icefloe
        if result.status_code == PENDING:
            turn.log(
                Level.INFO,
                "own certificate pending",
                parent=state.name,
                detail=result.error,
            )
            self._no_use(turn, self._pause(turn.now, icefloe=icefloe))
        else:
            turn.log(
                Level.ERROR,
                "own certificate refused",
                parent=state.name,
                detail=result.error,
                next="correct the ticket or ask for approval on the signer",
            )
            self._no_use(turn, RETRY_REFUSED)

    def failed(self, turn: Turn, link: LinkId, call: str, detail: str) -> None:
        """A parent could not answer our own request."""
        if self._was_asked(link, call):
            turn.log(Level.WARNING, "own certificate request failed", detail=detail)
            self._no_use(turn, self._pause(turn.now, icefloe=False))

    def is_own(self, certificate_pem: str) -> bool:
        """Whether a certificate is for this node's own key."""
        own = self.settings.own
        if own is None:
            return False
        try:
            return key_id(load_pem(certificate_pem)) == key_id(own.certificate)
        except PKIError:
            return False

    def offered(self, turn: Turn, *, cert: str, ca: str, source: str) -> bool:
        """A parent hands down a certificate for our own key (both PEM).

        Returns:
            Whether it is installed now; a node that has it already has no use for it.
        """
        own, anchor = self.settings.own, self.settings.anchor
        if own is None or anchor is None:
            return False
        try:
            certificate = load_pem(cert)
            if certificate == own.certificate:
                return False
            if self._unfit(turn.now) is None:
                # Nothing is outstanding: what a parent kept of an earlier life of
                # ours, or signed unasked, takes the place of nothing that works.
                turn.log(
                    Level.WARNING,
                    "own certificate was not asked for and is not installed",
                    parent=source,
                )
                return False
            heir = _heir(anchor, ca, turn.now)
            self._verify(certificate, own.certificate, heir, turn.now)
        except PKIError as error:
            turn.log(
                Level.ERROR,
                "own certificate from parent is not installed",
                parent=source,
                detail=str(error),
            )
            self._again(turn.now, RETRY_REFUSED)
            return False
        self._again(turn.now, INSTALL_SECONDS_MAX)
        if self._is_installing(cert, turn.now):
            return True
        self._installing = (cert, turn.now.mono)
        # Until then nobody is asked: another signer would sign once more.
        self._rests_until = MonotonicTime(turn.now.mono + INSTALL_SECONDS_MAX)
        turn.log(Level.INFO, "own certificate received", parent=source)
        turn.order(InstallIdentity(certificate=to_pem(certificate), ca=heir.pem))
        return True

    # -- inside -------------------------------------------------------------------

    def _was_asked(self, link: LinkId, call: str) -> bool:
        """Whether a call went to that link; then it is answered now."""
        asked = self._calls.get(call)
        if asked is None or asked[0] != link:
            return False
        del self._calls[call]
        return True

    def _is_installing(self, cert: str, now: Now) -> bool:
        """Whether it was ordered a moment ago; it is ordered again if that failed."""
        is_this = self._installing is not None and self._installing[0] == cert
        return is_this and self._installs(now)

    def _installs(self, now: Now) -> bool:
        """Whether some certificate was ordered a moment ago."""
        if self._installing is None:
            return False
        return now.mono - self._installing[1] < INSTALL_SECONDS_MAX

    def _warn_signer(self, turn: Turn) -> None:
        """Nobody renews a signer's own certificate: say so in time."""
        own = self.settings.own
        if own is not None and not up_to_date(own.certificate, turn.now.wall):
            turn.log(
                Level.ERROR,
                "this signer's own certificate is due",
                ends=own.certificate.not_valid_after_utc.isoformat(),
                next="renew it: pki new-cert --csr, pki sign-csr",
            )

    def _verify(
        self,
        certificate: x509.Certificate,
        own: x509.Certificate,
        anchor: TrustAnchor,
        now: Now,
    ) -> None:
        verify_issued(
            certificate,
            cn=common_name(own),
            key_id=key_id(own),
            anchor=anchor,
            at=now.wall,
        )

    def _unfit(self, now: Now) -> OwnIdentity | None:
        """Return our identity if a parent is to be asked for a better one."""
        own, anchor = self.settings.own, self.settings.anchor
        if own is None or anchor is None or self.settings.signs:
            return None
        certificate = own.certificate
        at = moment_for(certificate, now.wall)
        is_fit = anchor.is_signed(certificate, at) and up_to_date(certificate, at)
        return None if is_fit else own

    # -- one parent after the other -------------------------------------------------

    def _ask_next(self, turn: Turn, own: OwnIdentity) -> None:
        """Ask the next parent of this round, unless one was asked a moment ago."""
        now, silence = turn.now.mono, self.settings.limits.parent_silence
        latest = max((at for _, at in self._calls.values()), default=None)
        if latest is not None and now - latest < silence:
            self._again(turn.now, latest + silence - now)
            return
        busy = self._asked | {link for link, _ in self._calls.values()}
        for state in self._links.values():
            if state.link not in busy:
                self._ask(turn, state, own)
                return
        self._end_round(turn.now)

    def _ask(self, turn: Turn, state: LinkState, own: OwnIdentity) -> None:
        if self._since is None:
            self._since = turn.now.mono
        call = f"{CALL_PREFIX}{next(self._numbers)}"
        self._calls[call] = (state.link, turn.now.mono)
        self._asked.add(state.link)
        self._asked_for = own.certificate
        self._again(turn.now, self.settings.limits.parent_silence)
        params = RequestCertificate(
            ticket=own.ticket, cert_request="", requestor_ca="", icefloe=None
        )
        turn.order(Ask(state.link, call, params))

    def _no_use(self, turn: Turn, rest: float) -> None:
        """A parent gave no certificate: another one may; else a rest."""
        self._rest = rest if self._rest is None else min(rest, self._rest)
        own = self._unfit(turn.now)
        if own is not None and not self._installs(turn.now):
            self._ask_next(turn, own)

    def _end_round(self, now: Now) -> None:
        """All were asked: rest, or wait for those who have not answered yet."""
        if self._rest is not None:
            self._rests_until = MonotonicTime(now.mono + self._rest)
            self._again(now, self._rest)
        elif self._calls:
            oldest = min(at for _, at in self._calls.values())
            self._again(now, oldest + CALL_SECONDS_MAX - now.mono)
        elif self._links:
            # Who had given a certificate is gone: the others are asked anew.
            self._again(now, self.settings.limits.parent_silence)
        # Who has not answered yet is not asked again before.
        self._asked = {link for link, _ in self._calls.values()}
        self._rest = None

    def _begin_round(self) -> None:
        self._asked.clear()
        self._rest = self._rests_until = None

    def _pause(self, now: Now, *, icefloe: bool) -> float:
        limits = self.settings.limits
        waited = now.mono - (self._since or now.mono)
        if icefloe:
            return limits.poll_icefloe
        if waited < limits.poll_steady_for:
            return limits.poll_steady
        return limits.poll_slow

    def _again(self, now: Now, pause: float) -> None:
        at = MonotonicTime(now.mono + pause)
        if self.next_deadline is None or self.next_deadline > at:
            self.next_deadline = at


def _heir(anchor: TrustAnchor, ca: str, now: Now) -> TrustAnchor:
    """Return the trust anchor to go on with: ours, or its successor (PEM).

    Raises:
        PKIError: no CA that we trust vouches for the other one.
    """
    if not ca:
        return anchor
    offered = load_pem(ca)
    if offered == anchor.ca:
        return anchor
    anchor.check_successor(offered, now.wall)
    return TrustAnchor.from_pem(ca)
