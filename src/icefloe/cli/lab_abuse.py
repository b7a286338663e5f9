"""`icefloe lab abuse`: what good agents feel of a flood, or of idlers."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Final

import click
import typer

from icefloe.cli.app import EXIT_FAILED, EXIT_OK
from icefloe.cli.invocation import invocation
from icefloe.cli.lab_options import (
    SALT_VARIABLE,
    ParentOption,
    SaltFileOption,
    expect_alone,
    parent_address,
    salt_of,
)
from icefloe.cli.options import JSONOption
from icefloe.lab.abuse import AbusePlan, AbuseReport, measure_abuse
from icefloe.lab.abuse_idlers import (
    Idlers,
    IdlersPlan,
    IdlersReport,
    enroll_beside_idlers,
)
from icefloe.lab.crowd import Agent, CrowdPlan, Wish, gather_crowd, make_agents
from icefloe.lab.screen import bar, status
from icefloe.node.descriptors import raise_to_hard_limit
from icefloe.node.doors import RealClock, RealEntropy

EPILOG: Final = """\b
Examples, on a machine of its own with the node under test:
  icefloe lab abuse --parent 127.0.0.1,5665 --salt-file salt
  icefloe lab abuse --parent 127.0.0.1,5665 --salt-file salt --idle 2000 --slow 200"""


def abuse(
    ctx: typer.Context,
    *,
    parent: ParentOption,
    salt_file: SaltFileOption = None,
    agents: Annotated[
        int, typer.Option(min=2, help="Good agents in all, one after the other.")
    ] = 400,
    rate: Annotated[
        int, typer.Option(min=1, help="Messages of the flood, a second.")
    ] = 1000,
    connections: Annotated[
        int, typer.Option(min=1, help="Connections of the flood, at a time.")
    ] = 20,
    source: Annotated[
        str, typer.Option(help="Address that the flood comes from.")
    ] = "127.0.0.2",
    rounds: Annotated[
        int, typer.Option(min=1, help="How often each load has its turn.")
    ] = 4,
    idle: Annotated[
        int, typer.Option(min=0, help="In place of a flood: so many say nothing.")
    ] = 0,
    slow: Annotated[
        int, typer.Option(min=0, help="The same: so many say a byte a second.")
    ] = 0,
    as_json: JSONOption = False,
) -> None:
    """Let good agents enroll beside those who mean no good.

    A flood of wrong tickets from one address, and the same load of heartbeats, in
    turns; the figure is the ratio of the 99th percentiles. Or connections that say
    nothing, or a byte a second, and are opened again when the node closes them. Exits
    with 1 if a good agent was not signed.
    """
    if idle or slow:
        option = "--idle" if idle else "--slow"
        expect_alone(ctx, option, "rate", "connections", "source", "rounds")
    raise_to_hard_limit()
    where = parent_address(parent)
    salt = salt_of(salt_file, invocation(ctx).environment)
    if not salt:
        raise click.UsageError(
            f"the good agents need tickets: name the salt with --salt-file or {SALT_VARIABLE}"
        )
    crowd = CrowdPlan(count=agents, prefix="", salt=salt)
    report: AbuseReport | IdlersReport
    if idle or slow:
        plan = IdlersPlan(parent=where, idle=idle, slow=slow)
        report = asyncio.run(_idlers(plan, crowd))
    else:
        flood = AbusePlan(
            parent=where,
            rate=rate,
            connections=connections,
            source=source,
            rounds=rounds,
        )
        report = asyncio.run(_flood(flood, crowd))
    print(report.to_json() if as_json else report.text())
    for complaint in report.complaints:
        print(f"complaint: {complaint}", file=sys.stderr)
    raise typer.Exit(EXIT_FAILED if report.complaints else EXIT_OK)


async def _flood(plan: AbusePlan, crowd: CrowdPlan) -> AbuseReport:
    good = await _gathered(crowd)
    with bar(sys.stderr, what="enrolling", total=len(good)) as progress:
        return await measure_abuse(
            plan,
            good,
            entropy=RealEntropy(),
            on_progress=lambda _load, _outcome: progress.advance(),
        )


async def _idlers(plan: IdlersPlan, crowd: CrowdPlan) -> IdlersReport:
    good = await _gathered(crowd)
    entropy, now = RealEntropy(), RealClock().now().wall
    (idler,) = await make_agents([Wish(name="idler")], entropy=entropy, now=now)
    return await enroll_beside_idlers(Idlers(plan, idler), good, entropy=entropy)


async def _gathered(crowd: CrowdPlan) -> list[Agent]:
    clock, entropy = RealClock(), RealEntropy()
    with status(sys.stderr, "making keys, certificates and tickets"):
        return await gather_crowd(crowd, entropy=entropy, now=clock.now().wall)
