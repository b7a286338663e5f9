"""A TLS 1.3 client that can update its keys at will, on the system's libssl.

pyOpenSSL does not bind `SSL_key_update`, and a flood of updates is something a
stranger can send.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from typing import Any

TLS1_3 = 0x0304
SET_MIN_PROTO_VERSION = 123
UPDATE_NOT_REQUESTED = 0


def system_libssl() -> Any | None:
    """The system's OpenSSL 3, or `None`."""
    name = ctypes.util.find_library("ssl")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    if not hasattr(library, "SSL_key_update"):
        return None
    for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(library, function).restype = ctypes.c_void_p
    library.SSL_CTX_new.argtypes = [ctypes.c_void_p]
    library.SSL_CTX_ctrl.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_long,
        ctypes.c_void_p,
    ]
    library.SSL_new.argtypes = [ctypes.c_void_p]
    library.SSL_CTX_free.argtypes = [ctypes.c_void_p]
    library.SSL_free.argtypes = [ctypes.c_void_p]
    library.SSL_set_fd.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.SSL_connect.argtypes = [ctypes.c_void_p]
    library.SSL_do_handshake.argtypes = [ctypes.c_void_p]
    library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.SSL_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    return library


class KeyUpdater:
    """Blocking; to be used in a thread."""

    def __init__(self, library: Any, sock: socket.socket) -> None:
        self._library = library
        self._context = library.SSL_CTX_new(library.TLS_client_method())
        library.SSL_CTX_ctrl(self._context, SET_MIN_PROTO_VERSION, TLS1_3, None)
        self._ssl = library.SSL_new(self._context)
        sock.setblocking(True)  # noqa: FBT003 - its only argument
        library.SSL_set_fd(self._ssl, sock.fileno())

    def connect(self) -> None:
        assert self._library.SSL_connect(self._ssl) == 1

    def update_keys(self, times: int) -> None:
        for _ in range(times):
            assert self._library.SSL_key_update(self._ssl, UPDATE_NOT_REQUESTED) == 1
            assert self._library.SSL_do_handshake(self._ssl) == 1

    def write(self, data: bytes) -> None:
        assert self._library.SSL_write(self._ssl, data, len(data)) == len(data)

    def free(self) -> None:
        self._library.SSL_free(self._ssl)
        self._library.SSL_CTX_free(self._context)
