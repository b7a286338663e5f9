"""The five tools: which commands they run, when they skip one, what they do after.

Each line is what the tool hands to its shell (or, on Windows, to the system), word for
word; what stands in braces is filled in.  Read in: NETWAYS' Ansible collection 0.4.9
and its main branch of 2026-07 (role `icinga2`), voxpupuli's Puppet module of 2026-07
(`icinga2::feature::api`), Icinga Director's `Icinga2Agent.bash` of 2026-07, Icinga for
Windows 1.16.0 (`Install-IcingaAgentCertificates`), and Icinga's documentation for
`node setup`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["TOOLS", "Call", "Step", "Tool"]


class Call(enum.Enum):
    """Who reads a line."""

    SHELL = "sh"
    BASH = "bash"
    SYSTEM = "no shell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command.

    Attributes:
        line: What is run.
        unless: Files; it is skipped when all of them exist.
        on_signer: It is run at the signer, and prints the ticket.
        ignored: Its exit code is.
        forces: When it was run, later steps are not skipped in this run.
    """

    line: str
    unless: tuple[str, ...] = ()
    on_signer: bool = False
    ignored: bool = False
    forces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool.

    Attributes:
        name: Also what its agents are named after.
        call: Who reads its lines.
        skips_when: Files; when all exist the enrollment is skipped as a whole.
        stops_when: Files; when one exists the tool gives up at once.
        enrollment: Run in order; the first one that fails ends the run.
        after_failure: Run then.
        configuration: Run after the enrollment, or when that was skipped; the service
            is started after it.
        writes_configuration: Whether the tool writes files by templates of its own;
            else a command does.
        sets_user: Whether `ICINGA2_USER` and `ICINGA2_GROUP` are in the environment.
    """

    name: str
    call: Call
    enrollment: tuple[Step, ...]
    skips_when: tuple[str, ...] = ()
    stops_when: tuple[str, ...] = ()
    after_failure: tuple[Step, ...] = ()
    configuration: tuple[Step, ...] = ()
    writes_configuration: bool = True
    sets_user: bool = False


KEY, CERTIFICATE, CA = "{certs}/{cn}.key", "{certs}/{cn}.crt", "{certs}/ca.crt"

ANSIBLE = Tool(
    name="ansible",
    call=Call.SHELL,
    skips_when=(KEY, CERTIFICATE),
    enrollment=(
        Step(
            line='icinga2 pki save-cert --host "{host}" --port "{port}" '
            '--trustedcert "{certs}/trusted-master.crt"'
        ),
        Step(
            line='icinga2 pki new-cert --cn "{cn}" --key "{certs}/{cn}.key" '
            ' --cert "{certs}/{cn}.crt" '
        ),
        Step(
            line='icinga2 pki ticket --cn "{cn}"  --salt "{salt}"',
            on_signer=True,
        ),
        Step(
            line='icinga2 pki  request --ticket "{ticket}" --host "{host}" '
            '--port "{port}" --ca "{certs}/ca.crt" --key "{certs}/{cn}.key" '
            '--trustedcert "{certs}/trusted-master.crt"  --cert "{certs}/{cn}.crt"'
        ),
    ),
    configuration=(Step(line="icinga2 daemon --validate"),),
)

PUPPET = Tool(
    name="puppet",
    call=Call.SHELL,
    sets_user=True,
    enrollment=(
        Step(
            line='"{program}" pki new-cert --cn {cn} --key {certs}/{cn}.key '
            "--cert {certs}/{cn}.crt",
            unless=(KEY,),
        ),
        Step(
            line='"{program}" pki save-cert --host {host} --port {port} '
            "--key {certs}/{cn}.key --cert {certs}/{cn}.crt "
            "--trustedcert {certs}/trusted-cert.crt |grep '{fingerprint}\\s*$'",
            unless=("{certs}/trusted-cert.crt",),
        ),
        Step(
            line='"{program}" pki request --host {host} --port {port} '
            "--ca {certs}/ca.crt --key {certs}/{cn}.key --cert {certs}/{cn}.crt "
            "--trustedcert {certs}/trusted-cert.crt --ticket {ticket}",
            unless=(CA,),
        ),
    ),
)

DIRECTOR = Tool(
    name="director",
    call=Call.BASH,
    stops_when=(CERTIFICATE,),
    enrollment=(
        Step(
            line='"icinga2" --version 2>/dev/null | '
            r"grep -oPi '\(version: [rv]?\K\d+\.\d+\.\d+[^\)]*'"
        ),
        Step(
            line='"icinga2" pki new-cert --cn "{cn}" --cert "{certs}/{cn}.crt" '
            '--csr "{certs}/{cn}.csr" --key "{certs}/{cn}.key"'
        ),
        Step(
            line='"icinga2" pki save-cert --host "{host}" --port "{port}" '
            '--key "{certs}/{cn}.key" --trustedcert "{certs}/trusted-master.crt"'
        ),
        Step(
            line='"icinga2" pki request --host "{host}" --port "{port}" '
            '--ticket "{ticket}" --key "{certs}/{cn}.key" --cert "{certs}/{cn}.crt" '
            '--trustedcert "{certs}/trusted-master.crt" --ca "{certs}/ca.crt"'
        ),
    ),
    configuration=(
        Step(line='"icinga2" feature enable api', ignored=True),
        Step(line='"icinga2" daemon -C', ignored=True),
    ),
)

WINDOWS = Tool(
    name="windows",
    call=Call.SYSTEM,
    enrollment=(
        Step(
            line="icinga2 pki new-cert --cn {cn} --key {certs}/{cn}.key "
            "--cert {certs}/{cn}.crt",
            unless=(KEY, CERTIFICATE),
            forces=True,
        ),
        Step(
            line="icinga2 pki save-cert --trustedcert {certs}/trusted-parent.crt "
            "--host {host} --port {port}",
            unless=("{certs}/trusted-parent.crt",),
        ),
        Step(
            line="icinga2 pki request --host {host} --port {port} --ticket {ticket} "
            "--key {certs}/{cn}.key --cert {certs}/{cn}.crt "
            "--trustedcert {certs}/trusted-parent.crt --ca {certs}/ca.crt",
            unless=(CA,),
        ),
    ),
    after_failure=(
        Step(line="icinga2 feature list"),
        Step(line="icinga2 feature disable api"),
    ),
    configuration=(
        Step(line="icinga2 feature list"),
        Step(line="icinga2 feature enable api"),
        Step(line="icinga2 daemon -C"),
    ),
)

SETUP = Tool(
    name="setup",
    call=Call.SHELL,
    writes_configuration=False,
    enrollment=(
        Step(
            line="icinga2 pki save-cert --host {host} --port {port} "
            "--trustedcert {certs}/trusted-parent.crt"
        ),
        Step(
            line="icinga2 node setup --ticket {ticket} --cn {cn} "
            "--endpoint {parent},{host},{port} --zone {cn} --parent_zone {parent_zone} "
            "--parent_host {host},{port} --trustedcert {certs}/trusted-parent.crt "
            "--listen {listen} --accept-commands --accept-config --disable-confd"
        ),
    ),
)

TOOLS = {tool.name: tool for tool in (ANSIBLE, PUPPET, DIRECTOR, WINDOWS, SETUP)}
