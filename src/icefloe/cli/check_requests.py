"""`icefloe check requests`: requests that lie at a node and go nowhere."""

from __future__ import annotations

from typing import Annotated

import typer

from icefloe.cli.check_plugin import (
    PluginJSON,
    VerboseOption,
    finish,
    unknown_for_errors,
)
from icefloe.cli.invocation import invocation
from icefloe.cli.setting import become_owner
from icefloe.node.checks.plugin import Range
from icefloe.node.checks.requests_check import (
    NAME,
    RequestsThresholds,
    requests_outcome,
)
from icefloe.node.checks.requests_read import read_requests
from icefloe.node.doors import RealClock

_Warning = Annotated[
    str,
    typer.Option(
        "-w",
        "--warning",
        metavar="RANGE",
        help="Age of the oldest unanswered, seconds.",
    ),
]
_Critical = Annotated[
    str,
    typer.Option(
        "-c",
        "--critical",
        metavar="RANGE",
        help="Age of the oldest unanswered, seconds.",
    ),
]
_UnfetchedWarning = Annotated[
    str,
    typer.Option(metavar="RANGE", help="Age of the oldest answer nobody fetched."),
]
_UnfetchedCritical = Annotated[
    str | None, typer.Option(metavar="RANGE", help="The same [none].")
]
_CountWarning = Annotated[
    str | None, typer.Option(metavar="RANGE", help="Number of unanswered ones [none].")
]
_CountCritical = Annotated[
    str | None, typer.Option(metavar="RANGE", help="The same [none].")
]


def requests(
    ctx: typer.Context,
    *,
    warning: _Warning = "900",
    critical: _Critical = "3600",
    unfetched_warning: _UnfetchedWarning = "3600",
    unfetched_critical: _UnfetchedCritical = None,
    count_warning: _CountWarning = None,
    count_critical: _CountCritical = None,
    verbose: VerboseOption = False,
    as_json: PluginJSON = False,
) -> None:
    """Tell of certificate requests that nobody answers, or whose answer nobody fetches.

    For a real Icinga satellite or master (its certificate-requests directory), and for
    an Icefloe node (its ledger). Reads only. Canaries of 'check enrollment' do not
    count. Run it on that node, as the daemon's user or as root.
    """
    given = invocation(ctx)
    with unknown_for_errors(NAME, given.output, as_json=as_json):
        thresholds = RequestsThresholds(
            warning=Range.parse(warning),
            critical=Range.parse(critical),
            unfetched_warning=Range.parse(unfetched_warning),
            unfetched_critical=_range(unfetched_critical),
            count_warning=_range(count_warning),
            count_critical=_range(count_critical),
        )
        become_owner(given)
        seen = read_requests(given.directories)
        outcome = requests_outcome(seen, thresholds, RealClock().now().wall)
        finish(outcome, given.output, verbose=verbose, as_json=as_json)


def _range(text: str | None) -> Range | None:
    return None if text is None else Range.parse(text)
