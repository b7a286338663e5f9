"""The command line: one module per command group, each of them thin.

`main` is what the program `icefloe` runs, under whichever name.  The groups are listed
in `icefloe.cli.app` and imported when they are called.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the process was started with, and exit."""
    from icefloe.cli.app import run
    from icefloe.cli.invocation import program_name

    sys.exit(run(sys.argv[1:], program=program_name(sys.argv[0])))
