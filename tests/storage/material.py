"""Identities on disk, with certificates and times that no clock moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from tests.pki.makers import (
    AGENT,
    DAY,
    NOW,
    ca_made_by_us,
    certificate,
    ec_key,
    leaf_made_by_us,
)

from icefloe.doors import WallTime
from icefloe.pki.certificates import to_pem
from icefloe.pki.keys import PrivateKey
from icefloe.storage.identity import IdentityFiles
from icefloe.storage.keys import encode_private_key

CA_KEY = ec_key(1)
NEW_CA_KEY = ec_key(2)
NODE_KEY = ec_key(3)

CA = ca_made_by_us(CA_KEY, end=NOW + 100 * DAY, serial=1)
RENEWED_CA = ca_made_by_us(CA_KEY, end=NOW + 5000 * DAY, serial=2)
FOREIGN_CA = ca_made_by_us(NEW_CA_KEY, serial=3)
# A CA with a new key, for which the old one vouches.
HEIR_CA = certificate(
    subject="Icinga CA", key=NEW_CA_KEY, signed_by=CA_KEY, issuer="Icinga CA", ca=True
)

SELF_SIGNED = certificate(subject=AGENT, key=NODE_KEY)
ISSUED = leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, serial=11)
REISSUED = leaf_made_by_us(RENEWED_CA, CA_KEY, key=NODE_KEY, serial=12)
ISSUED_BY_HEIR = leaf_made_by_us(HEIR_CA, NEW_CA_KEY, key=NODE_KEY, serial=13)


class Lines:
    """A narrator that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def information(self, text: str, *, facility: str = "cli") -> None:
        self.told.append(f"information/{facility}: {text}")

    def warning(self, text: str, *, facility: str = "cli") -> None:
        self.told.append(f"warning/{facility}: {text}")


@dataclass
class CountingEntropy:
    """Draws another number each time, the same ones in each run."""

    drawn: int = field(default=0)

    def bytes(self, count: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(count, "big")

    def uniform(self, low: float, high: float) -> float:
        del high
        return low


def certs_dir(
    root: Path,
    *,
    key: PrivateKey | None = NODE_KEY,
    certificate: x509.Certificate | None = SELF_SIGNED,
    ca: x509.Certificate | None = None,
    ticket: str | None = None,
) -> Path:
    """Lay out an identity as icinga2 does."""
    directory = root / "certs"
    directory.mkdir(mode=0o700)
    files = IdentityFiles.of_node(directory, AGENT)
    if key is not None:
        files.key.write_bytes(encode_private_key(key))
        files.key.chmod(0o600)
    if certificate is not None:
        files.certificate.write_text(to_pem(certificate))
    if ca is not None:
        files.ca.write_text(to_pem(ca))
    if ticket is not None:
        (directory / "ticket").write_text(ticket)
    return directory


def later(seconds: float) -> WallTime:
    return WallTime(NOW + seconds)
