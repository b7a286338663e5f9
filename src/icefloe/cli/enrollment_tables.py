"""How `icefloe enrollment` looks on a screen: fields and tables, 80 columns at least.

Colours follow `--color`, the terminal and NO_COLOR, as for every command.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from icefloe.cli.output import Output
from icefloe.cli.page import Page
from icefloe.doors import WallTime
from icefloe.enrollment.model import AttemptRecord, AttemptState
from icefloe.enrollment.problems import GROUPS, Outlook, Problem
from icefloe.node.acceptance import tidy
from icefloe.node.commands.enrollment_status import Answer, NodeStatus
from icefloe.node.commands.explaining import (
    HOW_IT_CAME,
    SHOWN_DIGITS,
    Explained,
    Explanation,
)

__all__ = ["show_explanation", "show_problem", "show_problems", "show_status"]

ATTEMPTS_SHOWN: Final = 5
"""The last ones; a relay's agent asks every ten seconds."""

_DAY: Final = 86_400.0

_COLORS: Final = {
    Answer.WELL: "green",
    Answer.WAITS: "yellow",
    Answer.PERSON: "red",
    Answer.UNKNOWN: "red",
}
_OUTLOOKS: Final = {
    Outlook.WELL: ("green", "all is well"),
    Outlook.WAITS: ("yellow", "it waits and goes on by itself"),
    Outlook.PERSON: ("red", "somebody has to do something"),
}


# --- The node -------------------------------------------------------------------------


def show_status(status: NodeStatus, at: WallTime, output: Output) -> None:
    """Print how a node stands."""
    since = f" since {_time(status.since)}" if status.since is not None else ""
    rows: list[tuple[str, str | Text]] = [
        ("Node", status.node_name or "(its configuration does not tell)"),
        ("State", Text.assemble((status.state, _COLORS[status.answer]), since)),
    ]
    if status.parent:
        rows.append(("Parent", status.parent))
    if status.next_attempt is not None:
        rows.append(("Next attempt", _time_and_distance(status.next_attempt, at)))
    if status.certificate_ends is None:
        rows.append(("Certificate", "none of the cluster's"))
    else:
        ends = _time_and_distance(status.certificate_ends, at)
        rows.append(("Certificate", f"ends {ends}"))
    if status.renew_at is not None:
        rows.append(("Renewal", _time_and_distance(status.renew_at, at)))
    if status.switch is not None:
        switch = f"{status.switch.state.value}, {_time(status.switch.at)}"
        rows.append(("Last switch", switch))
    runs = {True: "runs", False: "does not run", None: "cannot be seen from here"}
    rows.append(("Daemon", runs[status.daemon_runs]))
    if status.problem is not None:
        rows.append(("Problem", f"{status.problem.code}: {status.problem.title}"))
    if status.detail:
        rows.append(("Detail", tidy(status.detail)))
    rows.append(("Next", status.next_step or "Nothing is to be done."))
    page = Page(output)
    page.print(_fields(rows))
    page.show()


# --- A name ---------------------------------------------------------------------------


def show_explanation(found: Explanation, at: WallTime, output: Output) -> None:
    """Print what a node knows about a name."""
    page, here = Page(output), found.here
    node = here.node_name or "this node"
    if not found.requests:
        _show_nothing(page, found, node)
        page.show()
        return
    count = len(found.requests)
    below = f" below {', '.join(here.parents)}" if here.parents else ""
    page.print(
        f"{count} {'request' if count == 1 else 'requests'} for '{found.cn}' in the "
        f"ledger of {node} ({here.role}{below})"
    )
    for each in found.requests:
        page.print()
        page.print(Padding(_fields(_request_rows(each, at)), (0, 0, 0, 2)))
    page.show()


def _show_nothing(page: Page, found: Explanation, node: str) -> None:
    if not found.is_own:
        page.print(f"No request for '{found.cn}' has come to {node}.")
        page.print("Check the name (case counts), --config-dir, and whom it asks:")
        page.print(f"Next: on {found.cn}: icefloe enrollment status")
        return
    if found.here.role == "signer":
        page.print(f"'{found.cn}' is this node, which signed its own certificate.")
    else:
        page.print(f"'{found.cn}' is this node; its parents keep its request.")
    page.print(f"Next: on {found.cn}: icefloe enrollment status")
    for each in found.here.parents:
        page.print(f"      on {each}: icefloe enrollment explain {found.cn}")


