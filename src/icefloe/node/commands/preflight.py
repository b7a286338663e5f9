"""Preflight: what a set-up needs, looked at before anything is changed.

Each check is one line: ok, or what is wrong and how to mend it, with a code of
`enrollment.problems`.  Nothing is written, and nothing takes longer than ten seconds:
`node setup --dry-run` prints the checks, the wizard shows them before its summary.

Checks of this machine come first (`preflight_files` has those of its files), then the
parents, all looked at together (`preflight_parents`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from icefloe.config.layout import DATA_DIR_DEFAULT, NodeDirectories
from icefloe.config.loading import load_constants
from icefloe.config.plan import Plan
from icefloe.config.setup import NodeSetup, plan_node_setup, read_current
from icefloe.enrollment.problems import Code
from icefloe.enrollment.reasons import Reason
from icefloe.errors import IcefloeError
from icefloe.node.commands.changes import AgentSetup
from icefloe.node.commands.checks import Check
from icefloe.node.commands.preflight_files import check_disk, check_files
from icefloe.node.commands.preflight_parents import check_parents
from icefloe.node.commands.setting import Setting
from icefloe.node.errors import BindFailed
from icefloe.pki.canaries import check_node_name
from icefloe.pki.certificates import is_self_signed, key_id, load_pem
from icefloe.pki.errors import CertificateInvalid, CommonNameInvalid, KeyInvalid
from icefloe.pki.names import COMMON_NAME_BYTES_MAX, is_dns_name
from icefloe.storage.files import FileProblem, read_file_if_there
from icefloe.storage.identity import (
    IdentityFiles,
    IdentityProblem,
    load_trust_anchor,
)
from icefloe.storage.keys import decode_private_key
from icefloe.storage.lock import LockError, holder_pid

__all__ = ["Check", "check_listening", "preflight"]

_LISTEN_HOST: Final = "::"
_LISTEN_PORT: Final = 5665
"""protocol: Icinga's defaults."""

_PROC: Final = Path("/proc")
_NEW_IDENTITY: Final = "none yet: a key is made, which never leaves this node"


def preflight(wanted: AgentSetup | NodeSetup, setting: Setting) -> Iterator[Check]:
    """Look at everything that a set-up needs; changes nothing.

    Args:
        wanted: What the node is to become: an agent or satellite, or a master.
        setting: What the set-up would work with.

    Yields:
        The checks, as they are made.  When the name or the configuration cannot be
        used at all, what depends on it is left out.
    """
    node = wanted if isinstance(wanted, NodeSetup) else wanted.node
    name = _check_name(node.node_name, setting.directories)
    yield name
    if name.ok is False:
        return
    plan: Plan | None = None
    try:
        plan = _plan(node, setting)
    except IcefloeError as error:
        # A file that cannot be read or understood, or zones that do not fit together.
        yield Check(
            "configuration",
            ok=False,
            detail=" ".join(error.public.split()),
            code=Code.CONFIGURATION_INVALID,
            fix="correct that, then run this again",
        )
    yield from _check_places(node, plan, setting)
    yield _check_identity(node.node_name, setting)
    running = _icefloe_pid(setting.directories)
    foreign = None if running else _icinga_pid(setting.directories)
    yield _check_daemon(running, foreign)
    if running is None and foreign is None:
        yield check_listening(node.bind_host, node.bind_port)
    if isinstance(wanted, NodeSetup) or not wanted.parents:
        yield _own_time(setting)
        return
    yield from check_parents(wanted, setting)


# --- Name and configuration -----------------------------------------------------------


def _check_name(name: str, directories: NodeDirectories) -> Check:
    try:
        check_node_name(name)
    except CommonNameInvalid as error:
        return Check(
            "name",
            ok=False,
            detail=f"'{error.public}'" if not error.public else error.public,
            code=Reason.BAD_NAME.value,
            fix="choose another common name",
        )
    size = len(name.encode())
    length = f"{size} of {COMMON_NAME_BYTES_MAX} characters"
    present = _present_name(directories)
    if present and present != name:
        return Check(
            "name",
            ok=None,
            detail=f"this node is '{present}' now and becomes '{name}'",
            fix="go back and keep the old name if that is not meant: parents know it",
        )
    if name != name.lower():
        return Check(
            "name",
            ok=None,
            detail=f"'{name}' has capital letters",
            fix="names are compared letter by letter, so lower case is safer",
        )
    if not is_dns_name(name) or "." not in name:
        return Check(
            "name",
            ok=None,
            detail=f"'{name}' is no full host name",
            fix="it works; a full host name stays unique in a large cluster",
        )
    return Check("name", ok=True, detail=f"'{name}' ({length})")


def _present_name(directories: NodeDirectories) -> str:
    """Return NodeName as it is set now; "" when it is not, or cannot be read."""
    if not os.path.lexists(directories.constants_conf):
        return ""
    with suppress(IcefloeError, OSError):
        return load_constants(
            directories.config_dir, directories.data_dir, default_node_name=lambda: ""
        ).node_name
    return ""  # the check of the configuration says why


def _plan(node: NodeSetup, setting: Setting) -> Plan:
    return plan_node_setup(
        node,
        current=read_current(setting.directories),
        directories=setting.directories,
        note=setting.note("node setup"),
    )


# --- Files ----------------------------------------------------------------------------


