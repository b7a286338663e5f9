"""The files that systemd needs to run a node or a gateway: units, users, directories.

Only texts are made here, for one installation: where the program is, whose the files
are.  `icefloe service` shows and installs them; `packaging/systemd` holds those of a
distribution's package, which a test compares with these.

What a unit may do is what the daemon needs, and no more: its own user without any
capability, a file system that is read-only but for the data directory, no devices, no
homes, no other namespaces.  On a node that does not sign, the CA's directory cannot be
looked into; on one that does, it can be read and not written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from icefloe.errors import IcefloeError

__all__ = [
    "GATEWAY_OPTIONS_FILE",
    "GATEWAY_STOP_SECONDS",
    "GATEWAY_USER",
    "HIDDEN_PLACES",
    "NODE_STOP_SECONDS",
    "SIGNER_DROP_IN",
    "GatewayService",
    "Needed",
    "NodeService",
    "ServiceProblem",
    "check_visible",
    "needed_program",
    "package_files",
]

NODE_STOP_SECONDS: Final = 30
"""A node's orderly end takes 21 s at most (`stopping.seconds_max`)."""

GATEWAY_STOP_SECONDS: Final = 45
"""A gateway's takes 34 s at most."""

GATEWAY_OPTIONS_FILE: Final = PurePosixPath("/etc/default/icefloe-gateway")
"""Holds the options of `icefloe gateway`."""

GATEWAY_USER: Final = "icefloe-gateway"

SIGNER_DROP_IN: Final = PurePosixPath(
    "/etc/systemd/system/icefloe.service.d/signer.conf"
)
"""Lets a node's daemon read the CA's key."""

HIDDEN_PLACES: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
"""What ProtectHome= and PrivateTmp= of the units hide, with all that is below."""

_SYSTEM_UNITS: Final = PurePosixPath("/etc/systemd/system")
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,30}", re.ASCII)


