"""Between SQLite and the kernel: every write, truncation, sync and removal is seen.

SQLite reaches files through a table of C functions, its VFS. `Watch` puts a table of
its own before the one for Unix: each call that changes a file is noted, may be refused
with an error of a disk, and else goes on to the kernel as ever. Nothing is compiled and
nothing is traced, so it works wherever Python's sqlite3 is linked to a shared libsqlite3.

Source: https://www.sqlite.org/c3ref/vfs.html and io_methods.html.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_P, _I, _L, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_char_p
_WRITE = ctypes.CFUNCTYPE(_I, _P, _P, _I, _L)
_TRUNCATE = ctypes.CFUNCTYPE(_I, _P, _L)
_SYNC = ctypes.CFUNCTYPE(_I, _P, _I)
# The name goes on as the pointer it came as: SQLite's VFS keeps it.
_OPEN = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
_DELETE = ctypes.CFUNCTYPE(_I, _P, _S, _I)
_OPEN_DIRECTORY = ctypes.CFUNCTYPE(_I, _S, _P)
_GET_CALL = ctypes.CFUNCTYPE(_P, _P, _S)
_SET_CALL = ctypes.CFUNCTYPE(_I, _P, _S, _P)

_METHODS = (
    "xClose",
    "xRead",
    "xWrite",
    "xTruncate",
    "xSync",
    "xFileSize",
    "xLock",
    "xUnlock",
    "xCheckReservedLock",
    "xFileControl",
    "xSectorSize",
    "xDeviceCharacteristics",
    "xShmMap",
    "xShmLock",
    "xShmBarrier",
    "xShmUnmap",
    "xFetch",
    "xUnfetch",
)
_CALLS = (
    "xOpen",
    "xDelete",
    "xAccess",
    "xFullPathname",
    "xDlOpen",
    "xDlError",
    "xDlSym",
    "xDlClose",
    "xRandomness",
    "xSleep",
    "xCurrentTime",
    "xGetLastError",
    "xCurrentTimeInt64",
    "xSetSystemCall",
    "xGetSystemCall",
    "xNextSystemCall",
)


class _IOMethods(ctypes.Structure):
    _fields_ = [("iVersion", _I), *((name, _P) for name in _METHODS)]


class _VFS(ctypes.Structure):
    _fields_ = [
        ("iVersion", _I),
        ("szOsFile", _I),
        ("mxPathname", _I),
        ("pNext", _P),
        ("zName", _S),
        ("pAppData", _P),
        *((name, _P) for name in _CALLS),
    ]


@dataclass(frozen=True)
class Write:
    """Bytes went to a file."""

    name: str
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Truncate:
    """A file was cut, or made longer."""

    name: str
    size: int


@dataclass(frozen=True)
class Sync:
    """What was written to a file before is on the disk; its name need not be."""

    name: str


@dataclass(frozen=True)
class SyncNames:
    """The directory was synced: which files there are is on the disk."""


@dataclass(frozen=True)
class Remove:
    """A file was removed."""

    name: str


@dataclass(frozen=True)
class Mark:
    """The test says something: a commit returned."""

    text: str


Event = Write | Truncate | Sync | SyncNames | Remove | Mark
Fault = Callable[[Event], int | None]
"""Returns SQLite's error code for a call that is to fail, else None."""


