"""A gateway's own directory: name, key, certificate, CA, and whom it has met.

    DIR/certs/<name>.key, <name>.crt    the gateway's key and certificate
    DIR/certs/ca.crt                    the CA it believes
    DIR/icefloe/gateway.json            that this is a gateway's directory; its name and
                                        the names its upstreams have shown
    DIR/icefloe/ledger.sqlite, lock     as every Icefloe node's

Inside it looks like a node's data directory, so that `icefloe --data-dir DIR ca list`
shows what the gateway has taken.  It must never *be* one: a gateway has its own key and
its own name, or it could be taken for the node beside which it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from icefloe.config.layout import CONFIG_DIR_DEFAULT, NodeDirectories
from icefloe.doors import Entropy, WallTime
from icefloe.node.gateway.options import GatewayProblem
from icefloe.pki import profiles
from icefloe.pki.canaries import check_node_name
from icefloe.pki.certificates import is_self_issued, to_pem
from icefloe.pki.names import COMMON_NAME_BYTES_MAX
from icefloe.pki.trust import up_to_date
from icefloe.storage.files import (
    FileProblem,
    ensure_directory,
    read_file,
    remove_file,
    write_file,
)
from icefloe.storage.identity import (
    CERTIFICATE_MODE,
    IdentityFiles,
    NodeIdentity,
    load_files,
)
from icefloe.storage.keys import generate_key, read_private_key, write_private_key

__all__ = ["NAME_PREFIX", "GatewayHome", "default_name"]

NAME_PREFIX: Final = "icefloe-gateway."
"""In front of the machine's name, which the node beside it may bear as its own."""

_FORMAT: Final = 1
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What `gateway.json` holds; upstreams: common name by `host:port`."""

    format: int
    name: str
    upstreams: dict[str, str] = {}


@dataclass(slots=True, kw_only=True)
class GatewayHome:
    """One gateway's directory, which exists and is a gateway's.

    Attributes:
        directories: Its places, in a node's layout.
        name: The common name of the gateway's certificate.
        met: Common names of upstreams by their label, as seen before.
    """

    directories: NodeDirectories
    name: str
    met: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, data_dir: Path, *, name: str, machine_name: str) -> GatewayHome:
        """Open a gateway's directory; make it where there is none.

        Args:
            data_dir: Must not exist, be empty, or be a gateway's.
            name: The wished common name; "" for the stored one, or a made-up one.
            machine_name: The machine's full name, for making one up.

        Raises:
            GatewayProblem: It is something else's directory, or another gateway's.
            CommonNameInvalid: No node may have this name.
            FileProblem: The operating system objects.
        """
        directories = NodeDirectories(
            config_dir=CONFIG_DIR_DEFAULT, data_dir=data_dir.absolute()
        )
        stored = _read(directories)
        if stored is None:
            _check_unused(data_dir)
        elif name in {"", stored.name}:
            return cls(directories=directories, name=stored.name, met=stored.upstreams)
        elif directories.trusted_ca.exists():
            raise GatewayProblem(
                f"'{data_dir}' belongs to the gateway '{stored.name}': leave out "
                f"--name, or give the gateway '{name}' a --data-dir of its own"
            )
        # New, or left by a start that came to nothing, under another name perhaps.
        chosen = check_node_name(name or default_name(machine_name))
        home = cls(directories=directories, name=chosen)
        home._make()
        return home

    @property
    def files(self) -> IdentityFiles:
        """Where key, certificate and CA are."""
        return IdentityFiles.of_node(self.directories.certs, self.name)

    def remember(self, label: str, name: str) -> None:
        """Keep the common name that an upstream has shown.

        Raises:
            FileProblem: The operating system objects.
        """
        if self.met.get(label) != name:
            self.met = {**self.met, label: name}
            self._write()

    def identity(self, *, at: WallTime, entropy: Entropy) -> NodeIdentity:
        """Load key and certificate; make what is missing, or self-signed and due.

        Raises:
            IdentityProblem: What is there does not fit together.
            FileProblem: The operating system objects.
        """
        files = self.files
        if not files.key.exists():
            # A certificate without its key is of no use to anybody.
            remove_file(files.certificate)
            write_private_key(files.key, generate_key())
        if files.certificate.exists():
            identity = load_files(files, node_name=self.name)
            own = identity.certificate
            if not is_self_issued(own) or up_to_date(own, at):
                return identity
        pem = self.self_signed(at=at, entropy=entropy)
        write_file(files.certificate, pem.encode("ascii"), mode=CERTIFICATE_MODE)
        return load_files(files, node_name=self.name)

    def self_signed(self, *, at: WallTime, entropy: Entropy) -> str:
        """Make a self-signed certificate of the gateway's key, PEM; store nothing.

        Raises:
            FileProblem: The key cannot be read.
        """
        certificate = profiles.self_signed(
            self.name,
            read_private_key(self.files.key),
            serial=profiles.serial_from(entropy.bytes(profiles.SERIAL_BYTES)),
            not_before=WallTime(at - profiles.BACKDATE),
            not_after=WallTime(at + profiles.LEAF_LIFETIME),
        )
        return to_pem(certificate)

    # -- inside ------------------------------------------------------------------------

    def _make(self) -> None:
        for directory in (self.directories.certs, self.directories.own_dir):
            ensure_directory(directory, mode=_DIRECTORY_MODE)
        self._write()

    def _write(self) -> None:
        stored = _Stored(format=_FORMAT, name=self.name, upstreams=dict(self.met))
        data = msgspec.json.format(msgspec.json.encode(stored)) + b"\n"
        write_file(_marker(self.directories), data, mode=_FILE_MODE)


def default_name(machine_name: str) -> str:
    """Make up a gateway's name that is not that of the node on the same machine.

    Raises:
        GatewayProblem: The machine's name is too long for it.
    """
    for candidate in (machine_name, machine_name.partition(".")[0]):
        name = NAME_PREFIX + candidate
        if candidate and len(name.encode()) <= COMMON_NAME_BYTES_MAX:
            return name
    raise GatewayProblem(
        f"no name can be made of this machine's ('{machine_name}'): choose one with "
        "--name; no Endpoint of the cluster may have it"
    )


def _marker(directories: NodeDirectories) -> Path:
    return directories.own_dir / "gateway.json"


def _read(directories: NodeDirectories) -> _Stored | None:
    path = _marker(directories)
    try:
        stored = msgspec.json.decode(read_file(path), type=_Stored)
    except FileProblem as error:
        if error.is_missing:
            return None
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayProblem(
            f"'{path}' is damaged ({error}): restore it from a back-up, or begin with "
            "an empty --data-dir"
        ) from error
    if stored.format != _FORMAT:
        raise GatewayProblem(
            f"'{path}' was written by another version of Icefloe: use that one"
        )
    return stored


def _check_unused(data_dir: Path) -> None:
    """Refuse a directory in which something else lives, an Icinga node above all."""
    try:
        in_use = any(data_dir.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileProblem(
            data_dir, action="read", reason=reason, errno=error.errno
        ) from error
    if in_use:
        raise GatewayProblem(
            f"'{data_dir}' is not a gateway's directory and not empty: give the "
            "gateway a --data-dir of its own, never that of a node"
        )
