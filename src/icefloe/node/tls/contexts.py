"""TLS contexts: what this node shows and asks in a handshake.

One context serves many connections and is never changed: to reload, build a new one and
use it from the next connection on.  Decisions here and their reasons:

* Client certificates are asked for and never refused; see `icefloe.node.tls.verdict`.
* Sessions are never resumed.  A resumed session skips certificate verification, so it
  would come out unverified; not offering it spares peers the surprise.
* The chain sent is the leaf *and* its CA certificate: an Icinga 2 signer looks at the
  root in the client's chain to see whether it must hand out a renewed CA.
* `X509_STRICT` stays off: Icinga's certificates have no key identifiers.
* TLS 1.2 with DHE alone is not offered: pyOpenSSL can load DH parameters from files
  only, and nothing that speaks Icinga's protocol lacks ECDHE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from icefloe.node.errors import TLSConfigurationInvalid
from icefloe.node.tls.verdict import record_and_accept
from icefloe.pki.certificates import is_self_issued, load_pem_all
from icefloe.pki.errors import CertificateInvalid

DEFAULT_CIPHER_LIST: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
    ":ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    ":ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
    ":DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256"
)
"""TLS 1.2 ciphers (protocol: Icinga 2.14 and later); TLS 1.3 has OpenSSL's own."""

PROTOCOL_MINIMA: Final = {
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}
"""What `tls_protocolmin` may say."""

_SESSION_ID_CONTEXT = b"Icinga 2"
_CRL_BEGIN = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSIdentity:
    """Key, certificate and trust of this node, as read from its files.

    Attributes:
        certificate_pem: Own certificate, PEM; further certificates in it are sent
            along as intermediates.  May be self-signed (before enrollment).
        key_pem: Its private key, PEM, unencrypted, RSA or EC.
        ca_pem: Trusted CA certificates, PEM, one or more; `None` trusts nobody.
        crl_pem: Revocation lists, PEM, one or more; `None` checks none.  With a list
            every peer's certificate needs one of its issuer, else it is unverified.
    """

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    ca_pem: bytes | None = None
    crl_pem: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSettings:
    """What an operator may set (`ApiListener`).

    Attributes:
        cipher_list: OpenSSL cipher list for TLS 1.2.
        tls_protocolmin: `TLSv1.2` or `TLSv1.3`.
    """

    cipher_list: str = DEFAULT_CIPHER_LIST
    tls_protocolmin: str = "TLSv1.2"


def server_context(
    identity: TLSIdentity, settings: TLSSettings | None = None
) -> SSL.Context:
    """Make the context for accepted connections.

    Args:
        identity: Who we are and whom we trust.
        settings: Ciphers and versions; default Icinga's.

    Returns:
        A context to be used with `icefloe.node.tls.handshake.accept`.

    Raises:
        TLSConfigurationInvalid: Naming the part that cannot be used.
    """
    context = _context(SSL.TLS_SERVER_METHOD, settings or TLSSettings())
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_session_id(_SESSION_ID_CONTEXT)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE, record_and_accept)
    authorities = _load_authorities(identity.ca_pem)
    _present(context, identity, authorities)
    _trust(context, authorities, identity.crl_pem)
    for authority in authorities:
        context.add_client_ca(authority)
    return context


def client_context(
    identity: TLSIdentity | None, settings: TLSSettings | None = None
) -> SSL.Context:
    """Make the context for dialled connections.

    Args:
        identity: Who we are and whom we trust; a command that has nothing yet gives
            a self-signed certificate without `ca_pem`, or `None` to show none.
        settings: Ciphers and versions; default Icinga's.

    Returns:
        A context to be used with `icefloe.node.tls.handshake.connect`.

    Raises:
        TLSConfigurationInvalid: Naming the part that cannot be used.
    """
    context = _context(SSL.TLS_CLIENT_METHOD, settings or TLSSettings())
    context.set_verify(SSL.VERIFY_PEER, record_and_accept)
    if identity is not None:
        authorities = _load_authorities(identity.ca_pem)
        _present(context, identity, authorities)
        _trust(context, authorities, identity.crl_pem)
    return context


