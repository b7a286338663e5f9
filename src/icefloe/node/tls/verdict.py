"""Who the other end of a TLS connection has shown itself to be.

Icinga's cluster asks for certificates and never insists: a handshake with an unknown,
expired or missing certificate *succeeds*, and what the peer may do is decided
afterwards (protocol: Icinga 2 decides identity after the handshake).  So OpenSSL's
verification runs with a callback that overrides every failure, and this module keeps
what the callback saw.

The verdict is **deny unless proven**: a peer counts as verified only if OpenSSL called
back for the peer's own certificate (depth 0) with success, and no call reported an
error.  No call at all, as with a resumed session or without a certificate, leaves it
unverified.  `SSL_get_verify_result` is of no use here: pyOpenSSL resets it when the
callback overrides (CVE-2024-49369 was such a verdict that began as "OK").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from OpenSSL import SSL

from icefloe.node.tls.openssl import verify_error_text
from icefloe.pki.certificates import common_name, dns_names, load_der
from icefloe.pki.errors import CertificateInvalid

ERRORS_KEPT_MAX: Final = 8
"""Verification errors remembered per connection.  A peer may send a chain of a
hundred bad certificates; the first few say enough."""

DNS_NAMES_SHOWN_MAX: Final = 4
"""DNS names quoted in an objection; a certificate may have hundreds."""


class Verdict:
    """What OpenSSL's verification said about one connection's peer.

    Lives as the `SSL.Connection`'s app data.  During a handshake it may be written
    from a pool thread; it is read when the handshake is over.
    """

    __slots__ = ("_errors", "_failed", "_leaf_accepted")

    def __init__(self) -> None:
        self._leaf_accepted = False
        self._failed = False
        self._errors: list[int] = []

    @property
    def chain_verified(self) -> bool:
        """Whether the peer's certificate chains to our CA, now, unrevoked."""
        return self._leaf_accepted and not self._failed

    @property
    def errors(self) -> tuple[int, ...]:
        """`X509_V_ERR_...` numbers in the order seen, at most `ERRORS_KEPT_MAX`.

        The exact numbers differ between OpenSSL versions; decide by
        `chain_verified`.
        """
        return tuple(self._errors)

    def record(self, *, accepted: bool, error: int, depth: int) -> None:
        """Take one call of the verify callback."""
        if not accepted or error:
            self._failed = True
            if error not in self._errors and len(self._errors) < ERRORS_KEPT_MAX:
                self._errors.append(error)
        elif depth == 0:
            self._leaf_accepted = True


def record_and_accept(
    connection: SSL.Connection, _certificate: Any, error: int, depth: int, ok: int
) -> bool:
    """Verify callback for `SSL.Context.set_verify`: writes down, refuses nobody.

    It must not raise: pyOpenSSL keeps such an exception on the *context* and raises
    it in whichever connection fails next.
    """
    verdict = connection.get_app_data()
    if isinstance(verdict, Verdict):
        verdict.record(accepted=ok == 1, error=error, depth=depth)
    return True


@dataclass(frozen=True, slots=True)
class EndpointExpected:
    """The peer must be the endpoint of this name (a daemon dialling).

    protocol: Icinga 2 demands a trusted chain, OpenSSL's host check against the
    endpoint's name, and a common name equal to it byte for byte.
    """

    name: str


@dataclass(frozen=True, slots=True)
class CertificatePinned:
    """The peer must present exactly this certificate; nothing else matters.

    A command with `--trustedcert` demands it.

    Attributes:
        certificate: The certificate, DER.
    """

    certificate: bytes


Expectation = EndpointExpected | CertificatePinned | None
"""What the dialling side demands; `None` takes anybody and checks the chain only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """What is known of the other end once the handshake is done.

    Attributes:
        certificate: The peer's certificate, DER; `None` if it sent none.  Untrusted
            bytes unless `verified`.
        chain: Certificates it sent beside that, DER, the first few; never verified
            one by one.  An Icinga 2 node sends its root here.
        verified: Whether the certificate proves the peer's name.  Server side: it
            chains to our CA and is valid and unrevoked.  Dialling an endpoint: the
            name matches as well.  Pinned: the bytes are the pinned ones.
        errors: OpenSSL's verification errors, for the log.
        objections: Everything that speaks against the peer, in words.
        tls_version: `TLSv1.2` or `TLSv1.3`.
        cipher: OpenSSL's name of the cipher suite.
        address: Numeric address of the peer, IPv4-mapped ones as IPv4.
        port: The peer's TCP port.
        server_name: SNI the client sent (server side), or `None`.  Anything goes: IP
            literals and `name:suffix` are usual.
    """

    certificate: bytes | None
    chain: tuple[bytes, ...]
    verified: bool
    errors: tuple[int, ...]
    objections: tuple[str, ...]
    tls_version: str
    cipher: str | None
    address: str
    port: int
    server_name: str | None


def judge(
    verdict: Verdict, certificate: bytes | None, expectation: Expectation
) -> tuple[bool, tuple[str, ...]]:
    """Decide whether the peer is verified.

    Args:
        verdict: What the handshake recorded.
        certificate: The peer's certificate, DER, or `None`.
        expectation: What the dialling side demands; `None` on the server side.

    Returns:
        Whether it is verified, and every objection in words (empty if verified).
    """
    if certificate is None:
        return False, ("no certificate",)
    if isinstance(expectation, CertificatePinned):
        if certificate == expectation.certificate:
            return True, ()
        return False, ("not the pinned certificate",)
    objections = [verify_error_text(code) for code in verdict.errors]
    if not verdict.chain_verified and not objections:
        objections.append("certificate was not verified in this handshake")
    if isinstance(expectation, EndpointExpected):
        objections += _name_objections(certificate, expectation.name)
    return verdict.chain_verified and not objections, tuple(objections)


def _name_objections(certificate: bytes, name: str) -> list[str]:
    try:
        parsed = load_der(certificate)
        claimed = common_name(parsed)
    except CertificateInvalid as error:
        return list(error.reasons)
    objections = []
    if claimed != name:
        objections.append(f"common name is {claimed!r}, not {name!r}")
    # As OpenSSL's host check: with DNS names present the common name does not count.
    # Stricter in one point: a wildcard names no endpoint.
    found = dns_names(parsed)
    if found and name.lower() not in (one.lower() for one in found):
        listed = ", ".join(repr(one) for one in found[:DNS_NAMES_SHOWN_MAX])
        objections.append(f"DNS names are {listed}, not {name!r}")
    return objections
