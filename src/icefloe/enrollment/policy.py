"""Who may have a certificate for which name without a person's approval.

Rules of trust at the signer (docs/architecture.md, "Rules of trust"). Pure
functions over plain values: they decide, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from icefloe.cluster.zones import ZoneTree
from icefloe.enrollment.model import KnownKey, Origin
from icefloe.enrollment.reasons import Reason


@dataclass(frozen=True, slots=True)
class Gate:
    """Why a valid ticket is not enough and a person must approve.

    Attributes:
        reason: stable code.
        text: one sentence for the operator.
        needs_reserved: the approval must say `--reserved`.
    """

    reason: Reason
    text: str
    needs_reserved: bool


def gate(
    *,
    cn: str,
    key_id: str,
    origin: Origin,
    forwarder_zone: str | None,
    known_key: KnownKey | None,
    reserved_names: frozenset[str],
    tree: ZoneTree | None,
) -> Gate | None:
    """Decide whether a first request needs a person although its ticket is valid.

    Args:
        cn: the name asked for.
        key_id: the key asked for.
        origin: how the attempt came.
        forwarder_zone: the zone of the member that forwarded it.
        known_key: the first key ever seen for the name.
        reserved_names: names whose second key a ticket must not sign.
        tree: the zones, or None without any.

    Returns:
        None when a valid ticket suffices.
    """
    needs = reserved_gate(
        cn=cn, key_id=key_id, known_key=known_key, reserved_names=reserved_names
    )
    if needs is not None:
        return needs
    is_known = known_key is not None and known_key.key_id == key_id
    if origin is Origin.RELAYED and not is_known:
        return _subtree_gate(cn, forwarder_zone, tree)
    return None


def reserved_gate(
    *,
    cn: str,
    key_id: str,
    known_key: KnownKey | None,
    reserved_names: frozenset[str],
) -> Gate | None:
    """Decide whether signing this key takes an approval with `--reserved`.

    A ticket, and a plain approval, sign a reserved name's first key only.
    """
    if cn not in reserved_names or known_key is None or known_key.key_id == key_id:
        return None
    text = (
        f"'{cn}' is a reserved name (a master, a satellite or an API user) "
        "and already has another key"
    )
    return Gate(Reason.RESERVED_NAME, text, needs_reserved=True)


def _subtree_gate(
    cn: str, forwarder_zone: str | None, tree: ZoneTree | None
) -> Gate | None:
    zone = tree.zone_of(cn) if tree is not None else None
    if tree is None or zone is None:
        return None
    if forwarder_zone is None or tree.is_at_or_below(zone, forwarder_zone):
        return None
    text = (
        f"'{cn}' belongs to zone '{zone}', which is not below zone "
        f"'{forwarder_zone}' that forwarded the request"
    )
    return Gate(Reason.OUTSIDE_SUBTREE, text, needs_reserved=False)