def _request_rows(each: Explained, at: WallTime) -> Iterable[tuple[str, str | Text]]:
    request = each.request
    color, outlook = _OUTLOOKS[each.problem.outlook]
    yield "Request", each.fingerprint[:SHOWN_DIGITS] or request.request_id
    yield "Came", _time_and_distance(request.created_at, at)
    changed = f" since {_time(request.updated_at)}"
    yield "State", Text.assemble((request.state.value, color), changed)
    if request.renews:
        yield "Renews", f"serial number {request.renews}"
    older = len(each.attempts) - ATTEMPTS_SHOWN
    if older > 0:
        yield "Attempts", f"{older} older ones are left out"
    for attempt in each.attempts[-ATTEMPTS_SHOWN:]:
        yield "Attempt", _attempt(attempt)
    for hop in each.hops:
        yield "Hop", f"{_time(hop.at)}  {tidy(hop.node)} {tidy(hop.did)}"
    if each.decision is not None:
        who = f"{each.decision.kind.value}, by {tidy(each.decision.actor)}"
        yield "Decision", f"{_time(each.decision.at)}  {who}"
    if each.certificate is not None:
        source = tidy(each.certificate.source)
        yield "Certificate", f"serial {each.certificate.serial}, from {source}"
    if request.note:
        yield "Note", tidy(request.note)
    waits = f"{each.problem.code} at {each.hop} ({outlook})"
    yield "Waits for" if each.problem.outlook is not Outlook.WELL else "Ended", waits
    yield "Next", each.next_step
    for command in each.commands:
        yield "Run", f"on {command.node}: {command.command}"


def _attempt(attempt: AttemptRecord) -> str:
    ticket = "a ticket" if attempt.ticket_digest else "no ticket"
    text = (
        f"{_time(attempt.asked_at)}  {HOW_IT_CAME[attempt.origin]} {tidy(attempt.via)}, "
        f"with {ticket}: {attempt.state.value}"
    )
    refusal = attempt.refusal
    if attempt.state is AttemptState.REFUSED and refusal is not None:
        text += f" by {tidy(refusal.hop)}, {tidy(refusal.reason)}: {tidy(refusal.text)}"
        if refusal.retry_after is not None:
            text += f" (not before {refusal.retry_after:.0f} s later)"
    return text


# --- The catalogue --------------------------------------------------------------------


def show_problems(output: Output) -> None:
    """Print every code with its title, by heading."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for number, (heading, group) in enumerate(GROUPS.items()):
        if number:
            table.add_row("", "")
        table.add_row(Text(heading, "bold"), "")
        for problem in group:
            color, _ = _OUTLOOKS[problem.outlook]
            table.add_row(Text(f"  {problem.code}", color), problem.title)
    page = Page(output)
    page.print(table)
    page.print("\n'icefloe enrollment problems CODE' tells what to do.")
    page.show()


def show_problem(problem: Problem, output: Output) -> None:
    """Print one entry."""
    color, outlook = _OUTLOOKS[problem.outlook]
    rows: list[tuple[str, str | Text]] = [
        ("Code", Text(problem.code, color)),
        ("Title", problem.title),
        ("Meaning", problem.meaning),
        ("Cause", problem.cause),
        ("Outlook", outlook),
        ("Next", problem.next_step),
    ]
    rows += [("Run", _placed(command)) for command in problem.commands]
    page = Page(output)
    page.print(_fields([row for row in rows if row[1]]))
    page.show()


def _placed(command: str) -> str:
    place, mark, rest = command.partition("$ ")
    return f"on {place}: {rest}" if mark else command


# --- In common ------------------------------------------------------------------------


def _fields(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Return names and values; a name that repeats stands once."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for name, value in rows:
        table.add_row("" if name == before else name, value)
        before = name
    return table


def _time(at: WallTime) -> str:
    try:
        return f"{datetime.fromtimestamp(at, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "at no time that can be shown"  # hops come from other nodes


def _time_and_distance(at: WallTime, now: WallTime) -> str:
    seconds = at - now
    words = _words(abs(seconds))
    return f"{_time(at)} ({f'in {words}' if seconds >= 0 else f'{words} ago'})"


def _words(seconds: float) -> str:
    for size, name in ((_DAY, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {name}s"
    return f"{seconds:.0f} s"
