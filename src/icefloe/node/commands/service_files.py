"""`service show` and `service install`: systemd's files for this very installation."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from icefloe.config.host import PACKAGED_USERS, daemon_user
from icefloe.config.layout import NodeDirectories
from icefloe.node.service_units import (
    GATEWAY_OPTIONS_FILE,
    GATEWAY_USER,
    SIGNER_DROP_IN,
    GatewayService,
    NodeService,
    ServiceProblem,
    check_visible,
    needed_program,
)
from icefloe.storage.files import (
    ensure_directory,
    read_file_if_there,
    remove_file,
    write_file,
)

__all__ = [
    "Installed",
    "gateway_service",
    "install_files",
    "next_commands",
    "node_service",
    "this_program",
]

_FILE_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755


def this_program() -> tuple[str, ...]:
    """Return how the program that runs now is called, in words.

    The script that was called; else the one beside this interpreter; else, from a
    source tree for instance, the interpreter with the package's name.

    Raises:
        ServiceProblem: A service could not see the interpreter.
    """
    check_visible([needed_program(sys.executable)], resolve=os.path.realpath)
    called = Path(sys.argv[0])
    if called.name == "icefloe" and (found := shutil.which(str(called))):
        return (str(Path(found).absolute()),)
    beside = Path(sys.executable).with_name("icefloe")
    if beside.is_file():
        return (str(beside),)
    return (sys.executable, "-m", "icefloe")


def node_service(
    directories: NodeDirectories,
    *,
    program: tuple[str, ...],
    environment: Mapping[str, str],
    user: str = "",
    signs: bool | None = None,
) -> NodeService:
    """Return the service for a node as it stands on this machine.

    Args:
        directories: The node's; they need not exist.
        program: The command.
        environment: `ICINGA2_USER` and `ICINGA2_GROUP` are looked at.
        user: Who runs it; "" for the owner of the data directory, else a new one.
        signs: Whether it may read the CA's key; None to see whether there is a CA.

    Raises:
        LayoutError: A variable names nobody.
        ServiceProblem: The machine does not know the owner, we may not look, or the
            service could not see the program or a directory, links followed.
    """
    owner = _owner_of(directories.data_dir, environment)
    new = (PACKAGED_USERS[0], PACKAGED_USERS[0])
    name, group = (user, _group_of(user)) if user else owner or new
    service = NodeService(
        program=program,
        user=name,
        group=group,
        config_dir=directories.config_dir,
        data_dir=directories.data_dir,
        signs=_is_there(directories.ca_dir) if signs is None else signs,
        makes_user=not user and owner is None,
        root_owns=not user and owner is None and _is_there(directories.data_dir),
    )
    check_visible(service.needs(), resolve=os.path.realpath)
    return service


def gateway_service(
    directories: NodeDirectories, *, program: tuple[str, ...], user: str = ""
) -> GatewayService:
    """Return the service for a gateway beside the node of these directories.

    Raises:
        ServiceProblem: The service could not see the program, links followed.
    """
    service = GatewayService(
        program=program,
        user=user or GATEWAY_USER,
        node_data_dir=directories.data_dir,
        makes_user=not user,
    )
    check_visible(service.needs(), resolve=os.path.realpath)
    return service


@dataclass(frozen=True, slots=True)
class Installed:
    """What was done to the machine's files.

    Attributes:
        written: Made, or replaced.
        removed: Of a node that signs no more.
    """

    written: tuple[PurePosixPath, ...]
    removed: tuple[PurePosixPath, ...]


def install_files(service: NodeService | GatewayService, root: Path) -> Installed:
    """Write a service's files below `root`, where they are not as they are to be.

    Raises:
        FileProblem: One cannot be written; those before it are.
        ServiceProblem: No unit can be made for this installation.
    """
    files = service.files()
    written = tuple(path for path, text in files.items() if _write(root, path, text))
    removed = []
    if isinstance(service, NodeService) and SIGNER_DROP_IN not in files:
        place = _place(root, SIGNER_DROP_IN)
        removed = [SIGNER_DROP_IN] if place.is_file() and remove_file(place) else []
    return Installed(written, tuple(removed))


def next_commands(service: NodeService | GatewayService) -> list[str]:
    """Return what an operator runs when the files are there, as root."""
    commands = ["systemd-sysusers"] if service.makes_user else []
    if isinstance(service, GatewayService):
        commands.append(f"editor {GATEWAY_OPTIONS_FILE}")
    elif service.makes_user:
        # With the file's name: without one, systemd-tmpfiles works on all of them.
        commands.append("systemd-tmpfiles --create /etc/tmpfiles.d/icefloe.conf")
    if isinstance(service, NodeService) and service.root_owns:
        places = f"'{service.config_dir}' '{service.data_dir}'"
        commands.append(f"chown -R {service.user}:{service.group} {places}")
    return [
        *commands,
        "systemctl daemon-reload",
        f"systemctl enable --now {service.name}",
    ]


# --- Parts ----------------------------------------------------------------------------


def _write(root: Path, path: PurePosixPath, text: str) -> bool:
    place, content = _place(root, path), text.encode()
    there = read_file_if_there(place)
    # The gateway's options are the operator's as soon as they are there.
    if there == content or (there is not None and path == GATEWAY_OPTIONS_FILE):
        return False
    ensure_directory(place.parent, mode=_DIRECTORY_MODE)
    write_file(place, content, mode=_FILE_MODE)
    return True


def _place(root: Path, path: PurePosixPath) -> Path:
    return root / path.relative_to("/")


def _owner_of(data_dir: Path, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return user and group of the node's files; None where root has them, or nobody."""
    owner = daemon_user(data_dir, environment)
    if owner is None or owner.uid == 0:
        return None
    try:
        return pwd.getpwuid(owner.uid).pw_name, grp.getgrgid(owner.gid).gr_name
    except KeyError:
        raise ServiceProblem(
            f"'{data_dir}' belongs to the user id {owner.uid} and the group id "
            f"{owner.gid}, which this machine does not know both: give it to the "
            "daemon's user (chown -R), or name one with --user"
        ) from None


def _group_of(user: str) -> str:
    try:
        return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:  # made later, together with the user
        return user


def _is_there(directory: Path) -> bool:
    try:
        return directory.is_dir()
    except OSError as error:
        raise ServiceProblem(
            f"cannot see whether '{directory}' is there: {error.strerror}; run this as "
            "root, or say --signer or --no-signer"
        ) from error
