"""The journal of a simulated node's identity: the twin of `storage.switching`.

The same order of writing, syncing and renaming: the new certificate is staged, the old
one kept under a second name, the journal says "switching", the staged one takes its
place, the journal says "unconfirmed"; `confirm` and `roll_back` go on from there.  Each
method that changes something yields between any two steps, in which the process may die
or the machine lose its power; `recover` finishes at the next start what was begun.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from icefloe.doors import WallTime
from icefloe.simulation.files import SimulatedFiles

CERTIFICATE: Final = "node.crt"
OLDER: Final = "node.crt.before"
STAGED: Final = ".node.crt.staged"
JOURNAL: Final = "switch.json"

SWITCHING: Final = "switching"
UNCONFIRMED: Final = "unconfirmed"
CONFIRMED: Final = "confirmed"
ROLLED_BACK: Final = "rolled-back"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal says.

    Attributes:
        state: one of the words above.
        new: digest of the certificate that is, or was, put in place.
        older: digest of the one to go back to.
        ends: the state after "switching".
        at: when.
        reason: why it was rolled back.
    """

    state: str
    new: str
    older: str
    ends: str
    at: float
    reason: str = ""

    def encode(self) -> bytes:
        """Return what the file holds; its last line says that it is whole."""
        lines = (self.state, self.new, self.older, self.ends, repr(self.at))
        return "\n".join((*lines, self.reason.replace("\n", " "), "end")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Entry | None:
        """Read it; None for what is not there, or not whole."""
        lines = data.decode("utf-8", "replace").split("\n")
        if len(lines) != 7 or lines[-1] != "end":
            return None
        state, new, older, ends, at, reason, _ = lines
        return cls(state, new, older, ends, float(at), reason)


def digest(pem: bytes) -> str:
    """Name a certificate's file by its content."""
    return hashlib.sha256(pem).hexdigest()


class SwitchJournal:
    """One node's journal."""

    def __init__(self, files: SimulatedFiles) -> None:
        """Keep nothing but the files."""
        self._files = files

    def read(self) -> Entry | None:
        """Return what it says."""
        return Entry.decode(self._files.read(JOURNAL))

    def switch(self, new: bytes, at: WallTime) -> Iterator[None]:
        """Put a certificate in place; nothing when it is there.

        Raises:
            DiskFails: `recover` or another try goes on from there.
        """
        self.recover()
        files = self._files
        if files.read(CERTIFICATE) == new:
            return
        yield from self._stage(new)
        before = self.read()
        if before is None or before.state != UNCONFIRMED:
            # What no parent has accepted is nothing to go back to.
            files.link(CERTIFICATE, OLDER)
            yield
        older = digest(files.read(OLDER))
        entry = Entry(SWITCHING, digest(new), older, UNCONFIRMED, at)
        yield from self._carry_through(entry)

    def confirm(self, at: WallTime, *, new: str) -> Iterator[None]:
        """Note that a parent has accepted it; raises `DiskFails`.

        Args:
            at: the time.
            new: digest of the one that was accepted; of another one nothing is noted.
        """
        self.recover()
        entry = self.read()
        if entry is not None and entry.state == UNCONFIRMED and entry.new == new:
            yield from self._write(replace(entry, state=CONFIRMED, at=at))

    def roll_back(self, reason: str, at: WallTime, *, new: str) -> Iterator[None]:
        """Put the older one back; raises `DiskFails`; `new` as for `confirm`."""
        self.recover()
        entry = self.read()
        if entry is None or entry.state != UNCONFIRMED or entry.new != new:
            return
        older = self._files.read(OLDER)
        if digest(older) != entry.older:
            return
        yield from self._stage(older)
        yield from self._carry_through(
            replace(entry, state=SWITCHING, ends=ROLLED_BACK, at=at, reason=reason)
        )

    def recover(self) -> None:
        """Finish what was begun: forward when the staged file is whole, else back."""
        entry, files = self.read(), self._files
        if entry is None or entry.state != SWITCHING:
            return
        wanted = entry.new if entry.ends == UNCONFIRMED else entry.older
        if digest(files.read(STAGED)) == wanted:
            files.rename(STAGED, CERTIFICATE)
            files.sync_directory()
        went = digest(files.read(CERTIFICATE)) == wanted
        state = entry.ends if went else CONFIRMED
        if not went and entry.ends == ROLLED_BACK:
            state = UNCONFIRMED
        for _ in self._write(replace(entry, state=state)):
            pass

    # -- inside ---------------------------------------------------------------------------

    def _stage(self, data: bytes) -> Iterator[None]:
        yield from self._put(STAGED, data)

    def _carry_through(self, entry: Entry) -> Iterator[None]:
        yield from self._write(entry)
        self._files.rename(STAGED, CERTIFICATE)
        yield
        self._files.sync_directory()
        yield
        yield from self._write(replace(entry, state=entry.ends))

    def _write(self, entry: Entry) -> Iterator[None]:
        yield from self._put(JOURNAL, entry.encode())

    def _put(self, name: str, data: bytes) -> Iterator[None]:
        """Replace a file: one beside it, synced, renamed, synced."""
        files, beside = self._files, f".{name}.tmp"
        files.write(beside, data)
        yield
        files.sync(beside)
        yield
        files.rename(beside, name)
        yield
        files.sync_directory()
        yield
