"""Names of canaries: identities that are enrolled to see whether signing works.

`icefloe check enrollment` enrolls one through a real path, every hour perhaps, and
throws its key away.  What it leaves behind is to be little and harmless, so the prefix
of its name is kept for canaries, and every Icefloe node knows four rules for it:

* a signer lets its certificate live for `CANARY_LIFETIME` only, and renews none;
* signer and relay forget its request that long after it was last touched: by then the
  certificate of a signer of ours has ended, so what is still valid stands in the
  ledger, as for every other name;
* no key is remembered as the first one of such a name: the next run has another;
* whoever shows such a certificate is no member of a cluster, whatever its
  configuration says; so no node is set up with such a name.

Real Icinga nodes know nothing of this: a signer's certificate lives for 397 days there.
"""

from __future__ import annotations

from typing import Final

from icefloe.pki.errors import CommonNameInvalid
from icefloe.pki.names import check_common_name
from icefloe.pki.profiles import LEAF_LIFETIME

__all__ = [
    "CANARY_LIFETIME",
    "CANARY_PREFIX",
    "check_node_name",
    "is_canary",
    "lifetime_for",
]

CANARY_PREFIX: Final = "icefloe-canary-"
"""How a canary's common name begins, byte for byte."""

CANARY_LIFETIME: Final = 15 * 60
"""Seconds from now to the notAfter of a canary's certificate, and how long a ledger
keeps its request: time to look at what went wrong."""


def is_canary(cn: str) -> bool:
    """Say whether a name is one of those kept for canaries."""
    return cn.startswith(CANARY_PREFIX)


def check_node_name(cn: str) -> str:
    """Return `cn` when a node, or its parent, may be set up with this name.

    Raises:
        CommonNameInvalid: No certificate may bear it, or it is a canary's.
    """
    check_common_name(cn)
    if is_canary(cn):
        raise CommonNameInvalid(
            cn,
            problem=f"names that begin with '{CANARY_PREFIX}' are canaries', which are "
            "no members of a cluster",
            advice="choose another name",
        )
    return cn


def lifetime_for(cn: str) -> int:
    """Return the seconds from now to the notAfter of a certificate for a name."""
    return CANARY_LIFETIME if is_canary(cn) else LEAF_LIFETIME
