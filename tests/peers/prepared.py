"""A CA and key pairs that are made once and copied into many nodes.

An RSA-4096 key costs icinga2 a second of CPU.  A run of the suite makes one CA, and one
key pair per name that its tests use; a node gets copies.  The workers of pytest-xdist
share them.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.node import NodeUnderTest
from tests.peers.real_icinga import RealIcinga

SALT = "0123456789abcdef0123456789abcdef"
"""The ticket salt of prepared masters (the salt of the protocol's test vectors)."""


class PreparedPKI:
    """The run's CA, and what it has signed.

    The real icinga2 makes it, unless a test does without: then it is an RSA CA.
    """

    def __init__(
        self, root: Path, *, product: type[NodeUnderTest] = RealIcinga
    ) -> None:
        """Make the CA below `root`, or use the one that another process made there."""
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        with self._alone():
            there = (root / "maker").exists()
            self._maker = product("maker", root, port=0, existing=there)
            if not there:
                self._maker.must("pki", "new-ca")

    @property
    def ca_dir(self) -> Path:
        """Holds `ca.crt` and `ca.key`."""
        return self._maker.ca_dir

    @property
    def salt(self) -> str:
        """The salt to configure a prepared master with."""
        return SALT

    def identity(self, common_name: str) -> Path:
        """Return a directory with `node.key` and the signed `node.crt` of a name."""
        made = self._root / "issued" / common_name
        with self._alone():
            if not (made / "node.crt").exists():
                made.mkdir(parents=True, exist_ok=True)
                csr = made / "node.csr"
                self._maker.must(
                    *("pki", "new-cert", "--cn", common_name),
                    *("--key", str(made / "node.key"), "--csr", str(csr)),
                )
                self._maker.must(
                    *("pki", "sign-csr", "--csr", str(csr)),
                    *("--cert", str(made / "node.crt")),
                )
        return made

    def newcomer(self, common_name: str) -> Path:
        """Return a directory with `node.key` and the self-signed `node.crt` of a name.

        That is what somebody has who asks for a certificate.
        """
        made = self._root / "newcomers" / common_name
        with self._alone():
            if not (made / "node.crt").exists():
                made.mkdir(parents=True, exist_ok=True)
                self._maker.must(
                    *("pki", "new-cert", "--cn", common_name),
                    *("--key", str(made / "node.key")),
                    *("--cert", str(made / "node.crt")),
                )
        return made

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the other workers out; the lock ends with this process at the latest."""
        with (self._root / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
