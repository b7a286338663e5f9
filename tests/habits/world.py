"""A small PKI and nodes on it, for tests of habits."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.events import CallId, LinkId
from icefloe.errors import IcefloeError
from icefloe.habits import (
    HabitualMaster,
    HabitualSatellite,
    IcingaAuthority,
    Identity,
    habits_of,
)
from icefloe.pki import certificates, profiles

DAY = 86400.0
NOW = Now(wall=WallTime(1_800_000_000.0), mono=MonotonicTime(1000.0))
TICKET = "a valid ticket"
CALL = CallId("11111111-2222-3333-4444-555555555555")


def later(seconds: float, *, since: Now = NOW) -> Now:
    """Return a moment after another."""
    return Now(
        wall=WallTime(since.wall + seconds), mono=MonotonicTime(since.mono + seconds)
    )


class Counting:
    """Entropy whose draws count upward."""

    def __init__(self) -> None:
        self.drawn = 0

    def bytes(self, count: int) -> bytes:
        """Return the number of this draw."""
        self.drawn += 1
        return self.drawn.to_bytes(count, "big")

    def uniform(self, low: float, high: float) -> float:
        """Not used by habits."""
        raise AssertionError((low, high))


@cache
def key(number: int) -> ec.EllipticCurvePrivateKey:
    """Return one of many fixed keys."""
    return ec.derive_private_key(number, ec.SECP256R1())


@cache
def root(*, days: float = 15 * 365, since_days: float = -1, key_number: int = 1) -> str:
    """Return a CA certificate (PEM) with that much validity left."""
    made = profiles.ca_certificate(
        key(key_number),
        serial=1000 + key_number,
        not_before=WallTime(NOW.wall + since_days * DAY),
        not_after=WallTime(NOW.wall + days * DAY),
    )
    return certificates.to_pem(made)


@cache
def self_signed(name: str, *, key_number: int = 10) -> str:
    """Return a node's first certificate (PEM)."""
    made = profiles.self_signed(
        name,
        key(key_number),
        serial=2000,
        not_before=WallTime(NOW.wall - DAY),
        not_after=WallTime(NOW.wall + 397 * DAY),
    )
    return certificates.to_pem(made)


@cache
def signed(
    name: str, *, key_number: int = 10, days: float = 300, ca: str | None = None
) -> str:
    """Return a certificate under the CA (PEM) with that much validity left."""
    tbs = profiles.leaf_tbs(
        cn=name,
        public_key=key(key_number).public_key(),
        issuer=certificates.load_pem(ca or root(since_days=-400)),
        serial=3000,
        not_before=WallTime(NOW.wall - 100 * DAY),
        not_after=WallTime(NOW.wall + days * DAY),
    )
    made = profiles.assemble(tbs, profiles.sign_tbs(key(1), tbs), key(1).public_key())
    return certificates.to_pem(made)


def fingerprint(pem: str) -> str:
    """Return the fingerprint of a certificate."""
    return certificates.fingerprint(certificates.load_pem(pem))


class BrokenCA(IcefloeError):
    """The CA's files are unusable."""


@dataclass
class FakeAuthority:
    """A signer that costs little; the ticket is the same for all names."""

    has_salt: bool = True
    is_broken: bool = False
    real: IcingaAuthority = field(
        default_factory=lambda: IcingaAuthority(
            ca=root(since_days=-400), key=key(1), salt="", entropy=Counting()
        )
    )

    def ticket_is_valid(self, common_name: str, ticket: str) -> bool:
        """Compare with the one good ticket."""
        return bool(common_name) and ticket == TICKET

    def sign(self, request: x509.Certificate, now: WallTime) -> str:
        """Sign, unless the CA is broken."""
        if self.is_broken:
            raise BrokenCA("no key")
        return self.real.sign(request, now)


def identity(name: str, *, ticket: str = "") -> Identity:
    """Return a signed node's files."""
    return Identity(
        certificate=signed(name, key_number=20), ca=root(since_days=-400), ticket=ticket
    )


def satellite(
    version: str, *, dials: tuple[str, ...] = ("master1",)
) -> HabitualSatellite:
    """Return a satellite that was started."""
    made = HabitualSatellite(
        "satellite1",
        habits=habits_of(version),
        identity=identity("satellite1"),
        dials=dials,
    )
    made.start(NOW)
    return made


def master(version: str, authority: FakeAuthority | None = None) -> HabitualMaster:
    """Return a signer that was started."""
    made = HabitualMaster(
        "master1",
        habits=habits_of(version),
        identity=identity("master1"),
        authority=authority or FakeAuthority(),
    )
    made.start(NOW)
    return made


UP, DOWN, PEER, OTHER = LinkId(1), LinkId(2), LinkId(3), LinkId(4)