class Watch:
    """What SQLite did to the files of one directory.

    Attributes:
        events: all of it, in order.
        fault: asked before each change; may be replaced at any time.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events: list[Event] = []
        self.fault: Fault | None = None
        self.errors: list[BaseException] = []
        self._names: dict[int, str] = {}
        self._tables: dict[int, _IOMethods] = {}
        self._library = ctypes.CDLL(_sqlite3.__file__)
        find = self._library.sqlite3_vfs_find
        find.restype = ctypes.POINTER(_VFS)
        self._real = find(None)
        self._vfs = _VFS.from_buffer_copy(self._real.contents)
        self._vfs.zName = b"icefloe-watched"
        self._real_open = _OPEN(self._real.contents.xOpen)
        self._real_delete = _DELETE(self._real.contents.xDelete)
        # Kept, or they would be collected while SQLite still calls them.
        self._open = _OPEN(self._guarded(self._on_open))
        self._delete = _DELETE(self._guarded(self._on_delete))
        self._vfs.xOpen = ctypes.cast(self._open, _P).value
        self._vfs.xDelete = ctypes.cast(self._delete, _P).value
        # SQLite syncs a directory through this entry of its table of system calls,
        # and opens none for another reason.
        vfs = self._real.contents
        self._set_call = _SET_CALL(vfs.xSetSystemCall)
        call = _GET_CALL(vfs.xGetSystemCall)(self._address, b"openDirectory")
        self._real_open_directory = _OPEN_DIRECTORY(call)
        self._open_directory = _OPEN_DIRECTORY(self._guarded(self._on_directory))
        self._callbacks: list[Any] = []

    @property
    def _address(self) -> int:
        return ctypes.addressof(self._real.contents)

    def mark(self, text: str) -> None:
        self.events.append(Mark(text))

    def install(self) -> None:
        assert self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) == 0
        call = ctypes.cast(self._open_directory, _P).value
        assert self._set_call(self._address, b"openDirectory", call) == 0

    def remove(self) -> None:
        assert self._set_call(self._address, b"openDirectory", None) == 0
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))
        assert self._library.sqlite3_vfs_register(self._real, 1) == 0
        assert not self.errors, self.errors

    # -- called by SQLite -----------------------------------------------------------

    def _guarded(self, call: Callable[..., int]) -> Callable[..., int]:
        def guarded(*args: Any) -> int:
            try:
                return call(*args)
            except BaseException as error:  # noqa: BLE001 - C knows no exceptions
                self.errors.append(error)
                return sqlite3.SQLITE_IOERR

        return guarded

    def _on_open(
        self, _vfs: int, path: int | None, file: int, flags: int, out: int
    ) -> int:
        code = self._real_open(self._address, path, file, flags, out)
        name = Path(ctypes.string_at(path).decode()) if path else None
        if code == 0 and name is not None and name.parent == self.directory:
            methods = ctypes.cast(file, ctypes.POINTER(_P))
            assert methods[0]
            self._names[file] = name.name
            methods[0] = ctypes.addressof(self._table(methods[0]))
        return int(code)

    def _on_directory(self, path: bytes, descriptor: int) -> int:
        if Path(path.decode()).parent == self.directory:
            self._noted(SyncNames())
        return int(self._real_open_directory(path, descriptor))

    def _on_delete(self, _vfs: int, path: bytes, sync: int) -> int:
        name = Path(path.decode())
        if name.parent == self.directory and name.exists():
            code = self._noted(Remove(name.name))
            if code:
                return code
        return int(self._real_delete(self._address, path, sync))

    def _noted(self, event: Event) -> int:
        code = self.fault(event) if self.fault is not None else None
        if code is None:
            self.events.append(event)
        return code or 0

    def _table(self, real: int) -> _IOMethods:
        if real not in self._tables:
            table = _IOMethods.from_buffer_copy(_IOMethods.from_address(real))
            write, truncate = _WRITE(table.xWrite), _TRUNCATE(table.xTruncate)
            sync = _SYNC(table.xSync)

            def on_write(file: int, data: int, size: int, offset: int) -> int:
                found = ctypes.string_at(data, size)
                code = self._noted(Write(self._names[file], offset, found))
                return code or int(write(file, data, size, offset))

            def on_truncate(file: int, size: int) -> int:
                code = self._noted(Truncate(self._names[file], size))
                return code or int(truncate(file, size))

            def on_sync(file: int, flags: int) -> int:
                code = self._noted(Sync(self._names[file]))
                return code or int(sync(file, flags))

            for name, kind, call in (
                ("xWrite", _WRITE, on_write),
                ("xTruncate", _TRUNCATE, on_truncate),
                ("xSync", _SYNC, on_sync),
            ):
                callback = kind(self._guarded(call))
                self._callbacks.append(callback)
                setattr(table, name, ctypes.cast(callback, _P).value)
            self._tables[real] = table
        return self._tables[real]


@contextmanager
def watched(directory: Path) -> Iterator[Watch]:
    """See what SQLite does to the files of a directory."""
    watch = Watch(directory)
    watch.install()
    try:
        yield watch
    finally:
        watch.remove()
