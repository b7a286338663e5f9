"""Who the parents are, what they show, and whether that is to be trusted.

Whoever is asked for a certificate is told the ticket, so nobody is asked before it is
known who answers.  A CA certificate is the best pin: a parent's own certificate is
renewed every year, and one that was kept is then refused for ever.
"""

import socket
import ssl
from typing import List, NamedTuple, Optional, Tuple

from ansible_collections.icefloe.icefloe.plugins.module_utils.certificate import (
    Certificate,
    NotACertificate,
    decode_certificate,
    pem_blocks,
    plain_fingerprint,
    read_certificate,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.problems import Problem

DEFAULT_PORT = 5665
CONNECT_SECONDS = 15.0
PEM_BEGIN = "-----BEGIN"


class Parent(NamedTuple):
    """A node of the zone above.

    Attributes:
        name: The common name in its certificate.
        host: Its name or address.
        port: Its port.
    """

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Trust(NamedTuple):
    """What says which parent to trust; anything of it is enough.

    Attributes:
        ca_pem: The CA's certificate; the parent then has to bear its own name, too.
        fingerprints: SHA-256 of certificates of parents, plain.
        pinned: Certificates of parents (DER).
        first_use: Whether the first that answers is believed.
    """

    ca_pem: Optional[str]
    fingerprints: Tuple[str, ...]
    pinned: Tuple[bytes, ...]
    first_use: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing says whom to trust."""
        known = self.ca_pem or self.fingerprints or self.pinned
        return not known and not self.first_use


def read_trust(
    ca: Optional[str],
    fingerprints: List[str],
    certificates: List[str],
    *,
    first_use: bool = False,
) -> Trust:
    """Read what a module's options say about trust; PEM text and paths alike.

    Raises:
        Problem: Something of it cannot be used.
    """
    try:
        plain = tuple(plain_fingerprint(each) for each in fingerprints)
        pinned = tuple(
            read_certificate(pem_of(each, "trusted_certificates")).der
            for each in certificates
        )
        ca_pem = pem_of(ca, "ca_certificate") if ca else None
        if ca_pem is not None:
            read_certificate(ca_pem)
            ca_pem = pem_blocks(ca_pem)
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca_pem)
    except (ValueError, TypeError) as error:
        raise Problem("trust-missing", f"what is to be trusted: {error}") from None
    except ssl.SSLError as error:
        said = f"ca_certificate: {error.reason or error}"
        raise Problem("trust-missing", said) from None
    return Trust(ca_pem, plain, pinned, first_use)


def pem_of(value: str, option: str) -> str:
    """Return PEM text: the value itself, or what the file holds that it names.

    Raises:
        Problem: The file cannot be read.
    """
    if PEM_BEGIN in value:
        return value
    try:
        with open(value, encoding="ascii", errors="replace") as source:
            return source.read()
    except OSError as error:
        said = f"{option}: '{value}' cannot be read: {error.strerror}"
        raise Problem("trust-missing", said) from None


def trusted_certificate(parent: Parent, trust: Trust) -> Certificate:
    """Return the certificate that a parent shows now, when it is to be trusted.

    Raises:
        Problem: The parent cannot be reached, or is not the one that is trusted.
    """
    leaf = _shown(parent, None)
    if leaf.der in trust.pinned or leaf.fingerprint in trust.fingerprints:
        return leaf
    if trust.ca_pem is not None:
        # OpenSSL judges the chain in a handshake of its own: only then is it known
        # that whoever shows the certificate has its key as well.
        leaf = _shown(parent, trust.ca_pem)
        if leaf.common_name != parent.name:
            raise Problem(
                "trust-mismatch",
                f"{parent} shows the certificate of '{leaf.common_name}', and "
                f"'{parent.name}' is expected",
            )
        return leaf
    if trust.first_use:
        return leaf
    raise Problem(
        "trust-mismatch",
        f"{parent} shows a certificate that is not trusted: '{leaf.common_name}', "
        f"SHA-256 {leaf.fingerprint}",
    )


def see_that_it_was_signed(parent: Parent, leaf: Certificate, ca_pem: str) -> None:
    """See that a CA has signed the certificate by which a parent was recognised.

    So a CA certificate that came along is bound to a fingerprint that somebody compared.

    Raises:
        Problem: It has not, or the parent cannot be reached just now.
    """
    if _shown(parent, ca_pem).der != leaf.der:
        said = f"{parent} shows another certificate than a moment ago"
        raise Problem("unreachable", said)


def _shown(parent: Parent, ca_pem: Optional[str]) -> Certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # Icinga's names are names of nodes, not of hosts
    context.verify_mode = ssl.CERT_NONE
    if ca_pem is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=ca_pem)
    try:
        plain = socket.create_connection((parent.host, parent.port), CONNECT_SECONDS)
        with plain, context.wrap_socket(plain) as secured:
            der = secured.getpeercert(binary_form=True)
    except socket.gaierror as error:
        said = f"'{parent.host}' has no address here: {error.strerror}"
        raise Problem("name-not-resolved", said) from None
    except (ssl.SSLError, ssl.CertificateError) as error:
        raise _of_tls(parent, error, judged=ca_pem is not None) from None
    except OSError as error:
        said = f"{parent} cannot be reached: {error.strerror or error}"
        raise Problem("unreachable", said) from None
    except UnicodeError:
        said = f"'{parent.host}' cannot be a name in the DNS"
        raise Problem("name-not-resolved", said) from None
    except OverflowError:
        said = f"{parent} cannot be reached: a port goes from 1 to 65535"
        raise Problem("unreachable", said) from None
    try:
        return decode_certificate(der or b"")
    except NotACertificate:
        raise Problem("tls-failed", f"{parent} shows no certificate") from None


def _of_tls(parent: Parent, error: Exception, *, judged: bool) -> Problem:
    why = getattr(error, "verify_message", "")
    if judged and (why or getattr(error, "reason", "") == "CERTIFICATE_VERIFY_FAILED"):
        because = f": {why}" if why else ""
        said = f"{parent} shows a certificate that is not from the given CA{because}"
        return Problem("trust-mismatch", said)
    reason = getattr(error, "reason", None) or str(error)
    return Problem("tls-failed", f"no TLS connection with {parent}: {reason}")
