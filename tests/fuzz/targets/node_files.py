"""A node's configuration directory: it loads, or every problem is named.

Includes are followed inside the directory only: an input must not read the machine's
own files.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from unittest import mock

from icefloe.config import declarations, loading
from icefloe.config.errors import ConfigError
from icefloe.config.source import Source
from icefloe.config.sources import FileIncludes, is_directory, named_files
from icefloe.pki.names import check_common_name
from tests.config.helpers import API, CONSTANTS, HOSTS, ICINGA2, NODE, SERVICES, ZONES
from tests.fuzz.choices import Choices, part

BYTES_MAX = 6144

SALT = "hush9f3e"

_FILES = ("constants.conf", "zones.conf", "features-enabled/api.conf", "icinga2.conf")

_TREE = """\
object Endpoint "m1" { host = "192.0.2.1", port = "5665" }
object Endpoint "node1.example.org" { }
object Zone "master" { endpoints = [ "m1" ] }
object Zone "node1.example.org" {
  endpoints = [ "node1.example.org" ]
  parent = "master"
}
"""


def _input(
    constants: str = CONSTANTS,
    zones: str = ZONES,
    api: str = API,
    icinga2: str = ICINGA2,
) -> bytes:
    return b"".join(part(text.encode()) for text in (constants, zones, api, icinga2))


def _listener(line: str) -> bytes:
    return _input(api=f'object ApiListener "api" {{\n{line}\n}}\n')


SEEDS = {
    "debian": _input(),
    "empty": b"",
    "tree": _input(zones=_TREE),
    "salt": _input(constants=f'{CONSTANTS}const TicketSalt = "{SALT}"\n'),
    "salt-only": _input(constants=f'const TicketSalt = "{SALT}"\n'),
    "two-listeners": _input(api=API + API.replace('"api"', '"api2"')),
    "no-listener": _input(api=""),
    "loop": _input(
        zones=ZONES
        + 'object Zone "a" { parent = "b" }\nobject Zone "b" { parent = "a" }'
    ),
    "orphan": _input(zones='object Zone "a" { parent = "b" }\n'),
    "own-zone-missing": _input(zones='object Zone "a" { endpoints = [ "x" ] }\n'),
    "bad-name": _input(constants='const NodeName = "../x"\n'),
    "bad-name-alone": _input(
        constants='const NodeName = "a,b"\nconst ZoneName = NodeName\n'
        'const TicketSalt = ""\n'
    ),
    "name-number": _input(constants="const NodeName = 1\n"),
    "icefloe-endpoints": _input(
        constants=CONSTANTS + 'const IcefloeEndpoints = [ "m1" ]\n', zones=_TREE
    ),
    "includes": _input(
        zones=ZONES + 'include "constants.conf"\ninclude "zones.conf"\n'
    ),
    "include-away": _input(icinga2='include "/etc/passwd"\ninclude "../../*"\n'),
    "include-odd": _input(icinga2='include "[a"\ninclude_recursive "a\\0b"\n'),
    "include-bell": _input(zones='include_recursive "\\b"\n'),
    "include-long": _input(icinga2=f'include "{"a" * 300}"\n'),
    "include-zones": _input(icinga2='include_zones "x", "zones.d"\n'),
    "hosts": _input(icinga2=HOSTS + SERVICES),
    "client-name": _input(icinga2='object ApiUser "x" { client_cn = "root" }\n'),
    "client-name-odd": _input(icinga2='object ApiUser "x" { client_cn = f() }\n'),
    "not-utf-8": part(b'const NodeName = "\xff"\n'),
} | {
    f"listener-{n}": _listener(line)
    for n, line in enumerate(
        (
            'bind_host = "127.0.0.1", bind_port = 0',
            'bind_port = "5665"',
            "bind_port = 1.5",
            "bind_port = 99999999999999999999999999",
            'tls_protocolmin = "TLSv1.1"',
            "tls_handshake_timeout = 1" + "0" * 300,
            "connect_timeout = -1",
            "max_anonymous_clients = 1.5",
            "max_anonymous_clients = -1",
            'crl_path = "a\\0b"',
            'ticket_salt = [ "a" ]',
            "accept_config = 1",
            'accept_commands = "yes"',
            "unknown = 1",
            "bind_host = null",
        )
    )
}


@cache
def _directory() -> Path:
    """One directory for all inputs of a process."""
    root = Path(tempfile.mkdtemp(prefix="icefloe-fuzz-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    (root / "etc/features-enabled").mkdir(parents=True)
    return root


def _inside(path: Path) -> bool:
    return os.path.normpath(path).startswith(str(_directory()) + os.sep)


class _JailedIncludes(FileIncludes):
    def named(self, including: str, path: str) -> list[Source]:
        if not _inside(Path(including).parent / path):
            return []
        return super().named(including, path)

    def below(self, including: str, path: str, pattern: str) -> list[Source]:
        if not _inside(Path(including).parent / path):
            return []
        return super().below(including, path, pattern)


def _jailed_named_files(including: str, path: str) -> Sequence[Path]:
    inside = _inside(Path(including).parent / path)
    return named_files(including, path) if inside else []


def _jailed_is_directory(path: Path) -> bool:
    return _inside(path) and is_directory(path)


def check(data: bytes) -> None:
    """Write the files, load them, and look at what is said."""
    choices = Choices(data)
    root = _directory()
    config = root / "etc"
    for name in _FILES:
        (config / name).write_bytes(choices.part())
    with (
        mock.patch.object(loading, "FileIncludes", _JailedIncludes),
        mock.patch.object(declarations, "named_files", _jailed_named_files),
        mock.patch.object(declarations, "is_directory", _jailed_is_directory),
    ):
        try:
            loaded = loading.load(config, root / "lib", default_node_name=lambda: NODE)
        except ConfigError as error:
            assert all(
                line.replace("\t", "").isprintable() for line in str(error).split("\n")
            )
            assert f'"{SALT}"' not in str(error)
            return
    assert check_common_name(loaded.node_name) == loaded.node_name
    assert loaded.zones.node_name == loaded.node_name
    assert loaded.zone_name
    assert len(loaded.ticket_salt) < 5 or loaded.ticket_salt not in repr(loaded)
    assert 0 <= loaded.listener.bind_port <= 65535
    assert loaded.listener.tls_handshake_timeout > 0
    assert loaded.listener.connect_timeout > 0
