"""One target under atheris: `python -m tests.fuzz.atheris_run TARGET [libFuzzer's words]`.

`campaign` starts it.  It is a process of its own because libFuzzer takes the process
over and ends it.
"""

from __future__ import annotations

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["icefloe"]):
    from tests.fuzz import targets

    TARGET = targets.load(sys.argv[1])


def main() -> None:
    """Hand the process to libFuzzer."""
    # A library's warning on a stranger's bytes is a finding, too.
    warnings.simplefilter("error")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGET.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
