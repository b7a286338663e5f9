"""`icefloe lab`: load on a parent, and peers with the habits of other releases."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import click
import typer

from icefloe.cli.app import CONTEXT, EXIT_FAILED, EXIT_OK
from icefloe.cli.daemon import LogFormat
from icefloe.cli.invocation import invocation
from icefloe.cli.lab_options import (
    SALT_VARIABLE,
    AgentKeyTypeOption,
    AgentsOption,
    AskAgainOption,
    AtOnceOption,
    CAFileOption,
    DeadlineOption,
    ExpectOption,
    ParentOption,
    PidOption,
    PrefixOption,
    SaltFileOption,
    TicketsFileOption,
    UntilSignedOption,
    WrongTicketsOption,
)
from icefloe.cli.options import JSONOption
from icefloe.habits import HABITS, habits_of
from icefloe.lab import habitual
from icefloe.lab.asking import ParentAddress
from icefloe.lab.crowd import CrowdPlan, gather_crowd
from icefloe.lab.screen import bar, console, status
from icefloe.lab.storm import StormPlan, run_storm
from icefloe.lab.storm_report import StormReport
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import read_file
from icefloe.storage.keys import KeyType

PORT_DEFAULT = 5665
FAULTS_SHOWN_MAX = 10

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Try things out: load on a parent, peers with habits of other releases.",
)


@app.command(
    epilog="Example: icefloe lab storm --parent sat1,5665 --agents 200 --at-once 20"
    " --salt-file salt --expect signed"
)
def storm(
    ctx: typer.Context,
    *,
    parent: ParentOption,
    agents: AgentsOption = 100,
    at_once: AtOnceOption = 20,
    prefix: PrefixOption = "",
    salt_file: SaltFileOption = None,
    tickets_file: TicketsFileOption = None,
    wrong_tickets: WrongTicketsOption = False,
    until_signed: UntilSignedOption = False,
    ask_again: AskAgainOption = False,
    deadline: DeadlineOption = 120.0,
    pid: PidOption = None,
    ca_file: CAFileOption = None,
    expect: ExpectOption = None,
    key_type: AgentKeyTypeOption = KeyType.EC,
    as_json: JSONOption = False,
) -> None:
    """Let many agents ask a parent for certificates, each on connections of its own.

    The parent may be Icefloe or Icinga. The agents ask as an unmodified
    'icinga2 pki request' does. Keys, certificates and tickets are made before the
    clock starts. Exits with 1 if a certificate is wrong or an agent got two, if the
    deadline came first, or if --expect does not hold.
    """
    crowd = CrowdPlan(
        count=agents,
        prefix=prefix,
        salt=_salt(salt_file, invocation(ctx).environment),
        tickets=None if tickets_file is None else _text(tickets_file),
        wrong_tickets=wrong_tickets,
        key_type=key_type,
    )
    weather = StormPlan(
        parent=_address(parent),
        at_once=at_once,
        until_signed=until_signed,
        ask_again=ask_again,
        seconds_max=deadline,
        pids=tuple(pid or ()),
    )
    trust = None if ca_file is None else TrustAnchor.from_pem(_text(ca_file))
    report = asyncio.run(_storm(crowd, weather, trust=trust))
    if as_json:
        print(report.to_json())
    else:
        console(sys.stdout).print(report.table())
    faults = report.faults(expected=expect)
    for fault in faults[:FAULTS_SHOWN_MAX]:
        print(f"fault: {fault}", file=sys.stderr)
    raise typer.Exit(EXIT_FAILED if faults else EXIT_OK)


@app.command(epilog="Example: icefloe --config-dir etc --data-dir data lab peer 2.14.4")
def peer(
    ctx: typer.Context,
    release: Annotated[
        str,
        typer.Argument(help=f"The release: {', '.join(HABITS)}.", metavar="RELEASE"),
    ],
    *,
    log_format: Annotated[
        LogFormat, typer.Option(help="How log events are written.")
    ] = LogFormat.TEXT,
) -> None:
    """Run the node of these directories with the habits of an Icinga 2 release.

    It treats certificate requests as that release does, in any seat: satellite,
    master, agent. It monitors nothing and keeps its stored requests in memory. For
    tests and experiments.
    """
    inv = invocation(ctx)
    code = habitual.run(
        directories=inv.directories,
        habits=habits_of(release),
        log_level=inv.log_level.number,
        log_json=log_format is LogFormat.JSON,
    )
    raise typer.Exit(code)


async def _storm(
    crowd: CrowdPlan, plan: StormPlan, *, trust: TrustAnchor | None
) -> StormReport:
    clock, entropy = RealClock(), RealEntropy()
    with status(sys.stderr, "making keys, certificates and tickets"):
        agents = await gather_crowd(crowd, entropy=entropy, now=clock.now().wall)
    with bar(sys.stderr, what="asking", total=len(agents)) as progress:
        happened = await run_storm(
            plan,
            agents,
            clock=clock,
            entropy=entropy,
            on_progress=lambda _enrollment: progress.advance(),
        )
    return StormReport.of(happened, trust=trust, at=clock.now().wall)


def _salt(file: Path | None, environment: Mapping[str, str]) -> str:
    if file is None:
        return environment.get(SALT_VARIABLE, "")
    return _text(file).strip()


def _text(file: Path) -> str:
    try:
        return read_file(file).decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{file} is no text") from None


def _address(text: str) -> ParentAddress:
    """Read `host` or `host,port`, as Icinga's `--parent_host` has it."""
    host, comma, port = text.rpartition(",")
    if not comma:
        return ParentAddress(host=text, port=PORT_DEFAULT)
    if not port.isdecimal():
        raise click.BadParameter("it has the form HOST or HOST,PORT")
    return ParentAddress(host=host, port=int(port))
