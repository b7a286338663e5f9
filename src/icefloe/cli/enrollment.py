"""`icefloe enrollment`: how this node stands, and what others wait for."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from icefloe.cli.app import CONTEXT, EXIT_FAILED
from icefloe.cli.enrollment_tables import (
    show_explanation,
    show_problem,
    show_problems,
    show_status,
)
from icefloe.cli.invocation import invocation
from icefloe.cli.problem_words import telling_problems
from icefloe.cli.setting import become_owner
from icefloe.enrollment.problems import PROBLEMS, Problem
from icefloe.node.commands.enrollment_status import look_at_node
from icefloe.node.commands.explaining import explain as explain_name
from icefloe.node.commands.explaining import facts_of
from icefloe.node.doors import RealClock

AsJSON = Annotated[bool, typer.Option("--json", help="One JSON value, for programs.")]

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="How this node stands with its certificate; what requests wait for.",
)


@app.command(
    epilog="""\b
Examples:
  icefloe enrollment status
  icefloe enrollment status --json    # for programs

\b
Exit codes:
  0  all is well
  1  it cannot be told, such as for want of rights
  2  somebody has to do what "Next" says
  3  it waits and goes on by itself"""
)
def status(ctx: typer.Context, *, as_json: AsJSON = False) -> None:
    """Tell how this node stands with its own certificate.

    State, since when, through which parent, the next attempt, end and renewal of the
    certificate, and what to do. The daemon need not run; nothing is changed.
    """
    given = invocation(ctx)
    with telling_problems(given.output, as_json=as_json):
        become_owner(given)
        at = RealClock().now().wall
        found = look_at_node(given.directories, at)
    if as_json:
        given.output.result(msgspec.json.encode(found.facts()).decode())
    else:
        show_status(found, at, given.output)
    raise typer.Exit(int(found.answer))


@app.command(
    epilog="""\b
Examples:
  icefloe enrollment explain web1.example.org
  icefloe --data-dir /var/lib/icefloe-gateway enrollment explain web1

\b
Run it on the node that the requester's "hop" names, or on any node on the way.
The exit code is 1 when no request for this name ever came here."""
)
def explain(
    ctx: typer.Context,
    cn: Annotated[
        str,
        typer.Argument(metavar="CN", help="The name that asks.", show_default=False),
    ],
    *,
    as_json: AsJSON = False,
) -> None:
    """Tell what this node knows of the requests for a name, and what they wait for.

    When they came, from whom, what was done with them, what each node said, and which
    command to run next, on which node. Works beside a running daemon.
    """
    given = invocation(ctx)
    with telling_problems(given.output, as_json=as_json, cn=cn):
        become_owner(given)
        found = explain_name(given.directories, cn)
    if as_json:
        given.output.result(msgspec.json.encode(facts_of(found)).decode())
    else:
        show_explanation(found, RealClock().now().wall, given.output)
    if not found.requests:
        raise typer.Exit(EXIT_FAILED)


@app.command(
    epilog="""\b
Examples:
  icefloe enrollment problems                 # every code
  icefloe enrollment problems wrong-ticket    # one, with all there is to say"""
)
def problems(
    ctx: typer.Context,
    code: Annotated[
        str | None, typer.Argument(metavar="CODE", help="One of them.")
    ] = None,
    *,
    as_json: AsJSON = False,
) -> None:
    """List the ways in which an enrollment can end or wait, and what to do."""
    output = invocation(ctx).output
    if code is not None and code not in PROBLEMS:
        output.critical(
            f"There is no problem '{code}'; 'enrollment problems' lists all."
        )
        raise typer.Exit(EXIT_FAILED)
    if as_json:
        value = facts(PROBLEMS[code]) if code else [*map(facts, PROBLEMS.values())]
        output.result(msgspec.json.encode(value).decode())
    elif code:
        show_problem(PROBLEMS[code], output)
    else:
        show_problems(output)


def facts(problem: Problem) -> dict[str, object]:
    """Return an entry of the catalogue for `--json`."""
    return {
        "code": problem.code,
        "title": problem.title,
        "meaning": problem.meaning,
        "cause": problem.cause or None,
        "next": problem.next_step,
        "commands": list(problem.commands),
        "outlook": problem.outlook.value,
    }
