"""What the enrollment core knows about its node, and its limits with reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from icefloe.cluster.zones import ZoneTree
from icefloe.doors import WallTime
from icefloe.enrollment.renewal import RenewalPolicy
from icefloe.pki.trust import TrustAnchor


@dataclass(frozen=True, slots=True)
class EnrollmentLimits:
    """Bounds and hold times, in seconds unless named otherwise."""

    # A requester with an id and a ticket waits this long on its connection.
    # Icinga's own client waits 20 s happily (ran); stay well below.
    hold_ticketed: float = 15.0
    # A member (a relay below us) waits longer: it holds nobody's terminal. Unless it
    # is a command, run with a member's certificate: that gives up after 30 s.
    hold_member: float = 25.0
    # A member that asked without an id, or was told "pending", is pushed to for
    # so long; it asks again while anybody below it does.
    hold_member_silent: float = 600.0
    # A stranger whose connection cannot be held is told "pending" before its
    # lifetime of 10 s ends.
    hold_unheld: float = 8.0
    # With no parent connected, a moment's grace for a link that is coming back.
    hold_parentless: float = 2.0
    # A parent that says nothing for so long is passed over for another one.
    parent_silence: float = 2.0
    # With no other parent, the same one is asked again only after so long: a
    # real Icinga signer signs anew at every ask (two serials, ran).
    parent_silence_alone: float = 15.0
    # Intervals of asking a parent again after "pending" (it answers only when
    # asked), then `poll_steady` for `poll_steady_for`, then `poll_slow`.
    poll_first: tuple[float, ...] = (0.25, 0.5, 1.0)
    poll_steady: float = 1.0
    poll_steady_for: float = 600.0
    poll_slow: float = 10.0
    # An Icefloe parent pushes; asking it again is a safety net only.
    poll_icefloe: float = 10.0
    # At most so many repeated asks a second to one parent: a real master serves
    # about 780 (measured), monitoring must not feel us.
    polls_per_second: float = 100.0
    # Of these, so many may be for attempts nobody waits for: what strangers left
    # behind does not delay those who wait.
    polls_unwaited_per_second: float = 20.0
    # A certificate from a parent that cannot be used is asked for again rarely: a
    # real signer signs anew each time.
    poll_unusable: float = 300.0
    # An asking without a ticket stands back for one with a ticket this long.
    stand_back: float = 120.0
    # Unfinished requests kept; beyond it new ones are refused with "later".
    open_requests_max: int = 20_000
    # Of these for one stranger's source, so that one flood leaves room for others; a
    # site behind one address may have thousands of agents waiting for a master.
    open_requests_per_source: int = 5_000
    # The same for a member that forwards them.
    open_requests_per_relay: int = 10_000
    # Attempts kept for one request: a roll-out that tries tickets or remade
    # certificates needs a handful.
    attempts_max: int = 16
    # Of these from one source: who tries tickets for somebody else's certificate
    # takes none of the owner's places.
    attempts_per_source: int = 4
    # Wrong tickets a minute from one stranger's source, and as many at once. People
    # who type need few; comparing one takes 10-20 ms of a signer's CPU.
    wrong_tickets_per_minute: int = 30
    # The same through one member, which carries many agents: at worst a sixth of a
    # core at the signer.
    wrong_tickets_per_relay: int = 600
    # The same for one name, whoever asks; above it each source has its own few.
    wrong_tickets_per_name: int = 60
    wrong_tickets_per_name_and_source: int = 3
    # Peers, names and pairs of both whose wrong tickets are remembered (200 bytes).
    rate_keys_max: int = 65_536
    # Tickets compared at one time, in turn for those who wait: two for each of the
    # threads that do it keep these busy.
    ticket_checks_at_once: int = 8
    # Tickets of one stranger's source that wait to be compared: a site of 2,000 agents
    # that starts at once; two cores compare them in 15 s.
    ticket_checks_waiting: int = 2_048
    # Certificates that tickets sign for one name in a day, each for another key. A
    # machine that is installed again and again needs a few; who found a ticket gets no
    # more, and from then on a person decides.
    certificates_per_name_and_day: int = 20
    # Anonymous connections held for an approval.
    held_links_max: int = 2_000
    # Askers waiting on one anonymous connection, and on one member's.
    waiters_anonymous_max: int = 8
    waiters_member_max: int = 20_000
    # An unfinished request nobody asks about is forgotten (as Icinga: 7 days).
    request_lifetime: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class RefusedCertificate:
    """A certificate of ours that no parent accepted, and that was rolled back.

    Attributes:
        fingerprint: hex SHA-256 of its DER.
        at: when it was rolled back.
        reason: what was seen.
    """

    fingerprint: str
    at: WallTime
    reason: str


@dataclass(frozen=True, slots=True)
class OwnIdentity:
    """This node's own certificate as the daemon sees it.

    Attributes:
        certificate: the certificate the node runs with, self-signed or issued.
        ticket: the ticket kept by `node setup`, or "".
        unconfirmed: no parent has accepted this certificate yet.
        older: what a roll-back would put back in place; None when there is nothing.
        refused: what was put back for the present certificate, if that was the last
            thing that happened to it.
    """

    certificate: x509.Certificate
    ticket: str = field(default="", repr=False)
    unconfirmed: bool = False
    older: x509.Certificate | None = None
    refused: RefusedCertificate | None = None

    @property
    def is_on_trial(self) -> bool:
        """Whether the parents are to see it soon: it is new to them, or back."""
        return self.unconfirmed or self.refused is not None


@dataclass(frozen=True, slots=True)
class EnrollmentSettings:
    """What one node's core stands on. Replaced whole at a reload.

    Attributes:
        node_name: our endpoint name, or the gateway's name.
        tree: zones and endpoints; None for a memberless gateway.
        anchor: the CA we trust; None until this node has one.
        issuer: the CA certificate (`ca/ca.crt`) whose key this node holds; None
            on a relay.
        checks_tickets: a ticket salt is configured at this signer.
        reserved_names: names a ticket may sign only the first key of.
        own: this node's identity, when the daemon is to enroll or renew it.
        renewal: when that is due, and what a signer renews although it expired.
    """

    node_name: str
    tree: ZoneTree | None
    anchor: TrustAnchor | None
    issuer: x509.Certificate | None = None
    checks_tickets: bool = False
    reserved_names: frozenset[str] = frozenset()
    own: OwnIdentity | None = None
    limits: EnrollmentLimits = field(default_factory=EnrollmentLimits)
    renewal: RenewalPolicy = field(default_factory=RenewalPolicy)

    @property
    def signs(self) -> bool:
        """Whether this node holds the CA key."""
        return self.issuer is not None
