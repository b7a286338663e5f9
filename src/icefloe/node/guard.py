"""Whether this node may stand where it is configured to stand.

Until Icefloe runs checks, a node of ours in a real node's seat would stop
monitoring without anybody noticing. So it refuses to start there, saying why.
"""

from __future__ import annotations

from icefloe.cluster.zones import monitoring_conflicts
from icefloe.config.model import NodeConfiguration

DECLARATIONS_SHOWN_MAX = 5


def objections(configuration: NodeConfiguration) -> tuple[str, ...]:
    """Say why this node would hurt monitoring; empty when it would not.

    Each sentence names the zone or the objects, the file and the remedy.
    """
    directories = configuration.directories
    found = [
        (
            f"zone '{conflict.zone}' ({directories.zones_conf}) has another endpoint, "
            f"'{conflict.endpoint}': a real Icinga node there would leave half of the "
            "zone's checks to this node, which runs none. If it is an Icefloe node "
            f'too, add it to const IcefloeEndpoints = [ "{conflict.endpoint}" ] in '
            f"{directories.constants_conf}"
        )
        for conflict in monitoring_conflicts(configuration.zones)
    ]
    declared = configuration.monitoring_objects
    if declared:
        shown = "; ".join(str(each) for each in declared[:DECLARATIONS_SHOWN_MAX])
        more = len(declared) - DECLARATIONS_SHOWN_MAX
        found.append(
            "this node is configured to monitor, and Icefloe does not run checks yet: "
            + shown
            + (f"; and {more} more" if more > 0 else "")
            + ". Keep icinga2 here and put Icefloe beside it (icefloe gateway), or "
            "take the objects away"
        )
    return tuple(found)