def _check_places(
    node: NodeSetup, plan: Plan | None, setting: Setting
) -> Iterator[Check]:
    directories = setting.directories
    files = IdentityFiles.of_node(directories.certs, node.node_name)
    identity = [files.key, files.certificate, files.ca]
    paths = [*identity, directories.ticket, directories.ledger]
    if node.parent_zone is None:
        paths += [directories.ca_key, directories.ca_certificate]
    if plan is not None:
        paths += [each.path for each in plan.files]
        paths += [each.path for each in plan.links]
        paths += plan.removals
    # Path's own method raises where somebody may not look.
    regular = [path for path in paths if not os.path.islink(path)]  # noqa: PTH114
    yield from check_files(regular, identity, owner=setting.owner)
    yield from check_disk((directories.certs, directories.config_dir))


# --- The identity that is there -------------------------------------------------------


def _check_identity(name: str, setting: Setting) -> Check:
    files = IdentityFiles.of_node(setting.directories.certs, name)
    try:
        return _judge_identity(files, setting)
    except IdentityProblem as error:
        return Check(
            "identity",
            ok=False,
            detail=f"'{error.path}': {error.problem}",
            code=Code.IDENTITY_BROKEN,
            fix=error.remedy,
        )
    except FileProblem as error:
        return Check(
            "identity",
            ok=False,
            detail=error.public,
            code=Code.FILE_RIGHTS,
            fix="run this as root or as the daemon's user",
        )


def _judge_identity(files: IdentityFiles, setting: Setting) -> Check:
    key_pem = read_file_if_there(files.key)
    pem = read_file_if_there(files.certificate)
    anchor = load_trust_anchor(files)
    if key_pem is None:
        return Check("identity", ok=True, detail=_NEW_IDENTITY)
    try:
        key = decode_private_key(key_pem)
    except KeyInvalid as error:
        raise IdentityProblem(
            files.key,
            problem=f"the key that is there cannot be used: {error.problem}",
            remedy="move it away, and a new one is made",
        ) from error
    if pem is None:
        return Check("identity", ok=True, detail="the key that is there is used")
    try:
        certificate = load_pem(pem)
    except CertificateInvalid:
        return _request_anew("its certificate cannot be read")
    if key_id(certificate) != key_id(key.public_key()):
        return _request_anew("its certificate is not for its key")
    if is_self_signed(certificate):
        text = "asked for earlier, not signed yet: the same key is used again"
        return Check("identity", ok=True, detail=text)
    at = setting.clock.now().wall
    ends = certificate.not_valid_after_utc
    if ends.timestamp() <= at:
        return _request_anew(f"its certificate ended on {ends:%Y-%m-%d}")
    problems = () if anchor is None else anchor.problems(certificate, at)
    if anchor is None or problems:
        why = "; ".join(problems) or "there is no ca.crt beside it"
        return _request_anew(f"its certificate does not serve: {why}")
    text = f"has a certificate until {ends:%Y-%m-%d}; the key stays"
    return Check("identity", ok=True, detail=text)


def _request_anew(why: str) -> Check:
    return Check(
        "identity",
        ok=None,
        detail=f"{why}: a new one is asked for",
        code=Code.IDENTITY_BROKEN,
        fix="nothing to do: the key stays, and the old file is kept beside it",
    )


# --- The daemon -----------------------------------------------------------------------


def _icefloe_pid(directories: NodeDirectories) -> int | None:
    with suppress(LockError):
        return holder_pid(directories.lock)
    return None


def _icinga_pid(directories: NodeDirectories) -> int | None:
    """Return the process of an icinga2 daemon on these directories, if one is seen.

    By its command line: without options it is on the packages' directories.
    """
    wanted = {str(directories.data_dir), str(directories.config_dir)}
    for entry in _PROC.glob("[0-9]*/comm"):
        with suppress(OSError):
            if entry.read_bytes().strip() != b"icinga2":
                continue
            line = (entry.parent / "cmdline").read_bytes()
            arguments = line.decode(errors="replace").split("\0")
            if "daemon" not in arguments:
                continue
            moved = [each for each in arguments if "Dir=" in each]
            here = any(each.partition("=")[2] in wanted for each in moved)
            if here or (not moved and directories.data_dir == DATA_DIR_DEFAULT):
                return int(entry.parent.name)
    return None


def _check_daemon(running: int | None, foreign: int | None) -> Check:
    if running is not None:
        return Check(
            "daemon",
            ok=None,
            detail=f"icefloe runs on these directories (process {running})",
            fix="restart it when the set-up is done",
        )
    if foreign is not None:
        return Check(
            "daemon",
            ok=None,
            detail=f"icinga2 runs on these directories (process {foreign})",
            fix="stop and disable it before you start icefloe: both use these files",
        )
    return Check("daemon", ok=True, detail="none runs on these directories")


def check_listening(host: str | None, port: int | None) -> Check:
    """Check that a daemon could listen there; nobody can connect meanwhile.

    Args:
        host: An address or a name; None for every address.
        port: None for Icinga's.
    """
    name, number = host or _LISTEN_HOST, port or _LISTEN_PORT
    where = f"port {number}" if host is None else f"{host} port {number}"
    try:
        found = socket.getaddrinfo(
            name, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and host is None:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(address)
    except (OSError, ValueError) as error:
        cause = error if isinstance(error, OSError) else OSError(0, str(error))
        failed = BindFailed(host=name, port=number, cause=cause)
        reason = cause.strerror or str(cause)
        return Check(
            "listen",
            ok=False,
            detail=f"{where} cannot be listened on: {reason}",
            code=Code.PORT_IN_USE,
            fix=failed.remedy,
        )
    return Check("listen", ok=True, detail=f"{where} is free")


def _own_time(setting: Setting) -> Check:
    now = datetime.fromtimestamp(setting.clock.now().wall, tz=UTC)
    text = f"it is {now:%Y-%m-%d %H:%M} UTC here; there is no parent to compare with"
    return Check("clock", ok=True, detail=text)
