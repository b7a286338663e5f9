"""The options of `node setup`, and the spellings that they are accepted in.

Every option is None, or an empty list, when it was not given: then the environment and
the file of answers are asked (`icefloe.node.commands.answers`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from icefloe.node.commands.questions import QUESTIONS, canonical_key

__all__ = ["SPELLINGS", "spelled"]


def spelled(name: str) -> str:
    """Return the one spelling of an option's name, without its hyphens in front.

    protocol: Icinga writes `--parent_host` and `--accept-config`; tools mix hyphens and
    underscores.  `--master_host` is its old name for `--parent_host`.
    """
    question = QUESTIONS.get(canonical_key(name))
    if question is not None:
        name = question.spelled
    return name.lstrip("-").replace("_", "-")


SPELLINGS: Final = {"token_normalize_func": spelled}
"""For the context of the command."""

FileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="PATH",
        help="A file with answers, TOML (or .yaml, with PyYAML); - is standard input.",
    ),
]
MasterOption: TypeAlias = Annotated[
    bool | None, typer.Option("--master", help="Set up a master, with a CA.")
]
NameOption: TypeAlias = Annotated[
    str | None, typer.Option("--cn", help="The node's name [the machine's full name].")
]
ZoneOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--zone", help="Its own zone; an agent's usually bears its name [master]."
    ),
]
EndpointOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        metavar="CN[,HOST[,PORT]]",
        help="A node of the parent zone, with the host to connect to if this node is "
        "to do that; repeatable.",
    ),
]
ParentHostOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--parent_host",
        metavar="HOST[,PORT]",
        help="Where to ask for the certificate; repeatable, tried in turn. Without it "
        "nobody is asked, and ca.crt is copied by hand.",
    ),
]
ParentZoneOption: TypeAlias = Annotated[
    str | None, typer.Option("--parent_zone", help="The zone above [master].")
]
TrustedOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--trustedcert",
        help="What the parent has to show ('pki save-cert'); repeatable. Not needed "
        "when the CA's certificate is there and the parent bears the expected name.",
    ),
]
CACertificateOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--cacert",
        metavar="PATH",
        help="The CA's certificate; copied to certs/ca.crt when there is none.",
    ),
]
TicketOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ticket", help="The ticket. Other users can see it: use --ticket-file."
    ),
]
TicketFileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--ticket-file",
        metavar="PATH",
        help="A file with the ticket, - for standard input [else: ICEFLOE_TICKET].",
    ),
]
WaitOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--wait", metavar="SECONDS", help="How long to wait for the certificate [120]."
    ),
]
ListenOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--listen", metavar="HOST[,PORT]", help="Where to listen [everywhere, 5665]."
    ),
]
AcceptConfigOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--accept-config/--no-accept-config",
        help="Take configuration from the parent [no].",
    ),
]
AcceptCommandsOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--accept-commands/--no-accept-commands",
        help="Run commands from the parent [no].",
    ),
]
GlobalZonesOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--global_zones",
        metavar="NAME",
        help="A global zone besides the default ones; repeatable.",
    ),
]
NoDefaultZonesOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--no-default-global-zones",
        help="Leave out global-templates and director-global.",
    ),
]
DisableConfDOption: TypeAlias = Annotated[
    bool | None, typer.Option("--disable-confd", help="Stop including conf.d.")
]
IcefloeEndpointOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--icefloe-endpoint",
        metavar="CN",
        help="Declare an endpoint to be an Icefloe node; repeatable.",
    ),
]
SetupKeyTypeOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--key-type",
        metavar="ec|rsa",
        help="For a new key: ECDSA P-256 (quick), or RSA-4096 (as Icinga 2) [ec].",
    ),
]
DryRunOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Change nothing: check everything and show what would change."
    ),
]
RotateKeyOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--rotate-key",
        help="Get a certificate for a new key; the present one works until it is there.",
    ),
]
VerifyOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--verify", help="Ask the parents also when there is nothing to be changed."
    ),
]
MasterZoneOption: TypeAlias = Annotated[
    str | None, typer.Option("--master_zone", hidden=True)
]
