"""Conversations with one enrollment core, written as scripts.

A `Bench` is a core on a memory ledger with a clock that stands still until it is
moved. What the core orders is collected; signatures and ticket checks are done at
once unless a test holds them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.cluster.peer import Peer, Standing
from icefloe.cluster.zones import Endpoint, Relation, Zone, ZoneTree
from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment import administration
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.core import EnrollmentCore, TurnResult
from icefloe.enrollment.ledger import Write
from icefloe.enrollment.memory_ledger import MemoryLedger
from icefloe.enrollment.model import (
    AttemptRecord,
    DecisionKind,
    RequestRecord,
    request_id,
)
from icefloe.enrollment.own import CALL_PREFIX
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.pki.certificates import common_name, fingerprint, key_id, to_pem
from icefloe.pki.profiles import (
    BACKDATE,
    LEAF_LIFETIME,
    assemble,
    ca_certificate,
    leaf_tbs,
    self_signed,
    sign_tbs,
)
from icefloe.pki.tickets import ticket, ticket_matches
from icefloe.pki.trust import TrustAnchor
from icefloe.wire.catalogue import (
    CertificateResult,
    RequestCertificate,
    UpdateCertificate,
)

CommandT = TypeVar("CommandT", bound=cmd.Command)

START = WallTime(1_800_000_000.0)
SALT = "5b4b4d5e"
DAY = 86_400.0


class CountingEntropy:
    """Randomness that never repeats and never surprises."""

    def __init__(self) -> None:
        self._count = 0

    def bytes(self, count: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(count, "big")

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


@cache
def key(number: int) -> ec.EllipticCurvePrivateKey:
    """Return the key of that number, always the same."""
    return ec.derive_private_key(1_000 + number, ec.SECP256R1())


@cache
def ca(number: int = 0) -> x509.Certificate:
    """Return the CA certificate of that number."""
    return ca_certificate(
        key(9_000 + number),
        serial=7_000 + number,
        not_before=WallTime(START - 100 * DAY),
        not_after=WallTime(START + 3_650 * DAY),
    )


@cache
def expiring_ca() -> x509.Certificate:
    """Return an older certificate of the CA's key, that ends in ten days."""
    return ca_certificate(
        key(9_000),
        serial=6_999,
        not_before=WallTime(START - 3_000 * DAY),
        not_after=WallTime(START + 10 * DAY),
    )


@cache
def renewed_ca() -> x509.Certificate:
    """Return the CA's new certificate, younger than what it issued before."""
    return ca_certificate(
        key(9_000),
        serial=7_001,
        not_before=WallTime(START - 10 * DAY),
        not_after=WallTime(START + 3_650 * DAY),
    )


@cache
def anchor(number: int = 0) -> TrustAnchor:
    """Return the trust in that CA."""
    return TrustAnchor.from_pem(to_pem(ca(number)))


@cache
def request_certificate(
    cn: str = "agent", number: int = 1, serial: int = 1
) -> x509.Certificate:
    """Return a self-signed certificate, the request of a new node."""
    return self_signed(
        cn,
        key(number),
        serial=serial,
        not_before=WallTime(START - BACKDATE),
        not_after=WallTime(START + LEAF_LIFETIME),
    )


def issued_certificate(
    cn: str = "agent",
    number: int = 1,
    *,
    serial: int = 500,
    days_left: float = 397,
    days_old: float = 30,
    ca_number: int = 0,
) -> x509.Certificate:
    """Return a certificate that the CA signed."""
    tbs = leaf_tbs(
        cn=cn,
        public_key=key(number).public_key(),
        issuer=ca(ca_number),
        serial=serial,
        not_before=WallTime(START - days_old * DAY),
        not_after=WallTime(START + days_left * DAY),
    )
    signature = sign_tbs(key(9_000 + ca_number), tbs)
    return assemble(tbs, signature, key(9_000 + ca_number).public_key())


