"""What `--version` prints.

protocol: Puppet takes the first number of the form 1.2.3 in the first line that
matches `icinga2.+version: (v|r)?`; Icinga Director's script wants
`(version: 1.2.3...)`.  They ask which Icinga 2 they can treat us as, so that line bears
the version our Hello bears; our own is in the next one.
"""

from __future__ import annotations

import platform

from icefloe import __version__


def version_text() -> str:
    """Return the lines, each ended."""
    # Here, for start-up: every command imports this module, hardly one runs it.
    from icefloe.wire.catalogue import OUR_VERSION, format_version

    return (
        "icinga2 - Icefloe, a node of an Icinga 2 cluster "
        f"(version: {format_version(OUR_VERSION)})\n\n"
        f"Icefloe {__version__}, Python {platform.python_version()}\n"
    )
