"""A process whose wall clock can be stepped while it runs, by libfaketime.

The monotonic clock stays the machine's: a step of the wall clock is what NTP, an
operator or a resumed virtual machine does, and timers are not to notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from icefloe.storage.files import write_file

_PLACES: Final = ("/usr/lib", "/usr/local/lib", "/lib")
_NAME: Final = "libfaketimeMT.so.1"
_MODE: Final = 0o644


def find_library() -> Path | None:
    """Return libfaketime's library, or None (Debian: apt-get install faketime)."""
    for place in _PLACES:
        found = sorted(Path(place).glob(f"**/faketime/{_NAME}"))
        if found:
            return found[0]
    return None


class FakedClock:
    """The clock of one process, or of several.

    Attributes:
        offset: Seconds that it is ahead of the machine's.
    """

    def __init__(self, library: Path, file: Path) -> None:
        """Begin with the right time.

        Args:
            library: See `find_library`.
            file: Where the offset is kept; the process must be able to read it.
        """
        self._library = library
        self._file = file
        self.offset = 0.0
        self.step(0.0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the process is to be started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Else libfaketime 0.9.10 waits on the wrong clock where a thread of Python
            # waits for another one, and the process stands still for seconds.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def step(self, offset: float) -> None:
        """Let the clock be so many seconds ahead; negative for behind."""
        self.offset = offset
        write_file(self._file, f"{offset:+g}\n".encode(), mode=_MODE)
