"""A master and a satellite for the wizard to be asked about, and a node to set up."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.terminal import PATIENCE_SECONDS, Terminal

from icefloe.config.layout import NodeDirectories
from icefloe.lab.processes import end
from icefloe.lab.stage import Stage, environment, free_ports
from icefloe.pki.certificates import is_self_signed
from icefloe.pki.tickets import ticket
from icefloe.storage.identity import NodeIdentity, load_identity


@contextmanager
def staged(root: Path) -> Iterator[Stage]:
    """Run a master and a satellite below it."""
    stage = Stage.in_directory(root, ())

    async def start() -> None:
        await stage.start_master()
        await stage.start_satellite(stage.satellite)

    try:
        asyncio.run(start())
        yield stage
    finally:
        end(stage.daemons)


@dataclass(frozen=True)
class NewNode:
    """A machine on which nothing is set up yet.

    Attributes:
        root: Its directories are below.
        stage: The cluster that it is to be part of.
        port: One that is free.
    """

    root: Path
    stage: Stage | None
    port: int

    @classmethod
    def make(cls, root: Path, stage: Stage | None = None) -> NewNode:
        made = cls(root, stage, free_ports(1)[0])
        made.directories.config_dir.mkdir(parents=True)
        made.directories.data_dir.mkdir()
        return made

    @property
    def directories(self) -> NodeDirectories:
        return NodeDirectories(config_dir=self.root / "etc", data_dir=self.root / "lib")

    def argv(self, *words: str) -> list[str]:
        return [
            *(sys.executable, "-m", "icefloe"),
            *("--config-dir", str(self.directories.config_dir)),
            *("--data-dir", str(self.directories.data_dir)),
            *words,
        ]

    def wizard(
        self,
        *words: str,
        columns: int = 80,
        rows: int = 24,
        term: str = "",
        color: bool = True,
    ) -> Terminal:
        """Start the wizard in a terminal."""
        settings = environment(LANG="C.UTF-8")
        if color:
            del settings["NO_COLOR"]
        return Terminal(
            self.argv("node", "wizard", *words),
            environment=settings,
            columns=columns,
            rows=rows,
            term=term,
        )

    def piped(self, *answers: str) -> subprocess.CompletedProcess[str]:
        """Run the wizard with answers on its standard input."""
        return subprocess.run(
            self.argv("node", "wizard"),
            input="".join(f"{each}\n" for each in answers),
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    def ticket(self, name: str) -> str:
        assert self.stage is not None
        return ticket(name, self.stage.salt)

    def files(self) -> dict[str, str]:
        """Return every file and link with a digest of what it holds."""
        return {
            str(path.relative_to(self.root)): hashlib.sha256(
                path.read_bytes() if path.is_file() else b""
            ).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_symlink() or path.is_file()
        }

    def identity(self, name: str) -> NodeIdentity:
        return load_identity(self.directories.certs, name)

    def is_signed(self, name: str) -> bool:
        identity = self.identity(name)
        return identity.ca_pem is not None and not is_self_signed(identity.certificate)
