"""The judge: the promises of the design, each a function, at every step.

It knows what no node knows: what every ledger has *committed*, which tickets are right,
who asked for what.  It judges what a process sends and commits, not what it remembers,
so that a bug cannot hide from it in the state that it damaged; only
`everything_is_bounded` also counts what a process holds in memory.  What a requester
alone can see is judged beside it, by the requester.

1. `no_answer_is_cut_off`            6. `only_a_parent_changes_an_identity`
2. `durable_before_spoken`           7. `a_working_identity_is_never_lost`
3. `one_request_one_certificate`     8. `secrets_stay_secret`, `tickets_are_forgotten`
4. `no_certificate_without_decision` 9. `everything_is_bounded`
5. `a_refusal_stays_with_its_attempt` 10. `it_finishes`

Besides them, where no fault is to blame, `the_first_call_is_the_last` (the founding
promise) and `a_waiting_daemon_is_held`; and always `one_call_one_answer`,
`a_refusal_carries_no_ca`, `a_stored_ticket_stays`, `nothing_to_do_is_left_alone`,
`reserved_names_need_a_person`, `states_follow_the_table` and `no_bug_shows`; and
`no_good_certificate_is_given_up`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

from cryptography import x509

from icefloe.cluster.peer import Peer
from icefloe.cluster.zones import ZoneTree
from icefloe.doors import WallTime
from icefloe.enrollment.commands import (
    Answer,
    Ask,
    InstallIdentity,
    Push,
    RollBackIdentity,
    Sign,
)
from icefloe.enrollment.events import CallId, CertificateAsked, LinkId
from icefloe.enrollment.ledger import AbandonIntent, ForgetCanary, Write
from icefloe.enrollment.model import (
    AttemptRecord,
    CertificateRecord,
    ticket_digest,
)
from icefloe.enrollment.own import CALL_PREFIX
from icefloe.enrollment.reasons import Reason
from icefloe.pki.certificates import common_name, fingerprint, key_id
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import CLOCKS_APART_SECONDS_MAX, TrustAnchor, verify_issued
from icefloe.simulation.committed import CommittedView
from icefloe.simulation.identities import read_der, read_pem
from icefloe.simulation.issued import Issued, Signature
from icefloe.simulation.report import Violation
from icefloe.simulation.timeline import WALL_START, Timeline
from icefloe.wire.catalogue import CertificateResult

ATTEMPTS_MAX = 16
"""As `EnrollmentLimits.attempts_max`, which the judge does not take from the judged."""

VIOLATIONS_KEPT_MAX = 50


@dataclass(frozen=True, slots=True)
class Asking:
    """One call as it was asked.

    Attributes:
        cn: the name asked for.
        key_id: the key asked for.
        fingerprint: of the presented certificate.
        ticket: as given.
        member: asked on a member's link.
        has_id: an answer is owed.
    """

    cn: str
    key_id: str
    fingerprint: str
    ticket: str = field(repr=False)
    member: bool
    has_id: bool


@dataclass(slots=True)
class _Node:
    view: CommittedView
    anchor: TrustAnchor
    # What was asked on each link: by call, and the last ones without an id.
    # A call is the object that the asking came with, not the value in it: a rude peer
    # gives two calls one value, and which of them an answer is for shows in nothing
    # that it says. Kept beside it, so that no later call has its identity.
    calls: dict[LinkId, dict[int, tuple[CallId, Asking]]] = field(default_factory=dict)
    waiting: dict[LinkId, dict[str, Asking]] = field(default_factory=dict)


class Promises:
    """Judges one history.

    Attributes:
        violations: what was broken, in order.
        issued: what the CA keys have signed.
        nothing_goes_wrong: no fault and no rude node can be blamed for anything.
        one_signature_is_enough: nothing goes wrong and every node is ours, so that one
            certificate for each request is all there may be, whoever signs.
        not_ours: nodes that have the habits of a real Icinga or are rude; what they
            themselves promise is not judged, what our nodes do beside them is.
        lies_about_tickets: attempts (fingerprint, ticket's digest) of which a rude
            parent said that their ticket is wrong; our relays believe a parent.
        lies_passed_on: how often one of ours passed such a lie on.
    """

    def __init__(
        self,
        timeline: Timeline,
        ticket_is_valid: Callable[[str, str], bool],
        secret: str,
    ) -> None:
        """Begin without nodes.

        Args:
            timeline: for the time of a violation.
            ticket_is_valid: the truth about a name and a ticket.
            secret: stands in every ticket; must stand in no log, answer or record.
        """
        self.violations: list[Violation] = []
        self._timeline = timeline
        self._ticket_is_valid = ticket_is_valid
        self._secret = secret
        self._nodes: dict[str, _Node] = {}
        self.issued = Issued()
        self.nothing_goes_wrong = False
        self.one_signature_is_enough = False
        self.not_ours: frozenset[str] = frozenset()
        self.lies_about_tickets: set[tuple[str, str]] = set()
        self.lies_passed_on = 0
        self._gave_way: set[Hashable] = set()
        self._signed: dict[tuple[str, str], bytes] = {}
        # Certificates seen to fit: to look once is enough, their owner's clock goes on.
        self._fitting: set[tuple[str, str, str]] = set()
        # What each node ordered to be installed last, PEM; who put it back, and when.
        self._installed: dict[str, str] = {}
        self._put_back: dict[str, tuple[float, str]] = {}

    # -- facts ------------------------------------------------------------------------

    def add_node(
        self,
        name: str,
        *,
        signs: bool,
        tree: ZoneTree,
        anchor: TrustAnchor,
        parents: frozenset[str] | None = None,
    ) -> None:
        """Get to know a node; its parents are those of its tree unless given."""
        if parents is None:
            parents = frozenset(endpoint.name for endpoint in tree.upstreams())
        view = CommittedView(
            name,
            signs=signs,
            parents=parents,
            reserved=tree.reserved_names(),
        )
        self._nodes[name] = _Node(view, anchor)

    def view(self, node: str) -> CommittedView:
        """Return what a node has committed."""
        return self._nodes[node].view

    def back_up(self, node: str) -> Callable[[], None]:
        """A node's ledger is copied; returns what is to be called when it is restored.

        What was committed since is forgotten then, by the node and by its judge.  What
        a signer signed since stays signed: it may sign such a request once more, under
        another serial number, and no number stands for two certificates.
        """
        judged = self._nodes[node]
        copy = judged.view.copy()

        def restore() -> None:
            for request_id in judged.view.intents.keys() - copy.intents.keys():
                self._signed.pop((node, request_id), None)
            judged.view.restore(copy)

        return restore

    def node_died(self, node: str) -> None:
        """A process is gone, and every call with it."""
        self._nodes[node].calls.clear()
        self._nodes[node].waiting.clear()

    def all_was_said(self, node: str) -> None:
        """A node begins a batch: the commands of the last one were carried out."""
        self.view(node).all_was_said()

    def link_gone(self, node: str, link: LinkId) -> None:
        """A connection is gone, and what was asked on it."""
        self._nodes[node].calls.pop(link, None)
        self._nodes[node].waiting.pop(link, None)

    def asked(self, node: str, event: CertificateAsked, peer: Peer) -> None:
        """A node was asked for a certificate."""
        asking = _asking(event, peer)
        judged = self._nodes[node]
        waiting = judged.waiting.setdefault(event.link, {})
        waiting[asking.fingerprint] = asking
        if event.call is not None:
            calls = judged.calls.setdefault(event.link, {})
            calls[id(event.call)] = event.call, asking

    def committed(self, node: str, writes: tuple[Write, ...]) -> None:
        """A transaction is durable."""
        view = self._nodes[node].view
        for write in writes:
            # An open attempt holds its ticket, which no `repr` shows.
            self.secrets_stay_secret(node, f"records in {type(write).__name__}", write)
            for promise, detail in view.take(write):
                self.broken(promise, node, detail)
            if isinstance(write, AbandonIntent | ForgetCanary):
                self._signed.pop((node, write.request_id), None)
        for certificate in view.fresh_certificates():
            if view.signs:
                self._one_more_signature(node, certificate)
            else:
                self.a_relay_holds_what_was_signed(node, certificate)
        for request_id in view.touched_requests():
            self.everything_is_bounded(
                node, "attempts", len(view.attempts_of(request_id)), ATTEMPTS_MAX
            )

    # -- 1 ----------------------------------------------------------------------------

    def no_answer_is_cut_off(self, who: str, what: str) -> None:
        """Nobody waits in vain on a connection that nothing happened to."""
        self.broken("no_answer_is_cut_off", who, what)

    def gives_way(self, connection: Hashable) -> None:
        """A node closes one of the two connections that a member has to it."""
        self._gave_way.add(connection)

    def gave_way(self, connection: Hashable) -> bool:
        """Whether a connection was one too many: what was asked on it is asked again."""
        return connection in self._gave_way

    def drained(self, node: str, link: LinkId) -> None:
        """A node closes a connection in order: what it owes on it was sent."""
        owed = self._nodes[node].calls.get(link)
        if owed:
            names = ", ".join(asking.cn for _, asking in owed.values())
            self.no_answer_is_cut_off(node, f"closes before the answer for {names}")

    # -- 2 ----------------------------------------------------------------------------

    def durable_before_spoken(self, node: str, command: Answer | Push | Ask) -> None:
        """What a node says stands in its ledger already, and holds no secret."""
        if isinstance(command, Ask):
            # A parent is to have the ticket: in its place, and nowhere else.
            rest = replace(command.params, ticket="").to_params()
            self.secrets_stay_secret(node, "tells a parent", rest)
            self._durable_ask(node, command)
        elif isinstance(command, Push):
            self.secrets_stay_secret(node, "pushes", command.params.to_params())
            self._durable_certificate(node, command.params.cert)
        else:
            self.secrets_stay_secret(node, "answers", dict(command.result))
            self._answered(node, command)

    def _durable_ask(self, node: str, command: Ask) -> None:
        if command.call.startswith(CALL_PREFIX):
            return
        attempt = self.view(node).attempt(command.call.rpartition(".")[0])
        if attempt is None:
            self._not_durable(node, "forwards an attempt that is not recorded")
        elif attempt.ticket_digest != ticket_digest(command.params.ticket):
            self._not_durable(node, "forwards another ticket than the recorded one")

    def _durable_certificate(self, node: str, pem: str) -> None:
        try:
            der = read_pem(pem)
        except PKIError:
            self.a_certificate_fits(node, "hands out what is no certificate")
            return
        if not self.view(node).holds_certificate(der):
            self._not_durable(node, "hands out a certificate that is not recorded")

    def _durable_attempt(self, node: str, asking: Asking) -> AttemptRecord | None:
        attempt = self.view(node).attempt_of(
            asking.fingerprint, ticket_digest(asking.ticket)
        )
        if attempt is None:
            self._not_durable(node, f"speaks of {asking.cn}, which is not recorded")
        return attempt

    def _not_durable(self, node: str, detail: str) -> None:
        self.broken("durable_before_spoken", node, detail)

    def _answered(self, node: str, command: Answer) -> None:
        calls = self._nodes[node].calls.get(command.link, {})
        found = calls.pop(id(command.call), None)
        if found is None:
            self.broken("one_call_one_answer", node, "answers a call nobody made")
            return
        _, asking = found
        result = CertificateResult.parse(command.result)
        if result.status_code == 0:
            self._durable_certificate(node, result.cert)
            self.a_certificate_fits_its_asker(node, asking, result.cert)
        elif result.status_code == 2:
            self._durable_attempt(node, asking)
        else:
            self._refused(node, asking, result)

    # -- 3 and 4 ----------------------------------------------------------------------

    def one_request_one_certificate(self, node: str, detail: str) -> None:
        """A request has one certificate at each of our signers, for ever.

        Signers share no ledger.  Where a fault, or a node that is not ours, takes a
        request to two of them, each signs once; where nothing goes wrong only one does.
        """
        self.broken("one_request_one_certificate", node, detail)

    def _one_more_signature(self, node: str, certificate: CertificateRecord) -> None:
        request = self.view(node).requests[certificate.request_id]
        signature = Signature(node, request.request_id, certificate.serial)
        self.issued.add(request.cn, request.key_id, signature)
        if not self.one_signature_is_enough:
            return
        signed = self.issued.of_request(request.cn, request.key_id, request.request_id)
        if len(signed) > 1:
            names = " and ".join(sorted(each.signer for each in signed))
            self.one_request_one_certificate(
                node, f"{names} signed {request.cn} although nothing went wrong"
            )

    def a_relay_holds_what_was_signed(
        self, node: str, certificate: CertificateRecord
    ) -> None:
        """What a relay has, first or surplus, a signer signed for that name and key."""
        request = self.view(node).requests.get(certificate.request_id)
        if request is None:
            return
        self.a_signer_signed(node, request.cn, request.key_id, certificate.serial)

    def a_signer_signed(self, who: str, cn: str, key_id: str, serial: str) -> None:
        """A certificate that counts for something comes from a signer."""
        if not self.issued.was_signed(cn, key_id, serial):
            detail = f"takes serial {serial[:8]} for {cn}, which no signer signed"
            self.broken("only_a_parent_changes_an_identity", who, detail)

    def no_certificate_without_decision(self, node: str, command: Sign) -> None:
        """The CA key signs what a recorded decision and intent allow, always the same."""
        view = self.view(node)
        name = "no_certificate_without_decision"
        about = command.request_id[:8]
        intent = view.intents.get(command.request_id)
        if intent is None or intent.tbs != command.tbs:
            self.broken(name, node, f"signs {about} without a recorded intent")
        if command.request_id not in view.decisions:
            self.broken(name, node, f"signs {about} without a recorded decision")
        signed = self._signed.setdefault((node, command.request_id), command.tbs)
        if signed != command.tbs:
            self.one_request_one_certificate(node, f"signs {about} a second way")

    # -- 5 ----------------------------------------------------------------------------

    def a_refusal_stays_with_its_attempt(self, node: str, asking: Asking) -> None:
        """Only who brought a wrong ticket hears that the ticket is wrong."""
        if (
            asking.fingerprint,
            ticket_digest(asking.ticket),
        ) in self.lies_about_tickets:
            self.lies_passed_on += 1
            return
        if not asking.ticket or self._ticket_is_valid(asking.cn, asking.ticket):
            kind = "a right" if asking.ticket else "no"
            self.broken(
                "a_refusal_stays_with_its_attempt",
                node,
                f"tells {asking.cn} of a wrong ticket, which came with {kind} ticket",
            )

    def a_flood_refuses_only_itself(self, who: str, *, innocent: bool) -> None:
        """Whoever never brought a wrong ticket is not refused for the rate of them."""
        if innocent:
            self.broken(
                "a_flood_refuses_only_itself",
                who,
                "is refused for wrong tickets that others brought",
            )

    def _refused(self, node: str, asking: Asking, result: CertificateResult) -> None:
        if result.ca:
            self.broken("a_refusal_carries_no_ca", node, f"refuses {asking.cn}")
        if result.reason == Reason.WRONG_TICKET.value:
            self.a_refusal_stays_with_its_attempt(node, asking)
            attempt = self._durable_attempt(node, asking)
            if attempt is not None and not self.view(node).was_refused(attempt):
                self._not_durable(node, f"refuses {asking.cn}, which is not recorded")

    # -- 6 and 7 ----------------------------------------------------------------------

    def a_certificate_fits_its_asker(self, node: str, asking: Asking, pem: str) -> None:
        """A certificate is for the name and the key that were asked for."""
        judged = self._nodes[node]
        if (pem, asking.cn, asking.key_id) in self._fitting:
            return
        try:
            certificate = read_pem(pem)
            verify_issued(
                certificate,
                cn=asking.cn,
                key_id=asking.key_id,
                anchor=judged.anchor,
                at=begun(certificate, WallTime(WALL_START + self._timeline.seconds)),
            )
        except PKIError as error:
            self.a_certificate_fits(node, f"gives {asking.cn} a wrong one: {error}")
            return
        self._fitting.add((pem, asking.cn, asking.key_id))

    def pushed(self, node: str, command: Push, peer: Peer) -> None:
        """A certificate goes out unasked, to those who wait for it."""
        waiting = self._nodes[node].waiting.get(command.link, {})
        asking = waiting.get(command.params.fingerprint_request)
        if asking is None:
            self.a_certificate_fits(node, "pushes a certificate nobody asked for")
            return
        self.a_certificate_fits_its_asker(node, asking, command.params.cert)
        if peer.certificate is not None and read_pem(command.params.cert) == read_der(
            peer.certificate
        ):
            self.broken(
                "nothing_to_do_is_left_alone", node, f"pushes {asking.cn} its own"
            )

    def a_certificate_fits(self, who: str, detail: str) -> None:
        """A certificate that is handed out or installed is the right one."""
        self.broken("a_certificate_fits", who, detail)

    def only_a_parent_changes_an_identity(self, who: str, detail: str) -> None:
        """Nobody installs what a stranger sent."""
        self.broken("only_a_parent_changes_an_identity", who, detail)

    def ordered_about_itself(self, who: str, order: object) -> None:
        """Where nothing goes wrong no parent refuses a certificate, but a new one.

        Its clock may say that an Icinga signer's has not begun: that is tried again.
        """
        if not self.nothing_goes_wrong:
            return
        if isinstance(order, InstallIdentity):
            self._put_back.pop(who, None)
            self._installed[who] = order.certificate
        elif isinstance(order, RollBackIdentity):
            if self._may_not_have_begun(self._installed.get(who)):
                self._put_back[who] = self._timeline.seconds, order.reason
            else:
                self.broken("no_good_certificate_is_given_up", who, order.reason)

    def _may_not_have_begun(self, pem: str | None) -> bool:
        if pem is None:
            return False
        begins = read_pem(pem).not_valid_before_utc.timestamp()
        age = WALL_START + self._timeline.seconds - begins
        return age < 2 * CLOCKS_APART_SECONDS_MAX

    def what_was_put_back_was_tried_again(self) -> None:
        """Judge at the end what was put back early enough before it."""
        for who, (at, reason) in self._put_back.items():
            if self._timeline.seconds - at > 2 * CLOCKS_APART_SECONDS_MAX + 1.0:
                self.broken("no_good_certificate_is_given_up", who, reason)

    # -- 8 ----------------------------------------------------------------------------

    def secrets_stay_secret(self, who: str, does: str, told: object) -> None:
        """No log line, no answer, no push and nothing recorded for people has a ticket.

        Args:
            who: the node.
            does: what it does with the words, as in "logs".
            told: the words; what their `repr` leaves out is not looked at.
        """
        if self._secret in repr(told):
            self.broken("secrets_stay_secret", who, f"{does}: a ticket is in it")

    def tickets_are_forgotten(self) -> None:
        """No settled or refused attempt keeps its ticket (judged at the end too)."""
        for name, node in self._nodes.items():
            for attempt in node.view.attempts.values():
                settled = node.view.certificate_of(attempt.request_id) is not None
                if attempt.ticket and settled:
                    detail = f"a ticket of the settled {attempt.request_id[:8]} is kept"
                    self.broken("tickets_are_forgotten", name, detail)

    # -- 9 and 10 -----------------------------------------------------------------------

    def everything_is_bounded(
        self, node: str, what: str, count: int, most: int
    ) -> None:
        """Nothing grows beyond its limit."""
        if count > most:
            detail = f"{what}: {count}, at most {most} expected"
            self.broken("everything_is_bounded", node, detail)

    def it_finishes(self, who: str, detail: str) -> None:
        """When faults have stopped everybody gets the answer that is due."""
        self.broken("it_finishes", who, detail)

    # -- besides ------------------------------------------------------------------------

    def the_first_call_is_the_last(self, who: str, asks: int) -> None:
        """Without a fault a valid ticket is signed on the first call."""
        if asks != 1:
            detail = f"was signed after {asks} calls although nothing went wrong"
            self.broken("the_first_call_is_the_last", who, detail)

    def a_waiting_daemon_is_held(self, who: str, connections: int) -> None:
        """Without a fault a daemon gets its certificate on the connection it holds."""
        if connections != 1:
            detail = f"had to connect {connections} times although nothing went wrong"
            self.broken("a_waiting_daemon_is_held", who, detail)

    def no_bug_shows(self, who: str, detail: str) -> None:
        """No internal error is logged."""
        self.broken("no_bug_shows", who, detail)

    def broken(self, promise: str, who: str, detail: str) -> None:
        """Write a violation down."""
        if len(self.violations) < VIOLATIONS_KEPT_MAX:
            self.violations.append(
                Violation(promise, self._timeline.seconds, who, detail)
            )


def begun(certificate: x509.Certificate, at: WallTime) -> WallTime:
    """Return a moment at which a certificate has begun: by its signer's clock it has."""
    return WallTime(max(at, certificate.not_valid_before_utc.timestamp()))


def _asking(event: CertificateAsked, peer: Peer) -> Asking:
    ticket, has_id = event.params.ticket, event.call is not None
    try:
        if event.params.cert_request:
            certificate = read_pem(event.params.cert_request)
        elif peer.certificate is not None:
            certificate = read_der(peer.certificate)
        else:
            return Asking("nobody", "", "", ticket, peer.is_member, has_id)
        return Asking(
            cn=common_name(certificate),
            key_id=key_id(certificate),
            fingerprint=fingerprint(certificate),
            ticket=ticket,
            member=peer.is_member,
            has_id=has_id,
        )
    except PKIError:
        return Asking("nobody", "", "", ticket, peer.is_member, has_id)
