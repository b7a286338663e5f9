"""`icefloe lab`: load, faults, simulated clusters, and peers with other habits."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from icefloe.cli import lab_abuse, lab_chaos, lab_proxy, lab_simulate
from icefloe.cli.app import CONTEXT, EXIT_FAILED, EXIT_OK
from icefloe.cli.daemon import LogFormat
from icefloe.cli.invocation import invocation
from icefloe.cli.lab_options import (
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
    parent_address,
    salt_of,
    text_of,
)
from icefloe.cli.options import JSONOption
from icefloe.habits import HABITS, habits_of
from icefloe.lab import habitual
from icefloe.lab.crowd import CrowdPlan, gather_crowd
from icefloe.lab.screen import bar, console, status
from icefloe.lab.storm import StormPlan, run_storm
from icefloe.lab.storm_report import StormReport
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.keys import KeyType

COMPLAINTS_SHOWN_MAX = 10

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Try things out: load, faults, simulated clusters, habits of other releases.",
)
app.command(
    epilog=lab_simulate.EPILOG,
    short_help="Run simulated clusters in which much goes wrong.",
    cls=lab_simulate.SimulateCommand,
)(lab_simulate.simulate)
app.command(
    epilog=lab_chaos.EPILOG,
    short_help="Break a real cluster under load, and judge what is left.",
)(lab_chaos.chaos)
app.command(
    epilog=lab_proxy.EPILOG,
    short_help="Break TCP connections at the bytes you name.",
)(lab_proxy.proxy)
app.command(
    epilog=lab_abuse.EPILOG,
    short_help="Measure what good agents feel of a flood.",
)(lab_abuse.abuse)


@app.command(
    epilog="Example: icefloe lab storm --parent sat1,5665 --agents 200 --at-once 20"
    " --salt-file salt --expect signed",
    short_help="Let many agents ask a parent for certificates at once.",
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
        salt=salt_of(salt_file, invocation(ctx).environment),
        tickets=None if tickets_file is None else text_of(tickets_file),
        wrong_tickets=wrong_tickets,
        key_type=key_type,
    )
    weather = StormPlan(
        parent=parent_address(parent),
        at_once=at_once,
        until_signed=until_signed,
        ask_again=ask_again,
        seconds_max=deadline,
        pids=tuple(pid or ()),
    )
    trust = None if ca_file is None else TrustAnchor.from_pem(text_of(ca_file))
    report = asyncio.run(_storm(crowd, weather, trust=trust))
    if as_json:
        print(report.to_json())
    else:
        console(sys.stdout).print(report.table())
    complaints = report.complaints(expected=expect)
    for complaint in complaints[:COMPLAINTS_SHOWN_MAX]:
        print(f"complaint: {complaint}", file=sys.stderr)
    raise typer.Exit(EXIT_FAILED if complaints else EXIT_OK)


@app.command(
    epilog="Example: icefloe --config-dir etc --data-dir data lab peer 2.14.4",
    short_help="Run a node with the habits of an Icinga 2 release.",
)
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
