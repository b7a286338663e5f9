"""How `icefloe fleet audit` looks on a screen.

Names and texts come from other machines: they are made printable first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from icefloe.cli.output import Output
from icefloe.cli.page import Page
from icefloe.node.acceptance import tidy
from icefloe.node.fleet.report import Audit, days_left, issuers
from icefloe.node.fleet.states import State
from icefloe.node.fleet.verdicts import Verdict

__all__ = ["PLAIN_WIDTH", "show_audit"]

PLAIN_WIDTH: Final = 110
"""Columns where there is no terminal: a host's name and a sentence beside each other."""

NEXT_STEPS_MAX: Final = 12

_COLORS: Final = {State.OK: "green", State.UNJUDGED: "cyan", State.EXPIRING: "yellow"}


def show_audit(audit: Audit, shown: Sequence[Verdict], output: Output) -> None:
    """Print the hosts in the order given, then the counts and what to do."""
    page = Page(output, plain_width=PLAIN_WIDTH)
    if shown:
        page.print(_table(audit, shown))
    _show_judge(page, audit)
    _show_counts(page, audit)
    _show_next(page, audit)
    page.show()


def _table(audit: Audit, shown: Sequence[Verdict]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("Host", overflow="fold")
    table.add_column("State", no_wrap=True)
    table.add_column("Days left", justify="right", no_wrap=True)
    table.add_column("What was seen", overflow="fold")
    for each in shown:
        left = "" if each.facts is None else str(days_left(each.facts, audit.at))
        table.add_row(
            tidy(each.target.label),
            Text(_state_words(each), _COLORS.get(each.state, "red")),
            left,
            tidy(each.detail or _well(each)),
        )
    return table


def _state_words(verdict: Verdict) -> str:
    cause = f" ({verdict.cause})" if verdict.cause is not None else ""
    return f"{verdict.state}{cause}"


def _well(verdict: Verdict) -> str:
    if verdict.facts is None or verdict.target.name is not None:
        return ""
    return f"it is {verdict.facts.cn}; asked by address, its name was not compared"


def _show_judge(page: Page, audit: Audit) -> None:
    if audit.judged_by:
        short = audit.ca_fingerprint[:16]
        page.print(f"Judged by the CA in '{audit.judged_by}' ({short}...).")
        return
    page.print(
        "There was no CA to judge by: whether certificates are this cluster's cannot be "
        "known. Give --ca."
    )
    for each in issuers(audit.verdicts):
        hosts = "1 host" if each.hosts == 1 else f"{each.hosts} hosts"
        which = (
            f"CA certificate {each.ca_fingerprint[:16]}..."
            if each.ca_fingerprint
            else "which does not show its certificate: may be several"
        )
        page.print(f"  {hosts}: issued by {tidy(each.name)}, {which}")


def _show_counts(page: Page, audit: Audit) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in audit.counts.items())
    looked = f"{len(audit.verdicts)} of {audit.asked} hosts"
    if not audit.complete:
        looked = f"Interrupted: {looked}"
    page.print(f"{looked} looked at in {audit.seconds:.1f} s: {counts or 'none'}.")


def _show_next(page: Page, audit: Audit) -> None:
    states = [state for state in audit.counts if state.next_step]
    if not audit.judged_by and State.UNJUDGED in states:
        states.remove(State.UNJUDGED)  # said above
    for state in states[:NEXT_STEPS_MAX]:
        page.print(f"{state}: {state.next_step}")
