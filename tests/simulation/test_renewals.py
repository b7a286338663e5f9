"""A thousand agents renew their certificates: spread evenly, and whatever the signer does.

The cores of the agents and of their signer are production's; the network between them is
a function call.  What is simulated is time: months of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from cryptography import x509

from icefloe.cluster.peer import Peer, Standing
from icefloe.cluster.zones import Relation
from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment import expiry, own
from icefloe.enrollment.renewal import RenewalPolicy, window_of
from icefloe.enrollment.settings import OwnIdentity
from icefloe.pki.certificates import key_id, load_pem, to_pem
from icefloe.pki.profiles import assemble, leaf_tbs, sign_tbs
from icefloe.pki.trust import verify_issued
from icefloe.wire.catalogue import CertificateResult
from tests.enrollment.playbook import (
    DAY,
    START,
    Bench,
    answers,
    ca,
    issued_certificate,
    key,
    relay,
    signer,
)

# Whole histories, with the coverage measured, on a machine that is busy with others.
pytestmark = pytest.mark.timeout(900)

AGENTS = 1_000
LIFE = 397 * DAY
BUCKETS = 20
CHI_SQUARE_MAX = 43.8
"""Of 19 degrees of freedom: an even spread is above it once in a thousand times."""


def rolled_out(number: int) -> x509.Certificate:
    """Return the certificate of one agent: all of them were signed within an hour."""
    born = WallTime(START + 3_600.0 * number / AGENTS)
    tbs = leaf_tbs(
        cn="s1",
        public_key=key(20_000 + number).public_key(),
        issuer=ca(),
        serial=1_000_003 * (number + 1),
        not_before=born,
        not_after=WallTime(born + LIFE),
    )
    return assemble(tbs, sign_tbs(key(9_000), tbs), key(9_000).public_key())


@dataclass
class Signer:
    """One signer, and when it is away."""

    bench: Bench
    away: tuple[float, float] = (0.0, 0.0)
    lies: bool = False
    asked: int = 0

    def is_there(self, seconds: float) -> bool:
        return not self.away[0] <= seconds < self.away[1]

    def answer(
        self, certificate: x509.Certificate, ask: cmd.Ask, seconds: float
    ) -> CertificateResult:
        self.asked += 1
        if self.lies:
            forged = issued_certificate("s1", 40, serial=self.asked)
            return CertificateResult(status_code=0, cert=to_pem(forged))
        self.bench.now = moment(seconds)
        link = self.bench.stranger(certificate, verified=True)
        asked = ev.CertificateAsked(link, ev.CallId(ask.call), ask.params)
        (result,) = answers(self.bench.tell(asked))
        self.bench.tell(ev.LinkDown(link))
        self.bench.said.clear()
        return result


def moment(seconds: float) -> Now:
    return Now(wall=WallTime(START + seconds), mono=MonotonicTime(seconds))


@dataclass
class Agent:
    """One agent: its core, and what became of its certificate."""

    number: int
    signer: Signer
    seconds: float
    bench: Bench = field(init=False)
    renewed_at: float | None = None
    parent: ev.LinkId | None = None

    def __post_init__(self) -> None:
        self.first = self.certificate = rolled_out(self.number)
        settings = relay(own=OwnIdentity(certificate=self.certificate)).settings
        self.bench = Bench(settings, now=moment(self.seconds))
        self.connect(self.seconds)

    def connect(self, seconds: float) -> None:
        """Be connected as the signer is there, or not."""
        self.bench.now = moment(seconds)
        there = self.signer.is_there(seconds)
        if there and self.parent is None:
            self.parent = ev.LinkId(self.bench.links + 1)
            self.bench.links += 1
            self.tell(ev.LinkUp(self.parent, PARENT, upstream=True))
            self.tell(ev.PeerIsIcefloe(self.parent))
        elif not there and self.parent is not None:
            parent, self.parent = self.parent, None
            self.tell(ev.LinkDown(parent))

    def wake(self, seconds: float) -> None:
        self.connect(seconds)
        self.tell(ev.DeadlineReached())

    def tell(self, event: ev.Event) -> None:
        seconds = self.bench.now.mono
        for command in self.bench.tell(event):
            if isinstance(command, cmd.Ask) and self.signer.is_there(seconds):
                result = self.signer.answer(self.certificate, command, seconds)
                self.tell(ev.ParentAnswered(command.link, command.call, result))
            elif isinstance(command, cmd.InstallIdentity):
                self.install(load_pem(command.certificate))
        self.bench.said.clear()

    def has_renewed(self) -> bool:
        return self.renewed_at is not None

    def install(self, certificate: x509.Certificate) -> None:
        verify_issued(
            certificate,
            cn="s1",
            key_id=key_id(self.first),
            anchor=self.signer.bench.settings.anchor,  # type: ignore[arg-type]
            at=self.bench.now.wall,
        )
        assert self.renewed_at is None, "once"
        self.renewed_at, self.certificate = self.bench.now.mono, certificate
        settings = replace(
            self.bench.settings, own=OwnIdentity(certificate=certificate)
        )
        self.bench.core.reconfigure(settings, self.bench.now)


PARENT = Peer(
    standing=Standing.MEMBER,
    common_name="m1",
    certificate=None,
    key_id=None,
    verified=True,
    relation=Relation.PARENT,
    zone="master",
    address="192.0.2.1:5665",
)


def lived(agents: list[Agent], until: float) -> Iterator[Agent]:
    """Let time pass for all of them; yields each as it has renewed."""
    due: list[tuple[float, int]] = [(0.0, agent.number) for agent in agents]
    back = agents[0].signer.away
    due += [(at, agent.number) for at in back for agent in agents if at]
    heapq.heapify(due)
    while due:
        at, number = heapq.heappop(due)
        agent = agents[number]
        if at > until or agent.renewed_at is not None:
            continue
        agent.wake(max(at, agent.bench.now.mono))
        if agent.has_renewed():
            yield agent
        elif (following := agent.bench.core.next_deadline) is not None:
            heapq.heappush(due, (max(following, at + 1.0), number))


def crowd(authority: Signer, *, count: int = AGENTS) -> list[Agent]:
    """Return agents a while before the window begins."""
    begins = 0.65 * LIFE
    return [Agent(number, authority, begins) for number in range(count)]


@pytest.fixture(autouse=True)
def _rare_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks are right here: to look each hour costs time and shows nothing."""
    monkeypatch.setattr(own, "LOOK_EVERY", 5 * DAY)
    monkeypatch.setattr(expiry, "EXPIRE_EVERY", 5 * DAY)


