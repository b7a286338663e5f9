"""Who is at the other end of a connection.

TLS accepts any certificate and none (tools, agents with a self-signed certificate and
strangers all come to the same port).  Who the peer *is* gets decided here, once, after
the handshake, from its certificate, from whether that certificate verified, and from
the zone tree.  Default-deny: everybody is anonymous who is not proven to be a member.

Source: Icinga 2's decision about a connection's identity after the TLS handshake.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from icefloe.cluster.zones import Relation, ZoneTree
from icefloe.errors import IcefloeError
from icefloe.pki.canaries import is_canary
from icefloe.pki.certificates import common_name, key_id, load_der
from icefloe.pki.errors import PKIError

LABEL_CHARACTERS_MAX = 100
"""How much of a stranger's common name goes into a log line."""


class Standing(enum.Enum):
    """Whether a peer belongs to the cluster."""

    MEMBER = "member"
    ANONYMOUS = "anonymous"


class PeerRejected(IcefloeError):
    """The connection must be closed: its certificate names nobody we could talk to.

    Attributes:
        reason: stable code: ``certificate-invalid``, ``wrong-name`` or
            ``no-certificate``.
        detail: a sentence, made from our own words and sanitized names.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of one connection.

    Attributes:
        standing: member of the cluster, or anonymous.
        common_name: first common name of its certificate, None without certificate.
            A claim and no more, unless `verified`.
        certificate: its certificate, DER.
        key_id: hex SHA-256 of its SubjectPublicKeyInfo.
        verified: the certificate chains to our trust anchor, is valid and not revoked.
        relation: how its zone stands to ours; None unless a member.
        zone: name of its zone; None unless a member.
        address: where it connected from or was dialled, for logs.
        presented_root: the self-issued certificate (DER) among those it sent along,
            from which a signer sees which CA certificate the peer still uses.
    """

    standing: Standing
    common_name: str | None
    certificate: bytes | None = field(default=None, repr=False)
    key_id: str | None = None
    verified: bool = False
    relation: Relation | None = None
    zone: str | None = None
    address: str = ""
    presented_root: bytes | None = field(default=None, repr=False)

    @property
    def is_member(self) -> bool:
        """Whether it is a configured endpoint with a verified certificate."""
        return self.standing is Standing.MEMBER

    @property
    def label(self) -> str:
        """Its name for logs and messages: printable, short, never empty."""
        return printable(self.common_name or "anonymous")


def identify(
    *,
    tree: ZoneTree | None,
    certificate_der: bytes | None,
    verified: bool,
    address: str,
    expected_name: str | None = None,
    presented_root_der: bytes | None = None,
) -> Peer:
    """Decide who is at the other end.

    Args:
        tree: the zone tree; None for a node that is no member of any (a memberless
            gateway, a command), to which everybody is anonymous.
        certificate_der: what the peer presented, None for nothing.
        verified: the final verdict of TLS about it: handshake finished, certificate
            present, chain, validity and CRL good.
        address: for logs.
        expected_name: for a connection that we dialled: the endpoint we want.
        presented_root_der: see `Peer.presented_root`.

    Raises:
        PeerRejected: the certificate cannot be read or has no common name, or the
            dialled node is not the expected one.  Close the connection.
    """
    if certificate_der is None:
        if expected_name is not None:
            raise PeerRejected(
                "no-certificate",
                f"expected '{printable(expected_name)}', got no certificate",
            )
        return Peer(standing=Standing.ANONYMOUS, common_name=None, address=address)
    try:
        certificate = load_der(certificate_der)
        name = common_name(certificate)
        key = key_id(certificate)
    except PKIError as error:
        raise PeerRejected(
            "certificate-invalid", f"the peer's certificate is unusable: {error}"
        ) from error
    if expected_name is not None and name != expected_name:
        raise PeerRejected(
            "wrong-name",
            f"expected '{printable(expected_name)}', found '{printable(name)}'",
        )
    zone = _membership(tree, name) if verified else None
    member = tree is not None and zone is not None
    return Peer(
        standing=Standing.MEMBER if member else Standing.ANONYMOUS,
        common_name=name,
        certificate=certificate_der,
        key_id=key,
        verified=verified,
        relation=tree.relation(name) if tree is not None and member else None,
        zone=zone,
        address=address,
        presented_root=presented_root_der,
    )


def _membership(tree: ZoneTree | None, name: str) -> str | None:
    # Whoever shows our own certificate is a command run on this very machine (or a
    # thief).  Neither speaks for another node, so neither is a member.
    if tree is None or name == tree.node_name:
        return None
    # A canary's identity is thrown away as soon as it is there; an Endpoint of that
    # name is a mistake, or the work of who wants to be forgotten.
    if is_canary(name):
        return None
    return tree.zone_of(name)


def printable(text: str) -> str:
    """Make a stranger's text fit for a log line.

    Returns:
        At most `LABEL_CHARACTERS_MAX` characters, unprintable ones replaced.
    """
    cut = text[:LABEL_CHARACTERS_MAX]
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cut
    )
