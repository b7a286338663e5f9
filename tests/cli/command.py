"""The program under test, as an operator calls it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from icefloe.cli.app import run
from icefloe.config.layout import NodeDirectories

ICINGA2_CONF = """\
include "constants.conf"
include "zones.conf"
include <itl>
include "features-enabled/*.conf"
include_recursive "conf.d"
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind.

    Attributes:
        code: its exit code.
        out: its standard output.
        err: its standard error.
    """

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class Command:
    """`icefloe --config-dir ... --data-dir ...` with the words of a test behind it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys
        self.directories = NodeDirectories(
            config_dir=root / "etc", data_dir=root / "data"
        )
        etc = self.directories.config_dir
        (etc / "features-available").mkdir(parents=True)
        (etc / "features-enabled").mkdir()
        (etc / "conf.d").mkdir()
        self.directories.data_dir.mkdir()
        (etc / "icinga2.conf").write_text(ICINGA2_CONF)
        (etc / "constants.conf").write_text(
            '//const NodeName = "localhost"\nconst TicketSalt = ""\n'
        )
        for feature in ("api", "checker", "notification"):
            (etc / f"features-available/{feature}.conf").write_text("")
        (etc / "features-enabled/notification.conf").symlink_to(
            "../features-available/notification.conf"
        )

    @property
    def certs(self) -> Path:
        return self.directories.certs

    def path(self, name: str) -> Path:
        return self.root / name

    def __call__(self, *words: object) -> Done:
        """Run a command on this node's directories."""
        directories = self.directories
        return self.bare(
            *("--config-dir", directories.config_dir),
            *("--data-dir", directories.data_dir),
            *words,
        )

    def bare(self, *words: object) -> Done:
        """Run a command without saying where."""
        self._capsys.readouterr()
        code = run([str(word) for word in words])
        out, err = self._capsys.readouterr()
        return Done(code, out, err)

    def ok(self, *words: object) -> str:
        """Run a command that has to succeed; return its standard output."""
        done = self(*words)
        assert done.code == 0, done.text
        return done.out

    def json(self, *words: object) -> object:
        return msgspec.json.decode(self.ok(*words, "--json"))

    def files(self) -> dict[str, bytes]:
        """Return every file of the node with its content."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }
