"""`python -m icefloe` is the program `icefloe`."""

from __future__ import annotations

from icefloe.cli import main

if __name__ == "__main__":
    main()
