"""One daemon of Icinga 2, as far as certificates go: facts in, effects out.

Durable, as files are: the identity, the stored requests.  Lost in a crash: the links,
the dialling.  `start` begins a life, the first one and each one after a crash.

What real daemons do here that surprises:

* A request is forwarded without an id, so no refusal ever comes back, and a parent's
  certificate stays at the node until somebody asks again: there is no push downward.
* Every ask for a still pending request is forwarded again; nothing else repeats it,
  but for the start of a session with a parent.
* A node asks for its own certificate at the start of each such session, good or not.

Source: protocol, "Certificate signing protocol"; "Shutdown" for how links close.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509

from icefloe.cluster.zones import Relation
from icefloe.doors import MonotonicTime, Now
from icefloe.enrollment.events import CallId, LinkId
from icefloe.errors import IcefloeError
from icefloe.habits.authority import Authority
from icefloe.habits.effects import (
    CloseAt,
    CloseCut,
    CloseFlushed,
    Dial,
    Effect,
    InstallIdentity,
    Notify,
    Reply,
    exception_reply,
)
from icefloe.habits.identity import Identity
from icefloe.habits.judgement import Asked, Judgement, Verdict, judge
from icefloe.habits.links import HabitualLink, Links
from icefloe.habits.redial import Redial
from icefloe.habits.stored import RequestStore, StoredRequest
from icefloe.habits.versions import ANONYMOUS_SECONDS, AfterPending, Habits
from icefloe.pki import certificates
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    STATUS_ERROR,
    STATUS_PENDING,
    STATUS_SIGNED,
    UPDATE_CERTIFICATE,
    CertificateResult,
    RequestCertificate,
    UpdateCertificate,
)

_STATUS = {Verdict.SIGNED: STATUS_SIGNED, Verdict.PENDING: STATUS_PENDING}


class HabitualNode:
    """A daemon with the habits of one release.

    Attributes:
        name: The own endpoint's name.
        habits: The release.
        identity: The files of `certs/`, as they are now.
        requests: The stored requests.
    """

    def __init__(
        self,
        name: str,
        *,
        habits: Habits,
        identity: Identity,
        dials: Iterable[str] = (),
        has_parent: bool = True,
        authority: Authority | None = None,
    ) -> None:
        """Make a node that is not started.

        Args:
            name: The own endpoint's name.
            habits: The release.
            identity: The files of `certs/`.
            dials: Endpoints it connects to; it waits for all others.
            has_parent: Whether there is a zone above its own.
            authority: The CA key; None for a node that does not sign.
        """
        self.name = name
        self.habits = habits
        self.identity = identity
        self.requests = RequestStore()
        self._has_parent = has_parent
        self._authority = authority
        self._links = Links(name)
        self._redial = Redial(dials)

    # Life and time.

    def start(self, now: Now) -> list[Effect]:
        """Begin a life; what an earlier one was connected to is gone."""
        self._links.clear()
        self._redial.start(now.mono)
        return self.tick(now)

    def tick(self, now: Now) -> list[Effect]:
        """Do what is due: dial, and delete requests that are too old."""
        self.requests.expire(now.wall)
        return [Dial(endpoint) for endpoint in self._redial.due(now.mono)]

    def next_tick(self) -> MonotonicTime | None:
        """Return when `tick` has something to do; None if never."""
        return self._redial.next_tick

    # Links.

    def on_member_up(
        self, link: LinkId, *, name: str, relation: Relation
    ) -> list[Effect]:
        """Take a session with a configured endpoint, whoever dialled."""
        member = HabitualLink(link, name=name, relation=relation)
        if self._links.is_connected(name):
            self._links.add(member)
            return self._close(member)
        self._links.add(member)
        self._redial.is_busy(name)
        asks_here = relation is Relation.PARENT or (
            relation is Relation.SAME_ZONE and not self._has_parent
        )
        if not asks_here:
            return []
        own = RequestCertificate(ticket=self.identity.ticket).to_params()
        waiting = [request.to_params() for request in self.requests.waiting()]
        return [Notify(link, REQUEST_CERTIFICATE, params) for params in [own, *waiting]]

    def on_anonymous_up(
        self, link: LinkId, *, now: Now, is_verified: bool = False
    ) -> list[Effect]:
        """Take a session with anyone else.

        Args:
            link: The new link.
            now: When.
            is_verified: Whether the peer's certificate is good and only the Endpoint
                is missing.
        """
        stranger = HabitualLink(link)
        self._links.add(stranger)
        if not is_verified:
            return [CloseAt(link, MonotonicTime(now.mono + ANONYMOUS_SECONDS))]
        return [] if self.habits.keeps_verified_strangers else self._close(stranger)

    def on_link_down(self, link: LinkId) -> list[Effect]:
        """Forget a link; its endpoint is dialled again at the next tick."""
        known = self._links.pop(link)
        if known is not None and known.name is not None:
            self._free(known.name)
        return []

    def on_dial_failed(self, endpoint: str) -> list[Effect]:
        """Note that a `Dial` led to no member; it is tried again at the next tick."""
        self._free(endpoint)
        return []

    # Messages.

    def takes(self, link: LinkId, ts: float | None) -> bool:
        """Say whether a message is acted on, by its link and its time.

        Nothing is taken on a closing link.  From a member, a relayed message that is
        older than one before is dropped, and one from the future mutes what follows.

        Args:
            link: Where it came in.
            ts: Unix seconds at which it was relayed; None for a direct one.
        """
        known = self._links.live(link)
        if known is None:
            return False
        if known.is_member and ts is not None:
            if ts < known.newest_ts:
                return False
            known.newest_ts = ts
        return True

    def on_request(
        self,
        link: LinkId,
        *,
        call: CallId | None,
        params: RequestCertificate,
        presented: str,
        now: Now,
        presented_root: str = "",
    ) -> list[Effect]:
        """Take a `pki::RequestCertificate`.

        Args:
            link: Where it came in.
            call: Its id; None for none, and then no answer is sent.
            params: What was asked.
            presented: The certificate the peer presented in TLS, PEM, or empty.
            now: When.
            presented_root: The self-signed certificate in its chain, PEM, or empty.
        """
        known = self._links.live(link)
        if known is None:
            return []
        try:
            asked = _read(params, presented=presented, presented_root=presented_root)
            judgement = judge(
                asked,
                ca=self.identity.ca,
                store=self.requests,
                authority=self._authority,
                habits=self.habits,
                now=now.wall,
            )
        except IcefloeError as error:
            return exception_reply(link, call, error)
        if judgement.verdict is Verdict.PENDING:
            return self._pending(known, call, asked, judgement, now)
        result = self._result(judgement)
        effects: list[Effect] = [] if call is None else [Reply(link, call, result)]
        if judgement.verdict is Verdict.SIGNED:
            effects.append(Notify(link, UPDATE_CERTIFICATE, result))
        return effects

    def on_update(
        self, link: LinkId, *, params: UpdateCertificate, now: Now
    ) -> list[Effect]:
        """Take a `pki::UpdateCertificate`: for us, for a node below, or not at all."""
        known = self._links.live(link)
        if known is None or not self._may_update(known):
            return []
        try:
            offered = certificates.load_pem(params.cert)
        except IcefloeError:
            return []
        if not self.identity.is_meant(offered):
            self.requests.answer(
                params.fingerprint_request, certificate=params.cert, at=now.wall
            )
            return []
        self.identity = Identity(certificate=params.cert, ca=params.ca)
        effects: list[Effect] = [InstallIdentity(certificate=params.cert, ca=params.ca)]
        for other in self._links.all_live():
            effects += self._close(other)
        return effects

    # Inside.

    def _free(self, endpoint: str) -> None:
        if not self._links.is_connected(endpoint):
            self._redial.is_free(endpoint)

    def _may_update(self, sender: HabitualLink) -> bool:
        if sender.relation is None:
            return not self.habits.update_needs_member
        return sender.relation.is_upward

    def _pending(
        self,
        known: HabitualLink,
        call: CallId | None,
        asked: Asked,
        judgement: Judgement,
        now: Now,
    ) -> list[Effect]:
        """Store, forward, and treat the requester's link as this release does."""
        assert asked.certificate is not None, "there is something to wait for"
        request = StoredRequest(
            fingerprint=judgement.fingerprint,
            cert_request=certificates.to_pem(asked.certificate),
            ticket=asked.ticket,
            requestor_ca=asked.root if self.habits.knows_requestor_ca else "",
            written_at=now.wall,
        )
        self.requests.put(request)
        effects: list[Effect] = [
            Notify(target.link, REQUEST_CERTIFICATE, request.to_params(), ts=now.wall)
            for target in self._links.relay_targets(known)
        ]
        after = self.habits.after_pending
        if known.is_member:
            after = AfterPending.REPLY_AND_STAY
        if call is not None and after is not AfterPending.CUT:
            effects.append(Reply(known.link, call, self._result(judgement)))
        if after is not AfterPending.REPLY_AND_STAY:
            effects += self._close(known)
        return effects

    def _close(self, known: HabitualLink) -> list[Effect]:
        known.is_closing = True
        cut = self.habits.close_drops_queue
        return [CloseCut(known.link) if cut else CloseFlushed(known.link)]

    def _result(self, judgement: Judgement) -> dict[str, object]:
        """Return the result object; the root goes along wherever one is named."""
        return CertificateResult(
            status_code=_STATUS.get(judgement.verdict, STATUS_ERROR),
            cert=judgement.certificate,
            ca=self.identity.ca if judgement.fingerprint else "",
            error=judgement.verdict.value,
            fingerprint_request=judgement.fingerprint,
        ).to_params()


def _read(params: RequestCertificate, *, presented: str, presented_root: str) -> Asked:
    """Find out what is to be signed, and which root its owner uses."""
    peer = certificates.load_pem(presented) if presented else None
    request = (
        certificates.load_pem(params.cert_request) if params.cert_request else peer
    )
    root = presented_root if _same_name(request, peer) else params.requestor_ca
    return Asked(certificate=request, ticket=params.ticket, root=root)


def _same_name(one: x509.Certificate | None, other: x509.Certificate | None) -> bool:
    if one is None or other is None:
        return False
    return certificates.common_name(one) == certificates.common_name(other)
