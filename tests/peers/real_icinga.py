"""Debian's icinga2 as a private instance.

One package is needed, `icinga2-bin` (it brings `icinga2-common`, with the template
library).  No plugin package: the checks in tests use the built-in `dummy` command.

The options `-D Configuration.X=...` must follow the sub-command: in front of it, 2.13.6
prints its help and exits 0.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.peers.node import NodeUnderTest

DEBIAN_PATH = Path("/usr/sbin/icinga2")


def why_no_icinga2() -> str | None:
    """Return why real peers cannot run here, or None when they can."""
    if _program() is None:
        return "icinga2 is not installed (Debian: apt-get install icinga2-bin)"
    return None


def _program() -> str | None:
    # /usr/sbin is not on every user's path.
    if DEBIAN_PATH.exists():
        return str(DEBIAN_PATH)
    return shutil.which("icinga2")


class RealIcinga(NodeUnderTest):
    """A node run by the real icinga2."""

    product: ClassVar[str] = "icinga"

    def argv(self, *words: str) -> list[str]:
        """Return the command line; directories are constants of the configuration."""
        program = _program()
        if program is None:
            raise AssertionError(why_no_icinga2())
        directories = {
            "ConfigDir": self.config_dir,
            "ZonesDir": self.config_dir / "zones.d",
            "DataDir": self.data_dir,
            "LogDir": self.root / "log",
            "CacheDir": self.root / "cache",
            "SpoolDir": self.root / "spool",
            "InitRunDir": self.root / "run",
        }
        for directory in directories.values():
            directory.mkdir(parents=True, exist_ok=True)
        definitions = [
            word
            for name, directory in directories.items()
            for word in ("-D", f"Configuration.{name}={directory}")
        ]
        return [program, *words, *definitions]

    def environment(self) -> Mapping[str, str]:
        """Name ourselves as daemon user: pytest's directories are for us alone.

        Debian's default is `nagios`, which could not enter them.  Anyone may name
        himself; only root may name somebody else.
        """
        return {
            **os.environ,
            "ICINGA2_USER": pwd.getpwuid(os.geteuid()).pw_name,
            "ICINGA2_GROUP": grp.getgrgid(os.getegid()).gr_name,
            "LC_ALL": "C.UTF-8",
        }

    def connected_pattern(self, peer: str) -> str:
        """Return the log line after which relayed messages flow."""
        return rf"Finished syncing endpoint '{peer}' in zone"