def revoking(*certificates: x509.Certificate) -> TrustAnchor:
    """Return the trust in the CA with its revocation list."""
    at = datetime.fromtimestamp(START, UTC)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=ca().subject,
        last_update=at - timedelta(days=1),
        next_update=at + timedelta(days=900),
    )
    for certificate in certificates:
        entry = x509.RevokedCertificateBuilder(
            serial_number=certificate.serial_number,
            revocation_date=at - timedelta(hours=1),
        )
        builder = builder.add_revoked_certificate(entry.build())
    crl = builder.sign(key(9_000), hashes.SHA256())
    return TrustAnchor.from_pem(to_pem(ca()), crl.public_bytes(Encoding.PEM))


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate's DER."""
    return certificate.public_bytes(Encoding.DER)


def tree(node_name: str) -> ZoneTree:
    """Return master <- satellite <- agent, and a second satellite."""
    return ZoneTree(
        zones=[
            Zone("master", endpoints=("m1", "m2")),
            Zone("sat", endpoints=("s1", "s2"), parent="master"),
            Zone("other", endpoints=("o1",), parent="master"),
            Zone("agent", endpoints=("agent",), parent="sat"),
        ],
        endpoints=[Endpoint(n) for n in ("m1", "m2", "s1", "s2", "o1", "agent")],
        node_name=node_name,
    )


@dataclass(slots=True)
class Bench:
    """One core and everything it said."""

    settings: EnrollmentSettings
    now: Now = field(
        default_factory=lambda: Now(wall=START, mono=MonotonicTime(1_000.0))
    )
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    entropy: CountingEntropy = field(default_factory=CountingEntropy)
    said: list[cmd.Command] = field(default_factory=list)
    hold_work: bool = False
    core: EnrollmentCore = field(init=False)
    links: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin a life on the ledger as it is."""
        self.core = EnrollmentCore(settings=self.settings, ledger=self.ledger)
        self.tell(ev.Started())

    def crash(self) -> None:
        """Die and begin another life: connections and memory are gone."""
        self.ledger.crash()
        self.said.clear()
        self.start()

    # -- telling --------------------------------------------------------------

    def tell(self, event: ev.Event) -> list[cmd.Command]:
        """Take one event through a turn; returns what was ordered in it."""
        self.ledger.begin()
        result = self.core.handle(event, self.now, self.entropy)
        self.ledger.apply(result.writes)
        self.ledger.commit()
        return self._released(result)

    def _released(self, result: TurnResult) -> list[cmd.Command]:
        ordered = list(result.commands)
        self.said.extend(ordered)
        if not self.hold_work:
            for command in result.commands:
                ordered.extend(self.work(command))
        return ordered

    def work(self, command: cmd.Command) -> list[cmd.Command]:
        """Carry out a signature or a ticket check."""
        if isinstance(command, cmd.Sign):
            signature = sign_tbs(key(9_000), command.tbs)
            return self.tell(ev.Signed(command.request_id, signature))
        if isinstance(command, cmd.CheckTicket):
            valid = ticket_matches(command.ticket, command.cn, SALT)
            return self.tell(ev.TicketChecked(command.attempt_id, valid))
        return []

    def pass_time(self, seconds: float) -> list[cmd.Command]:
        """Let time pass, with a turn at each deadline on the way."""
        end = self.now.mono + seconds
        ordered: list[cmd.Command] = []
        while (at := self.core.next_deadline) is not None and at <= end:
            self._move_to(max(at, self.now.mono))
            ordered += self.tell(ev.DeadlineReached())
        self._move_to(end)
        return ordered

    def _move_to(self, mono: float) -> None:
        gone = mono - self.now.mono
        self.now = Now(wall=WallTime(self.now.wall + gone), mono=MonotonicTime(mono))

    # -- peers -------------------------------------------------------------------

    def stranger(
        self,
        certificate: x509.Certificate | None = None,
        *,
        verified: bool = False,
        address: str = "192.0.2.1",
    ) -> ev.LinkId:
        """A peer without membership connects."""
        peer = Peer(
            standing=Standing.ANONYMOUS,
            common_name="x" if certificate is not None else None,
            certificate=der(certificate) if certificate is not None else None,
            key_id=key_id(certificate) if certificate is not None else None,
            verified=verified,
            address=f"{address}:1000",
        )
        return self._link(peer, upstream=False)

    def member(
        self,
        name: str,
        *,
        relation: Relation,
        number: int = 50,
        icefloe: bool = False,
        certificate: x509.Certificate | None = None,
    ) -> ev.LinkId:
        """A member connects."""
        certificate = certificate or issued_certificate(name, number, serial=number)
        zones = self.settings.tree
        assert zones is not None
        peer = Peer(
            standing=Standing.MEMBER,
            common_name=name,
            certificate=der(certificate),
            key_id=key_id(certificate),
            verified=True,
            relation=relation,
            zone=zones.zone_of(name),
            address="192.0.2.2:1000",
        )
        upstream = relation is Relation.PARENT
        link = self._link(peer, upstream=upstream)
        if icefloe:
            self.tell(ev.PeerIsIcefloe(link))
        return link

    def parent(self, name: str = "m1", *, icefloe: bool = False) -> ev.LinkId:
        """A parent connects."""
        number = 60 if name == "m1" else 61
        return self.member(
            name, relation=Relation.PARENT, number=number, icefloe=icefloe
        )

    def child(self, name: str = "s1", *, icefloe: bool = False) -> ev.LinkId:
        """A satellite below connects."""
        number = {"s1": 70, "s2": 71, "o1": 72}[name]
        return self.member(
            name, relation=Relation.CHILD, number=number, icefloe=icefloe
        )

    def _link(self, peer: Peer, *, upstream: bool) -> ev.LinkId:
        self.links += 1
        link = ev.LinkId(self.links)
        self.tell(ev.LinkUp(link, peer, upstream=upstream))
        return link

    # -- asking --------------------------------------------------------------------

    def ask(
        self,
        link: ev.LinkId,
        *,
        given: str = "",
        posting: x509.Certificate | None = None,
        call: object | None = "c1",
        requestor_ca: str = "",
    ) -> list[cmd.Command]:
        """Ask for a certificate; `call=None` asks without an id."""
        return self.tell(
            ev.CertificateAsked(
                link,
                ev.CallId(call) if call is not None else None,
                RequestCertificate(
                    ticket=given,
                    cert_request=to_pem(posting) if posting is not None else "",
                    requestor_ca=requestor_ca,
                ),
            )
        )

    def answer_ask(self, ask: cmd.Ask, result: CertificateResult) -> list[cmd.Command]:
        """A parent answers."""
        return self.tell(ev.ParentAnswered(ask.link, ask.call, result))

    def update(
        self, link: ev.LinkId, certificate: x509.Certificate, *, request: str, ca_pem=""
    ) -> list[cmd.Command]:
        """A peer pushes a certificate."""
        params = UpdateCertificate(
            cert=to_pem(certificate),
            ca=ca_pem or to_pem(ca()),
            fingerprint_request=request,
        )
        return self.tell(ev.CertificateUpdated(link, params))

    # -- an operator -------------------------------------------------------------------

    def decide(self, writes: Iterable[Write]) -> list[cmd.Command]:
        """Commit what a command decided beside the daemon, which then sees it."""
        command = self.ledger.another_process()
        command.begin()
        command.apply(writes)
        command.commit()
        return self.tell(ev.LedgerChanged())

    def approve(
        self, request: RequestRecord, *, reserved: bool = False
    ) -> list[cmd.Command]:
        """Approve a request, as `ca sign` does."""
        writes = administration.approve(
            self.ledger,
            request,
            actor="root",
            at=self.now.wall,
            reserved=reserved,
            reserved_names=self.settings.reserved_names,
            node_name=self.settings.node_name,
        )
        return self.decide(writes)

    def remove(self, request: RequestRecord) -> list[cmd.Command]:
        """Decline a request, as `ca remove` does."""
        return self.decide(
            administration.remove(request, actor="root", at=self.now.wall)
        )

    # -- looking ----------------------------------------------------------------------

    def request(self, cn: str = "agent") -> RequestRecord:
        """Return the newest request for a name."""
        return [r for r in self.ledger.requests() if r.cn == cn][-1]

    def request_for(self, certificate: x509.Certificate) -> RequestRecord:
        """Return the first request of a certificate's key and name."""
        name = request_id(
            cn=common_name(certificate), key_id=key_id(certificate), renews=""
        )
        request = self.ledger.request(name)
        assert request is not None
        return request

    def decided(self, cn: str = "agent") -> DecisionKind | None:
        """Return why the newest request for a name was decided; None: it was not."""
        decision = self.ledger.decision(self.request(cn).request_id)
        return decision.kind if decision is not None else None

    def attempts(self, cn: str = "agent") -> Sequence[AttemptRecord]:
        """Return the attempts of the newest request for a name."""
        return self.ledger.attempts(self.request(cn).request_id)