@pytest.fixture
def authority() -> Signer:
    return Signer(Bench(signer().settings, now=moment(0.65 * LIFE)))


@pytest.mark.no_cover
def test_a_thousand_simulated_agents_renew_spread_evenly(authority: Signer) -> None:
    agents = crowd(authority)
    window = window_of(agents[0].first, RenewalPolicy())
    moments = [agent.renewed_at for agent in lived(agents, LIFE) if agent.renewed_at]
    assert len(moments) == AGENTS
    assert authority.asked == AGENTS  # one asking each
    first, last = window.begins - START, window.closes - START + 3_600.0
    assert first <= min(moments) <= max(moments) <= last
    width = (last - first) / BUCKETS
    counts = [0] * BUCKETS
    for at in moments:
        counts[min(int((at - first) / width), BUCKETS - 1)] += 1
    expected = AGENTS / BUCKETS
    chi_square = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_square < CHI_SQUARE_MAX, counts
    busiest_day = max(sum(1 for at in moments if d <= at < d + DAY) for d in moments)
    assert busiest_day <= 30  # of 1,000 in 105 days


@pytest.mark.no_cover
def test_renewal_survives_a_signer_outage_across_the_window(authority: Signer) -> None:
    """It goes before the window begins and comes back ten days before the end."""
    authority.away = (0.655 * LIFE, LIFE - 10 * DAY)
    agents = crowd(authority, count=200)
    assert len(list(lived(agents, LIFE))) == 200
    for agent in agents:
        assert agent.renewed_at is not None
        assert authority.away[1] <= agent.renewed_at < LIFE - 9 * DAY


@pytest.mark.no_cover
def test_an_outage_within_the_window_delays_only_those_who_were_due(
    authority: Signer,
) -> None:
    authority.away = (0.75 * LIFE, 0.8 * LIFE)
    agents = crowd(authority, count=200)
    assert len(list(lived(agents, LIFE))) == 200
    for agent in agents:
        due = window_of(agent.first, RenewalPolicy()).due - START
        begins, ends = authority.away
        expected = ends if begins <= due < ends else due
        assert agent.renewed_at == pytest.approx(expected, abs=60.0)


@pytest.mark.no_cover
def test_what_does_not_verify_is_never_installed(
    authority: Signer,
) -> None:
    """From a signer that lies for five days, each minute; then it is honest."""
    authority.lies = True
    agents = crowd(authority, count=1)
    due = window_of(agents[0].first, RenewalPolicy()).due - START
    assert list(lived(agents, due + 5 * DAY)) == []
    assert authority.asked > 5_000
    authority.lies = False
    assert len(list(lived(agents, LIFE))) == 1
