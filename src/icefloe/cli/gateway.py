"""`icefloe gateway`: enroll clients beside a real node, without a seat in the cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from icefloe.cli.app import CONTEXT
from icefloe.cli.daemon import LogFormat
from icefloe.cli.invocation import Given, output_of
from icefloe.config.layout import DATA_DIR_VARIABLE
from icefloe.node.commands.enrolling import TICKET_VARIABLE, choose_ticket
from icefloe.node.gateway import process as gateway_process
from icefloe.node.gateway.options import (
    DATA_DIR_DEFAULT,
    GatewayOptions,
    ListenPlace,
    TrustOptions,
    UpstreamPlace,
    parse_limits,
)

EPILOG: Final = """\b
Beside the satellite sat1 (copy its /var/lib/icinga2/certs/ca.crt first):
  icefloe gateway --upstream sat1,5665 --listen 0.0.0.0,5666 --ca ca.crt

\b
On a new agent, with what is there already:
  icinga2 pki save-cert --host sat1 --port 5666 --trustedcert parent.crt
  icinga2 node setup --parent_host sat1,5666 --trustedcert parent.crt \\
    --endpoint sat1,sat1,5665 --cn agent1 --zone agent1 \\
    --parent_zone satellite --ticket TICKET
Only --parent_host is the gateway; the agent's daemon connects to sat1."""

app = typer.Typer(context_settings=CONTEXT, rich_markup_mode=None, add_completion=False)

_Upstreams: TypeAlias = Annotated[
    list[str],
    typer.Option(
        "--upstream",
        metavar="HOST[,PORT[,NAME]]",
        help="The satellite or master to forward to; repeatable, the first is asked "
        "first. NAME is its Endpoint's, else it is remembered from the first contact.",
    ),
]
_Listen: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="HOST[,PORT]", help="Where clients come; '::' for everywhere."
    ),
]
_CA: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The cluster's ca.crt. Stored.")
]
_Trusted: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Without --ca: an upstream's certificate, saved with 'pki save-cert' and "
        "compared. The CA is learned from the upstream that shows it.",
    ),
]
_TrustFirstUse: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust-first-use",
        help="Without either: believe whoever answers first. For a lab.",
    ),
]
_DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The gateway's own directory, made at the first start: ledger, key, "
        f"certificate, CA. Never a node's [{DATA_DIR_DEFAULT}].",
    ),
]
_Name: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="CN",
        help="The name in the gateway's certificate, which must be no Endpoint's "
        "[icefloe-gateway.HOSTNAME].",
    ),
]
_TicketFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Holds the ticket for that name, so that the gateway's certificate is "
        f"signed too. Not needed to serve [env: {TICKET_VARIABLE}].",
    ),
]
_LimitOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=NUMBER",
        help="Another limit than the default (docs/limits.md); repeatable.",
    ),
]
_Format: TypeAlias = Annotated[
    LogFormat, typer.Option(help="How log events are written.")
]
_JSON: TypeAlias = Annotated[
    bool, typer.Option("--json", help="The same as --log-format json.")
]


@app.command(epilog=EPILOG)
def gateway(
    ctx: typer.Context,
    *,
    upstreams: _Upstreams,
    listen: _Listen,
    ca: _CA = None,
    trustedcert: _Trusted = None,
    trust_first_use: _TrustFirstUse = False,
    data_dir: _DataDir = None,
    name: _Name = "",
    ticket_file: _TicketFile = None,
    limit: _LimitOption = None,
    log_format: _Format = LogFormat.TEXT,
    as_json: _JSON = False,
) -> None:
    """Take certificate requests like a satellite, beside a real one.

    Clients that enroll here get their certificate on their first call, whatever release
    of Icinga 2 stands behind: the gateway forwards their request and asks until it is
    answered. Nothing in the cluster is changed or reloaded; the gateway has no Endpoint
    and no Zone, and it monitors nothing.

    Requests are in the ledger before they are forwarded, so a restart loses none.
    SIGTERM lets clients that wait have their certificate (16 s at most; a second
    SIGTERM hurries), and tells the others "pending". The gateway's certificate stays
    the same while it runs, because clients pin it; SIGHUP shows a newer one, and reads
    the CA again.
    """
    given = ctx.find_object(Given) or Given()
    options = GatewayOptions(
        upstreams=tuple(map(UpstreamPlace.parse, upstreams)),
        listen=ListenPlace.parse(listen),
        data_dir=_data_dir(data_dir or given.data_dir),
        name=name,
        ticket=choose_ticket(None, ticket_file, os.environ.get(TICKET_VARIABLE)),
        trust=TrustOptions(
            ca_file=ca,
            trusted_cert_file=trustedcert,
            trust_first_use=trust_first_use,
        ),
        limits=parse_limits(limit or ()),
    )
    code = gateway_process.run(
        options,
        narrator=output_of(given),
        log_level=given.log_level.number,
        log_json=as_json or log_format is LogFormat.JSON,
    )
    raise typer.Exit(code)


def _data_dir(given: Path | None) -> Path:
    variable = os.environ.get(DATA_DIR_VARIABLE)
    return given or (Path(variable) if variable else DATA_DIR_DEFAULT)