class ServiceProblem(IcefloeError):
    """No unit can be made for this installation; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What a service has to see.

    Attributes:
        path: Where it is.
        option: By which another one is named.
        remedy: What to do where a service does not see it.
    """

    path: str
    option: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeService:
    """The service `icefloe`: an agent, satellite or master.

    Attributes:
        program: The command, in words; the first one is an absolute path.
        user: Whose the node's files are.
        group: Its group.
        config_dir: The node's.
        data_dir: The node's.
        signs: Whether this node may use the CA's key.
        makes_user: Whether systemd is to make the user, and the directories.
        root_owns: Whether there are files already which are root's.
        name: Of the unit.
    """

    program: tuple[str, ...]
    user: str
    group: str
    config_dir: Path
    data_dir: Path
    signs: bool = False
    makes_user: bool = False
    root_owns: bool = False
    name: ClassVar[str] = "icefloe"

    def needs(self) -> tuple[Needed, ...]:
        """Return what the service has to see."""
        return (
            needed_program(self.program[0]),
            _directory(self.config_dir, "--config-dir", "/etc/icinga2"),
            _directory(self.data_dir, "--data-dir", "/var/lib/icinga2"),
        )

    def files(self) -> Mapping[PurePosixPath, str]:
        """Return the text of each file, by its place.

        Raises:
            ServiceProblem: The service could not see the program, or a directory.
        """
        check_visible(self.needs())
        found = {_SYSTEM_UNITS / "icefloe.service": self._unit()}
        if self.signs:
            found[SIGNER_DROP_IN] = _SIGNER.format(
                made_by=_MADE_BY, ca=_word(f"{self.data_dir}/ca")
            )
        if self.makes_user:
            found[PurePosixPath("/etc/sysusers.d/icefloe.conf")] = _MADE_BY + (
                f'u {self.user} - "Icefloe, a node of an Icinga 2 cluster" '
                f"{_word(str(self.data_dir))}\n"
            )
            found[PurePosixPath("/etc/tmpfiles.d/icefloe.conf")] = _MADE_BY + "".join(
                f"d {_word(str(path))} 0750 {self.user} {self.group} -\n"
                for path in (self.config_dir, self.data_dir)
            )
        return found

    def _unit(self) -> str:
        directories = ("--config-dir", self.config_dir, "--data-dir", self.data_dir)
        command = (*self.program, "daemon", *map(str, directories))
        data_dir = str(self.data_dir)
        return _UNIT.format(
            made_by=_MADE_BY,
            description="Icefloe, a node of an Icinga 2 cluster",
            environment="",
            command=_command(command),
            stop_seconds=NODE_STOP_SECONDS,
            user=_user(self.user),
            group=_user(self.group),
            places=(
                "# Nothing else is written; the configuration is only read.\n"
                f"ReadWritePaths={_word(data_dir)}\n"
                "# Only a node that signs has a use for the CA: see signer.conf.\n"
                f"InaccessiblePaths=-{_word(data_dir + '/ca')}\n"
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayService:
    """The service `icefloe-gateway`.

    Attributes:
        program: The command, in words; the first one is an absolute path.
        user: Whose the gateway's directory is; no node's user.
        node_data_dir: Of the node beside it, which it must not look into.
        makes_user: Whether systemd is to make the user.
        name: Of the unit.
    """

    program: tuple[str, ...]
    user: str = GATEWAY_USER
    node_data_dir: Path = Path("/var/lib/icinga2")
    makes_user: bool = True
    name: ClassVar[str] = "icefloe-gateway"

    def needs(self) -> tuple[Needed, ...]:
        """Return what the service has to see; systemd makes its directory."""
        return (needed_program(self.program[0]),)

    def files(self) -> Mapping[PurePosixPath, str]:
        """Return the text of each file, by its place; see `NodeService.files`."""
        check_visible(self.needs())
        command = _command((*self.program, "gateway"))
        unit = _UNIT.format(
            made_by=_MADE_BY,
            description="Icefloe gateway: enrolls clients beside an Icinga node",
            environment=f"EnvironmentFile={GATEWAY_OPTIONS_FILE}\n",
            command=f"{command} --data-dir /var/lib/icefloe-gateway $GATEWAY_OPTIONS",
            stop_seconds=GATEWAY_STOP_SECONDS,
            user=_user(self.user),
            group=_user(self.user),
            places=(
                "# Its own directory, /var/lib/icefloe-gateway; nothing else is "
                "written.\n"
                "StateDirectory=icefloe-gateway\n"
                "StateDirectoryMode=0700\n"
                "# Keys and CA of the node beside it are not its business.\n"
                f"InaccessiblePaths=-{_word(str(self.node_data_dir))}\n"
            ),
        )
        found = {
            _SYSTEM_UNITS / "icefloe-gateway.service": unit,
            GATEWAY_OPTIONS_FILE: _GATEWAY_OPTIONS,
        }
        if self.makes_user:
            found[PurePosixPath("/etc/sysusers.d/icefloe-gateway.conf")] = (
                f'{_MADE_BY}u {self.user} - "Icefloe gateway" /var/lib/icefloe-gateway\n'
            )
        return found


def package_files() -> Mapping[PurePosixPath, str]:
    """Return the files of a distribution's package, by their places.

    The drop-in for a node that signs is among them; a package ships it as an example.
    """
    program = ("/usr/bin/icefloe",)
    node = NodeService(
        program=program,
        user="icinga",
        group="icinga",
        config_dir=Path("/etc/icinga2"),
        data_dir=Path("/var/lib/icinga2"),
        signs=True,
        makes_user=True,
    )
    return {**node.files(), **GatewayService(program=program).files()}


_MADE_BY: Final = "# Made by `icefloe service install`.\n"

_UNIT: Final = """\
{made_by}# What is to be different goes into a drop-in, which stays: systemctl edit

[Unit]
Description={description}
Wants=network-online.target
After=network-online.target
# It is never given up: what is missing may come.  Four starts a minute, see RestartSec.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
{environment}ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=15
# A new release may have to convert a large ledger first.
TimeoutStartSec=5min
# Who waits for an answer gets one; the process sees to the limit itself.
TimeoutStopSec={stop_seconds}
KillMode=mixed
# Said only after a turn of the core with its ledger; see the log for where it hung.
WatchdogSec=60

User={user}
Group={group}
UMask=0077
LimitNOFILE=65536
# A core file would hold keys.
LimitCORE=0

{places}
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
PrivateUsers=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
# Not MemoryDenyWriteExecute=: the TLS library's callbacks are made of code at run time.
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# The number of open files is read, and raised to LimitNOFILE; new files are given to
# their owner, who is us.
SystemCallFilter=prlimit64 setrlimit @chown

[Install]
WantedBy=multi-user.target
"""

_SIGNER: Final = """\
{made_by}# For a node that signs: its daemon reads the CA's key.  It never writes there.

[Service]
InaccessiblePaths=
ReadOnlyPaths={ca}
"""

_GATEWAY_OPTIONS: Final = """\
# The options of `icefloe gateway`, see `icefloe gateway --help`; on one line.
# Copy the cluster's ca.crt to where the gateway's user can read it.
# GATEWAY_OPTIONS="--upstream sat1,5665 --listen ::,5666 --ca /etc/ssl/icinga-ca.crt"
GATEWAY_OPTIONS=""
"""


def needed_program(path: str) -> Needed:
    """Return a program, or its interpreter, as a service needs it."""
    return Needed(
        path,
        "--program",
        "install Icefloe for the whole machine, such as with '/usr/bin/python3 -m venv "
        "/opt/icefloe' and '/opt/icefloe/bin/pip install icefloe-*.whl' (its wheel), or "
        "name another program with --program",
    )


def check_visible(
    needed: Iterable[Needed], *, resolve: Callable[[str], str] = str
) -> None:
    """Refuse what the units' protection hides from the service.

    Args:
        needed: What the service has to see.
        resolve: Follows the links of a path; without it, paths are taken as they read.

    Raises:
        ServiceProblem: With every reason, and what to do.
    """
    # A home may be a link itself: /home leads to /var/home on some systems.
    hidden = {*HIDDEN_PLACES, *map(resolve, HIDDEN_PLACES)}
    problems = []
    for each in needed:
        place = PurePosixPath(resolve(each.path))
        if not each.path.startswith("/"):
            problems.append(
                f"'{each.path}' is no absolute path: give one with {each.option}"
            )
        elif any(place.is_relative_to(other) for other in hidden):
            link = "" if str(place) == each.path else f" leads to '{place}', which"
            problems.append(
                f"'{each.path}'{link} is where a service does not look "
                f"(homes and /tmp): {each.remedy}"
            )
    if problems:
        raise ServiceProblem("\n".join(problems))


def _directory(path: Path, option: str, better: str) -> Needed:
    return Needed(
        str(path),
        option,
        f"move it to a place for the whole machine, such as '{better}', and name that "
        f"with {option}",
    )


def _user(name: str) -> str:
    if not _USER.fullmatch(name):
        raise ServiceProblem(f"'{name}' is no name of a user: give one with --user")
    return name


def _command(words: tuple[str, ...]) -> str:
    # A $ would be taken for a variable.
    return " ".join(_word(word.replace("$", "$$")) for word in words)


def _word(text: str) -> str:
    """Quote a path or a word as systemd reads it, specifiers included."""
    if any(ord(character) < ord(" ") for character in text):
        raise ServiceProblem(f"{text!r} cannot stand in a unit")
    text = text.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./$-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