def _context(method: int, settings: TLSSettings) -> SSL.Context:
    context = SSL.Context(method)
    minimum = PROTOCOL_MINIMA.get(settings.tls_protocolmin)
    if minimum is None:
        raise TLSConfigurationInvalid(
            part="tls_protocolmin",
            reason=f"{settings.tls_protocolmin!r} is not one of"
            f" {', '.join(PROTOCOL_MINIMA)}",
        )
    context.set_min_proto_version(minimum)
    try:
        context.set_cipher_list(settings.cipher_list.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError) as error:
        raise TLSConfigurationInvalid(
            part="cipher_list", reason="OpenSSL knows no cipher in it"
        ) from error
    context.set_options(
        SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # 16 KB less per idle connection, 33 KB less after a large message.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def _present(
    context: SSL.Context, identity: TLSIdentity, authorities: Sequence[x509.Certificate]
) -> None:
    own = _load_certificates(identity.certificate_pem, part="certificate")
    try:
        context.use_certificate(own[0])
        for certificate in own[1:] + _completing_chain(own[-1], authorities):
            context.add_extra_chain_cert(certificate)
    except (SSL.Error, crypto.Error) as error:
        raise _refused("certificate", error) from error
    try:
        context.use_privatekey(_load_key(identity.key_pem))
        context.check_privatekey()
    except SSL.Error as error:
        raise _refused("key", error) from error


def _load_key(pem: bytes) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        # Our own file: checking an RSA-4096 key takes 0.2 s and holds the GIL, and
        # use_privatekey compares it with the certificate anyway.
        key = load_pem_private_key(
            pem, password=None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError as error:
        raise TLSConfigurationInvalid(part="key", reason="it is encrypted") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TLSConfigurationInvalid(
            part="key", reason="no private key in PEM form"
        ) from error
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise TLSConfigurationInvalid(part="key", reason="neither RSA nor EC")
    return key


def _load_certificates(pem: bytes, *, part: str) -> list[x509.Certificate]:
    try:
        return list(load_pem_all(pem))
    except CertificateInvalid as error:
        reason = "; ".join(error.reasons)
        raise TLSConfigurationInvalid(part=part, reason=reason) from error


def _load_authorities(pem: bytes | None) -> list[x509.Certificate]:
    return [] if pem is None else _load_certificates(pem, part="ca")


def _completing_chain(
    last: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """The CA certificates from `last`'s issuer up to the root.

    Of several that fit (a renewed CA has the same name and key) the one that expires
    last: it is the one this node wants its children to have.
    """
    chain: list[x509.Certificate] = []
    while not is_self_issued(last) and len(chain) < len(authorities):
        issuers = [ca for ca in authorities if ca not in chain and _issued(ca, last)]
        if not issuers:
            break
        last = max(issuers, key=lambda ca: ca.not_valid_after_utc)
        chain.append(last)
    return chain


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _trust(
    context: SSL.Context, authorities: Sequence[x509.Certificate], crl_pem: bytes | None
) -> None:
    store = context.get_cert_store()
    assert store is not None, "a context has a certificate store"
    # OpenSSL reads everything again, and refuses some things that our parser takes.
    try:
        for authority in authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
    except crypto.Error as error:
        raise _refused("ca", error) from error
    if crl_pem is None:
        return
    try:
        for crl in _load_crls(crl_pem):
            store.add_crl(crl)
    except crypto.Error as error:
        raise _refused("crl", error) from error
    # The leaf only, as Icinga does: its CA publishes no list about itself.
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK)


def _load_crls(pem: bytes) -> list[x509.CertificateRevocationList]:
    blocks = pem.split(_CRL_BEGIN)[1:]
    try:
        crls = [x509.load_pem_x509_crl(_CRL_BEGIN + block) for block in blocks]
    except (ValueError, x509.InvalidVersion) as error:
        raise TLSConfigurationInvalid(
            part="crl", reason="no revocation list in PEM form"
        ) from error
    if not crls:
        raise TLSConfigurationInvalid(part="crl", reason="no revocation list in it")
    return crls


def _refused(part: str, error: SSL.Error | crypto.Error) -> TLSConfigurationInvalid:
    queue = error.args[0] if error.args else []
    words = [str(entry[2]) for entry in queue if entry[2]]
    return TLSConfigurationInvalid(
        part=part, reason="; ".join(words) or "refused by OpenSSL"
    )
