"""Whether the peer of an open connection still stands where it stood.

Who a peer is gets decided once, after the handshake (`identify`).  A reload may change
what that stood on: zones and endpoints, the CA file, the revocation list.  Then every
open connection is judged again here, by its peer's certificate, and only those whose
peer would be somebody else today are closed; they come again as who they are now.

What speaks against the list, or against a clock, does not speak against a peer that was
verified when both were good: a list past its nextUpdate keeps new connections out (TLS
sees to that) and throws nobody out.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from icefloe.cluster.peer import Peer, identify
from icefloe.cluster.zones import Relation, ZoneTree
from icefloe.doors import WallTime
from icefloe.pki.certificates import load_der
from icefloe.pki.errors import PKIError, ReasonCode
from icefloe.pki.trust import TrustAnchor

_K = TypeVar("_K", bound=Hashable)

_DECISIVE: Final = frozenset(
    {
        ReasonCode.ISSUER_UNKNOWN,
        ReasonCode.BAD_SIGNATURE,
        ReasonCode.EXPIRED,
        ReasonCode.ISSUER_EXPIRED,
        ReasonCode.REVOKED,
        ReasonCode.REVOCATION_LIST_MISSING,
    }
)
"""Reasons that a reload, or the time since the handshake, can bring about."""


@dataclass(frozen=True, slots=True)
class Change:
    """Why a connection has to go.

    Attributes:
        reason: stable code: ``certificate-not-valid``, ``endpoint-removed`` or
            ``standing-changed``.
        detail: for people.
    """

    reason: str
    detail: str


def change_of(
    peer: Peer,
    *,
    before: ZoneTree | None,
    tree: ZoneTree | None,
    anchor: TrustAnchor | None,
    at: WallTime,
) -> Change | None:
    """Judge the peer of an open connection by what the node stands on now.

    Args:
        peer: as it was identified.
        before: the zone tree of that time.
        tree: the zone tree of now.
        anchor: the trust of now; None trusts nobody.
        at: the time.

    Returns:
        None while it stands as it did.  Whoever proved nothing has nothing to lose.
    """
    if not peer.verified or peer.certificate is None:
        return None
    doubts = objections(peer.certificate, anchor, at)
    if doubts:
        return Change("certificate-not-valid", "; ".join(doubts))
    now = identify(
        tree=tree,
        certificate_der=peer.certificate,
        verified=True,
        address=peer.address,
    )
    if peer.is_member and not now.is_member:
        detail = "no zone of ours has this endpoint any more"
        return Change("endpoint-removed", detail)
    if (peer.standing, peer.zone, peer.relation) != (
        now.standing,
        now.zone,
        now.relation,
    ) or is_upstream(peer, before) is not is_upstream(now, tree):
        return Change("standing-changed", f"was {_words(peer)}, is {_words(now)}")
    return None


def changes(
    peers: Mapping[_K, Peer],
    *,
    before: ZoneTree | None,
    tree: ZoneTree | None,
    anchor: TrustAnchor | None,
    at: WallTime,
) -> dict[_K, Change]:
    """Judge many peers; returns those that have to go. See `change_of`."""
    judged = {
        key: change_of(peer, before=before, tree=tree, anchor=anchor, at=at)
        for key, peer in peers.items()
    }
    return {key: change for key, change in judged.items() if change is not None}


def objections(
    certificate: bytes, anchor: TrustAnchor | None, at: WallTime
) -> tuple[str, ...]:
    """Say what proves that a certificate (DER) is no longer good; empty: nothing."""
    if anchor is None:
        return ("there is no trusted CA any more",)
    try:
        problems = anchor.problems(load_der(certificate), at)
    except PKIError as error:
        return (str(error),)
    return tuple(each for each in problems if each.code in _DECISIVE)


def is_upstream(peer: Peer, tree: ZoneTree | None) -> bool:
    """Whether requests are forwarded to a peer.

    To the parents, and to those of our own zone where there is no parent zone.
    """
    if tree is None or not peer.is_member:
        return False
    if tree.parent_zone is None:
        return peer.relation is Relation.SAME_ZONE
    return peer.relation is Relation.PARENT


def _words(peer: Peer) -> str:
    if peer.relation is None or peer.zone is None:
        return "a stranger"
    return f"{peer.relation.value} in zone '{peer.zone}'"