def signer(**changes: object) -> Bench:
    """Return a master with the CA key."""
    settings = EnrollmentSettings(
        node_name="m1",
        tree=tree("m1"),
        anchor=anchor(),
        issuer=ca(),
        checks_tickets=True,
        reserved_names=frozenset({"m1", "m2", "s1", "s2"}),
    )
    return Bench(replace(settings, **changes))  # type: ignore[arg-type]


def relay(**changes: object) -> Bench:
    """Return a satellite without the CA key."""
    settings = EnrollmentSettings(node_name="s1", tree=tree("s1"), anchor=anchor())
    return Bench(replace(settings, **changes))  # type: ignore[arg-type]


def ticket_for(cn: str = "agent") -> str:
    """Return the valid ticket for a name."""
    return ticket(cn, SALT)


WRONG = "0" * 40


def only(kind: type[CommandT], commands: Sequence[cmd.Command]) -> CommandT:
    """Return the one command of a kind; fails when there are none or several."""
    found = [command for command in commands if isinstance(command, kind)]
    assert len(found) == 1, [type(c).__name__ for c in commands]
    return found[0]


def asks(commands: Sequence[cmd.Command]) -> list[cmd.Ask]:
    """Return what is asked of parents."""
    return [command for command in commands if isinstance(command, cmd.Ask)]


def own_asks(commands: Sequence[cmd.Command]) -> list[cmd.Ask]:
    """Return what is asked of parents for the daemon itself."""
    return [ask for ask in asks(commands) if ask.call.startswith(CALL_PREFIX)]


def answers(commands: Sequence[cmd.Command]) -> list[CertificateResult]:
    """Return the results of the answers."""
    return [result_of(c) for c in commands if isinstance(c, cmd.Answer)]


def none_of(kind: type, commands: Sequence[cmd.Command]) -> bool:
    """Whether no command is of a kind."""
    return not any(isinstance(command, kind) for command in commands)


def result_of(answer: cmd.Answer) -> CertificateResult:
    """Read an answer's result object."""
    return CertificateResult.parse(answer.result)


def signed_result(
    certificate: x509.Certificate, *, request: x509.Certificate | None = None
) -> CertificateResult:
    """Return what a parent answers when it signed."""
    return CertificateResult(
        status_code=0,
        cert=to_pem(certificate),
        ca=to_pem(ca()),
        fingerprint_request=fingerprint(request or request_certificate()),
    )


def pending_result(*, reason: str = "", text: str = "pending") -> CertificateResult:
    """Return what a parent answers when it has not decided."""
    facts = {"hop": "m1", "reason": reason} if reason else {}
    return CertificateResult(status_code=2, ca=to_pem(ca()), error=text, icefloe=facts)


def refused_result(
    *, reason: str = "wrong-ticket", text: str = "no", **facts: object
) -> CertificateResult:
    """Return what a parent answers when it refuses."""
    return CertificateResult(
        status_code=1,
        error=text,
        icefloe={"hop": "m1", "reason": reason, **facts} if reason else {},
    )


def hops_of(result: CertificateResult) -> list[tuple[str, str]]:
    """Return which node did what, as an answer tells it."""
    return [
        (str(hop["node"]), str(hop["did"]))
        for hop in result.hops
        if isinstance(hop, dict)
    ]
