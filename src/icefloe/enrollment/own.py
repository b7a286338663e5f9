"""The daemon's own certificate: asked of a parent until it is issued.

A daemon whose certificate is self-signed (its setup ended "pending"), due, or
not from the trusted CA asks its parents, again and again, and installs only what
matches its own key and name and chains to the CA it trusts, or to a new
certificate of that CA's own key (promise 6).

It asks one parent at a time, as a relay does: the next one after an answer that is no
certificate, a disconnect, or 2 s of silence.  Behind two parents there may be two
signers, and each that is asked signs.

When it is due is `renewal`'s affair, whether the parents accept what was installed
`confirming`'s, and what is said about all of it `own_report`'s.
"""

from __future__ import annotations

import itertools

from cryptography import x509

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.answers import PENDING, REFUSED, SIGNED
from icefloe.enrollment.commands import Ask, InstallIdentity, Level
from icefloe.enrollment.confirming import Confirming
from icefloe.enrollment.events import DialFailed, LinkId, ParentStays
from icefloe.enrollment.links import LinkState
from icefloe.enrollment.own_report import Heard, OwnReport
from icefloe.enrollment.own_status import State
from icefloe.enrollment.problem import Code
from icefloe.enrollment.reasons import TEMPORARY, Reason
from icefloe.enrollment.renewal import (
    asks_again_at,
    is_due,
    window_of,
    wish_to_renew,
)
from icefloe.enrollment.settings import EnrollmentSettings, OwnIdentity
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import (
    common_name,
    fingerprint,
    key_id,
    load_pem,
    to_pem,
)
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import TrustAnchor, moment_for, verify_issued
from icefloe.wire.catalogue import CertificateResult, RequestCertificate

