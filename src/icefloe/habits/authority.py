"""What a signer can do that others cannot: check tickets, and sign."""

from __future__ import annotations

from typing import Final, Protocol

from cryptography import x509

from icefloe.doors import Entropy, WallTime
from icefloe.pki import certificates, profiles, tickets
from icefloe.pki.keys import PrivateKey, require_supported

_LEAF_SECONDS: Final = 397 * 86400
"""protocol: the leaf's lifetime in all versions that have a row in this package."""


class Authority(Protocol):
    """The CA key and the ticket salt, behind two questions.

    The simulator has one that costs nothing; `IcingaAuthority` is the real thing.
    """

    @property
    def has_salt(self) -> bool:
        """Whether there is a ticket salt; without one no ticket is looked at."""
        ...

    def ticket_is_valid(self, common_name: str, ticket: str) -> bool:
        """Say whether this is the ticket for this name."""
        ...

    def sign(self, request: x509.Certificate, now: WallTime) -> str:
        """Return a new certificate (PEM) for the key and the subject of `request`.

        Each call makes a new certificate with a new serial, as Icinga's signer does.

        Raises:
            IcefloeError: It cannot sign; the requester is told so as an exception.
        """
        ...


class IcingaAuthority:
    """Signs for real, at the cost of a PBKDF2 per ticket and a signature per call."""

    def __init__(
        self, *, ca: str, key: PrivateKey, salt: str, entropy: Entropy
    ) -> None:
        """Keep the CA.

        Args:
            ca: The CA certificate, PEM.
            key: Its private key.
            salt: The ticket salt, empty for none.
            entropy: Where serial numbers come from.
        """
        self._ca = certificates.load_pem(ca)
        self._key = key
        self._salt = salt
        self._entropy = entropy

    @property
    def has_salt(self) -> bool:
        """Whether there is a ticket salt."""
        return bool(self._salt)

    def ticket_is_valid(self, common_name: str, ticket: str) -> bool:
        """Compute the ticket and compare (10 to 20 ms)."""
        return tickets.ticket_matches(ticket, common_name, self._salt)

    def sign(self, request: x509.Certificate, now: WallTime) -> str:
        """Sign anew; valid from exactly now, as Icinga's certificates are."""
        tbs = profiles.leaf_tbs(
            cn=certificates.common_name(request),
            public_key=require_supported(request.public_key()),
            issuer=self._ca,
            serial=profiles.serial_from(self._entropy.bytes(profiles.SERIAL_BYTES)),
            not_before=now,
            not_after=WallTime(now + _LEAF_SECONDS),
        )
        signature = profiles.sign_tbs(self._key, tbs)
        return certificates.to_pem(
            profiles.assemble(tbs, signature, self._key.public_key())
        )