# After a refusal only a person can help (a new ticket, an approval).
RETRY_REFUSED = 60.0
# A renewal has weeks. A real signer that gives what cannot be used signs anew each time,
# and a thousand agents whose master is away for a week must not ask every second.
RETRY_RENEWAL = 3600.0
PENDING_RENEWAL = 600.0
CALL_PREFIX = "own."
# Whether our certificate has become due is looked at this often.
LOOK_EVERY = 3600.0
# A parent that has not answered by then (an Icefloe one holds for 25 s) is asked again.
CALL_SECONDS_MAX = 90.0
# A certificate that is still not in use after so long is taken and installed again.
INSTALL_SECONDS_MAX = 60.0
# A certificate that was rolled back is not installed again before, and no parent is
# asked: a real signer would sign another one, to be refused in its turn.
REST_ROLLED_BACK = 3600.0
# Nothing to do: how much later is counted by the calendar.
LATER = 86_400.0
# Words of a parent that are kept.
DETAIL_CHARS_MAX = 500


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
        # Every parent said "nothing to do": none is asked before this moment, whoever
        # connects.
        self._early_until: WallTime | None = None
        # The last certificate ordered to be installed, and when.
        self._installing: tuple[str, MonotonicTime] | None = None
        self._deadline: MonotonicTime | None = None
        self._settings: EnrollmentSettings
        self.confirming = Confirming()
        self._report = OwnReport()

    @property
    def settings(self) -> EnrollmentSettings:
        """What the node stands on."""
        return self._settings

    @settings.setter
    def settings(self, settings: EnrollmentSettings) -> None:
        self._settings = settings
        self.confirming.settings = self._report.settings = settings

    @property
    def next_deadline(self) -> MonotonicTime | None:
        """When `deadline` has something to do."""
        later = self.confirming.later
        all_three = (
            self._deadline,
            self.confirming.next_deadline,
            later.at if later is not None else None,
        )
        return min((at for at in all_three if at is not None), default=None)

    def started(self, turn: Turn) -> None:
        """The node runs: its certificate is looked at, with a parent or without."""
        self.confirming.reconfigured(turn.now)
        self._look_again(turn.now)
        self._say(turn)

    def reconfigured(self, now: Now) -> None:
        """The identity or the trust anchor changed: look again."""
        self._installing = None
        self.confirming.reconfigured(now)
        own = self.settings.own
        if own is None or own.certificate != self._asked_for:
            # What was asked with another certificate is answered for another one.
            self._calls.clear()
            self._begin_round()
            self._early_until = self._report.heard = None
        self._deadline = now.mono

    def link_up(self, turn: Turn, state: LinkState, shown: str = "") -> None:
        """A parent is connected; `shown` as in `events.LinkUp`."""
        self._links[state.link] = state
        self.confirming.link_up(turn, state, shown)
        self._look_again(turn.now)
        own = self.unfit(turn.now)
        if own is not None and not self._installs(turn.now):
            self._rests_until = None
            self._ask_next(turn, own)
        self._say(turn)

    def parent_stays(self, turn: Turn, event: ParentStays) -> None:
        """A parent keeps its connection to us: it takes us for a member."""
        self.confirming.parent_stays(turn, event.link)
        self._say(turn)

    def link_down(self, turn: Turn, link: LinkId, detail: str = "") -> None:
        """A connection ended; what was asked on it is asked of another parent."""
        if self._links.pop(link, None) is None:
            return
        self.confirming.link_down(turn, link, detail)
        self._asked.discard(link)
        kept = {c: on for c, on in self._calls.items() if on[0] != link}
        if len(kept) < len(self._calls):
            self._again(turn.now, 0.0)
        self._calls = kept
        self._say(turn)

    def dial_failed(self, turn: Turn, event: DialFailed) -> None:
        """A parent, or somebody else, was dialled in vain."""
        self.confirming.dial_failed(turn, event)
        if self.settings.own is None or self._links:
            return
        tree = self.settings.tree
        if tree is None or event.endpoint not in {e.name for e in tree.upstreams()}:
            return
        in_tls = event.refused or event.tls_failed
        code = Code.TLS_FAILED if in_tls else Code.UNREACHABLE
        self._heard("unreachable", event.endpoint, code, event.detail)
        self._say(turn)

    def stop(self) -> None:
        """The node stops: connections end, which says nothing about us."""
        self.confirming.stopping = True

    def deadline(self, turn: Turn) -> bool:
        """Ask again when it is time; returns whether it was time to look."""
        now = turn.now.mono
        looks = self._deadline is not None and self._deadline <= now
        if not looks and (self.next_deadline is None or self.next_deadline > now):
            return False  # it was about somebody else, as at a busy signer
        self.confirming.deadline(turn)
        self._try_again(turn)
        if looks:
            self._deadline = None
            self._look_again(turn.now)
            self._ask_when_due(turn)
        self._say(turn)
        return looks

    def _try_again(self, turn: Turn) -> None:
        """Install what was refused once more, now that it has begun by every clock."""
        later = self.confirming.later
        if later is None or later.at > turn.now.mono:
            return
        pem = to_pem(later.certificate)
        self.offered(turn, cert=pem, ca="", source=later.parent)
        self.confirming.later = None

    def _ask_when_due(self, turn: Turn) -> None:
        own = self.unfit(turn.now)
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
        self._hear(turn, state, result)
        self._say(turn)

    def _hear(self, turn: Turn, state: LinkState, result: CertificateResult) -> None:
        """Take a parent's answer, whatever it is."""
        name, reason = state.name, result.reason or ""
        if result.status_code == SIGNED and result.cert:
            if self.offered(turn, cert=result.cert, ca=result.ca, source=name):
                # If it does not come into use, who gave it is asked first: it has it.
                self._asked = set(self._links) - {state.link}
            else:
                heard = self._report.heard
                # A clock, ours or theirs, may be about to be set right.
                soon = heard is not None and heard.code == Code.INVALID_CERTIFICATE
                rest = RETRY_REFUSED if soon else self._rest_refused(turn.now)
                self._no_use(turn, rest)
        elif result.status_code == PENDING:
            turn.log(
                Level.INFO,
                "own certificate pending",
                parent=name,
                detail=result.error,
            )
            self._heard("pending", name, reason or Code.PENDING, result.error)
            self._no_use(turn, self._pause(turn.now, icefloe=state.icefloe))
        elif self._is_early(turn, result):
            turn.log(
                Level.INFO,
                "own certificate is not renewed yet",
                parent=name,
                detail=result.error,
            )
            self._heard("due", name, "", result.error)
            self._no_use(turn, LATER)
        else:
            turn.log(
                Level.ERROR,
                "own certificate refused",
                parent=name,
                detail=result.error,
                next="correct the ticket or ask for approval on the signer",
            )
            code = reason or Reason.REFUSED_BY_PARENT.value
            self._heard("refused", name, code, result.error)
            soon = reason in TEMPORARY  # a fault of theirs, not a word about us
            self._no_use(turn, RETRY_REFUSED if soon else self._rest_refused(turn.now))

    def _is_early(self, turn: Turn, result: CertificateResult) -> bool:
        """Whether an answer says "nothing to do", and it is early enough to believe it.

        A real node says it without a code: it is the one refusal that carries neither
        its CA nor a fingerprint (protocol: Icinga 2, `pki::RequestCertificate`).
        """
        own, anchor = self.settings.own, self.settings.anchor
        if own is None or anchor is None or result.status_code != REFUSED:
            return False
        bare = not (result.reason or result.ca or result.fingerprint_request)
        if result.reason != Reason.NOTHING_TO_DO.value and not bare:
            return False
        if not anchor.is_signed(own.certificate, turn.now.wall):
            return False
        window = window_of(own.certificate, self.settings.renewal)
        return asks_again_at(window, turn.now.wall) is not None

    def failed(self, turn: Turn, link: LinkId, call: str, detail: str) -> None:
        """A parent could not answer our own request."""
        state = self._links.get(link)
        if self._was_asked(link, call):
            turn.log(Level.WARNING, "own certificate request failed", detail=detail)
            name = state.name if state is not None else ""
            self._heard("pending", name, Code.INVALID_ANSWER, detail)
            self._no_use(turn, self._pause(turn.now, icefloe=False))
            self._say(turn)

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
            foreign = self.settings.signs and source != self.settings.node_name
            if self.unfit(turn.now) is None or foreign:
                # Nothing is outstanding: what a parent kept of an earlier life of
                # ours, or signed unasked, takes the place of nothing that works.
                turn.log(
                    Level.WARNING,
                    "own certificate was not asked for and is not installed",
                    parent=source,
                )
                return False
            if self._was_rolled_back(certificate, turn.now):
                turn.log(
                    Level.INFO,
                    "own certificate was refused by the parents and is not installed",
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
            self._heard("refused", source, Code.INVALID_CERTIFICATE, str(error))
            self._again(turn.now, RETRY_REFUSED)
            return False
        self._report.heard = None
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

    def _was_rolled_back(self, certificate: x509.Certificate, now: Now) -> bool:
        """Whether the parents refused this very certificate within the hour."""
        own, later = self.settings.own, self.confirming.later
        if later is not None and later.certificate == certificate:
            return now.mono < later.at
        refused = own.refused if own is not None else None
        if refused is None or refused.fingerprint != fingerprint(certificate):
            return False
        return self._rests_after_roll_back(now)

    def _rests_after_roll_back(self, now: Now) -> bool:
        own = self.settings.own
        refused = own.refused if own is not None else None
        # A clock that was set back must not make it a year.
        since = abs(now.wall - refused.at) if refused is not None else REST_ROLLED_BACK
        return since < REST_ROLLED_BACK

    def _heard(self, state: State, parent: str, code: str, detail: str) -> None:
        self._report.heard = Heard(state, parent, code, detail[:DETAIL_CHARS_MAX])

    def _say(self, turn: Turn) -> None:
        """Say how it stands, if that is news."""
        later = self.confirming.later
        self._report.look(
            turn,
            asks_at=later.at if later else self._rests_until or self._deadline,
            is_connected=bool(self._links),
            confirming=self.confirming,
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

    def unfit(self, now: Now) -> OwnIdentity | None:
        """Return our identity if a better one is to be had; a signer has its own."""
        own, anchor = self.settings.own, self.settings.anchor
        if own is None or anchor is None:
            return None
        certificate = own.certificate
        at = moment_for(certificate, now.wall)
        if not anchor.is_signed(certificate, at):
            return own
        return own if is_due(certificate, self.settings.renewal, at) else None

    # -- one parent after the other -------------------------------------------------

    def _ask_next(self, turn: Turn, own: OwnIdentity) -> None:
        """Ask the next parent of this round, unless one was asked a moment ago."""
        if self.settings.signs or self._rests_long(turn.now):
            return
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
            ticket=own.ticket,
            cert_request="",
            requestor_ca="",
            icefloe=wish_to_renew(own.certificate),
        )
        turn.order(Ask(state.link, call, params))

    def _no_use(self, turn: Turn, rest: float) -> None:
        """A parent gave no certificate: another one may; else a rest."""
        self._rest = rest if self._rest is None else min(rest, self._rest)
        own = self.unfit(turn.now)
        if own is not None and not self._installs(turn.now):
            self._ask_next(turn, own)

    def _end_round(self, now: Now) -> None:
        """All were asked: rest, or wait for those who have not answered yet."""
        if self._rest is not None and self._rest >= LATER:
            # All of those who answered: nobody wants to renew it yet.
            self._come_back_later(now)
        elif self._rest is not None:
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

    def _rests_long(self, now: Now) -> bool:
        """Whether it would be of no use to ask anybody now."""
        if self._rests_after_roll_back(now):
            return True
        if self._early_until is not None and now.wall < self._early_until:
            return True
        self._early_until = None
        return False

    def _come_back_later(self, now: Now) -> None:
        own = self.settings.own
        if own is None:
            return
        window = window_of(own.certificate, self.settings.renewal)
        self._early_until = asks_again_at(window, now.wall)
        if self._early_until is not None:
            rest = self._early_until - now.wall
            self._rests_until = MonotonicTime(now.mono + rest)
            self._again(now, rest)

    def _begin_round(self) -> None:
        self._asked.clear()
        self._rest = self._rests_until = self._since = None

    def _is_in_date(self, now: Now) -> bool:
        """Whether our certificate is good for a while: there is no hurry."""
        own, anchor = self.settings.own, self.settings.anchor
        if (
            own is None
            or anchor is None
            or not anchor.is_signed(own.certificate, now.wall)
        ):
            return False
        return now.wall < window_of(own.certificate, self.settings.renewal).critical

    def _rest_refused(self, now: Now) -> float:
        return RETRY_RENEWAL if self._is_in_date(now) else RETRY_REFUSED

    def _pause(self, now: Now, *, icefloe: bool) -> float:
        limits = self.settings.limits
        waited = now.mono - (self._since or now.mono)
        if waited >= limits.poll_steady_for and self._is_in_date(now):
            return PENDING_RENEWAL
        if icefloe:
            return limits.poll_icefloe
        if waited < limits.poll_steady_for:
            return limits.poll_steady
        return limits.poll_slow

    def _look_again(self, now: Now) -> None:
        """Look when it becomes due, and now and then: clocks are set."""
        pause = LOOK_EVERY
        own = self.settings.own
        if own is not None:
            due = window_of(own.certificate, self.settings.renewal).due - now.wall
            pause = min(pause, due) if due > 0 else pause
        self._again(now, pause)

    def _again(self, now: Now, pause: float) -> None:
        at = MonotonicTime(now.mono + pause)
        if self._deadline is None or self._deadline > at:
            self._deadline = at


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
