"""`icefloe fleet`: what a fleet of nodes looks like from outside."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
import typer

from icefloe.cli import fleet_advisories
from icefloe.cli.app import CONTEXT, EXIT_INTERRUPTED
from icefloe.cli.fleet_options import (
    EXIT_FOUND,
    EXIT_OK,
    EXIT_UNKNOWN,
    AtOnceOption,
    CAOption,
    CRLOption,
    CSVOption,
    DaysOption,
    FileOption,
    FleetCommand,
    ForceOption,
    HostsArgument,
    InventoryOption,
    ListOption,
    NamesOption,
    OnlyOption,
    PortOption,
    ReleaseOption,
    RepairOption,
    RoleOption,
    TimeoutOption,
)
from icefloe.cli.fleet_tables import show_audit
from icefloe.cli.invocation import Invocation, invocation
from icefloe.cli.options import JSONOption
from icefloe.cli.output import Output
from icefloe.errors import IcefloeError
from icefloe.lab.screen import bar
from icefloe.node.doors import RealClock
from icefloe.node.fleet import repair as repairing
from icefloe.node.fleet.nodes import of_looks, of_releases, parse_roles
from icefloe.node.fleet.reading import (
    doubts_of,
    known_advisories,
    read_anchor,
    read_targets,
    write_repair,
)
from icefloe.node.fleet.report import Audit, csv_of, facts_of_audit, worst_first
from icefloe.node.fleet.sightings import Look
from icefloe.node.fleet.states import DAYS_DEFAULT, Names
from icefloe.node.fleet.survey import (
    AT_ONCE_DEFAULT,
    SECONDS_DEFAULT,
    Survey,
    look_at_all,
)
from icefloe.node.fleet.targets import (
    DEFAULT_PORT,
    Target,
    TargetInvalid,
    distinct,
)
from icefloe.node.fleet.verdicts import Measure, judge
from icefloe.pki.certificates import fingerprint
from icefloe.storage.files import FileProblem

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See what a fleet of nodes looks like from outside; nothing is changed.",
)


@app.command(
    cls=FleetCommand,
    epilog="""\b
Examples:
  icefloe fleet audit sat1.example.org web1.example.org:5666 --ca ca.crt
  icefloe fleet audit -i hosts.yaml --ca ca.crt --repair mend.yaml
  icefloe fleet audit @agents.txt --only self-signed --json

\b
Exit codes:
  0    nothing to mend was found
  1    some hosts are to be mended
  2    nothing can be said: wrong options, an unreadable file, no host reached
  130  interrupted; what was seen by then is told

\b
docs/fleet.md says what each state means and what to do.""",
)
def audit(
    ctx: typer.Context,
    hosts: HostsArgument = None,
    *,
    files: FileOption = None,
    inventories: InventoryOption = None,
    port: PortOption = DEFAULT_PORT,
    ca: CAOption = None,
    crl: CRLOption = None,
    days: DaysOption = DAYS_DEFAULT,
    names: NamesOption = Names.EXACT,
    only: OnlyOption = None,
    at_once: AtOnceOption = AT_ONCE_DEFAULT,
    timeout: TimeoutOption = SECONDS_DEFAULT,
    repair: RepairOption = None,
    force: ForceOption = False,
    as_json: JSONOption = False,
    as_csv: CSVOption = False,
) -> None:
    """Look at each node's certificate on its port: stuck, foreign, expiring, away.

    One anonymous TLS connection to each host; nothing is asked for and nothing is
    changed. The worst come first.
    """
    given = invocation(ctx)
    output = given.output.for_one_result(alone=as_json or as_csv)
    if as_json and as_csv:
        raise click.UsageError("--json or --csv, not both", ctx)
    with telling_unknown(output):
        targets = targets_of(ctx, hosts, files, inventories, port)
        _expect_free(repair, force=force)
        measure, judged_by = _measure(given, ca, crl, days, names)
        for doubt in doubts_of(measure.anchor, measure.at) if measure.anchor else ():
            output.warning(f"What is revoked is not known in full: {doubt}.")
        survey = Survey(at_once=at_once, seconds=timeout)
        found = _audit(targets, survey, measure, judged_by)
        shown = [
            each
            for each in worst_first(found.verdicts)
            if not only or each.state in only
        ]
        if as_json:
            facts = facts_of_audit(found, shown)
            output.result(msgspec.json.encode(facts).decode())
        elif as_csv:
            output.result(csv_of(found, shown), newline=False)
        else:
            show_audit(found, shown, output)
        if repair is not None:
            _write_repair(repair, found, output)
    raise typer.Exit(_exit_code(found))


@app.command(
    cls=FleetCommand,
    epilog="""\b
Examples:
  icefloe fleet advisories master1 sat1 sat2 --role master=master1 \\
    --role 'satellite=sat*'
  icefloe fleet advisories -i hosts.yaml --role satellite=group:satellites
  icefloe fleet advisories --release 2.14.4      # before you upgrade to it
  icefloe fleet advisories --list                # what is known, with sources

\b
Exit codes:
  0    no advisory concerns what was seen
  1    some do, or may
  2    nothing can be said: wrong options, an unreadable file, no version told
  130  interrupted; what was heard by then is told

\b
docs/fleet.md says what is asked of a node, and why the order is this one.""",
)
def advisories(
    ctx: typer.Context,
    hosts: HostsArgument = None,
    *,
    files: FileOption = None,
    inventories: InventoryOption = None,
    port: PortOption = DEFAULT_PORT,
    role: RoleOption = None,
    release: ReleaseOption = None,
    list_all: ListOption = False,
    at_once: AtOnceOption = AT_ONCE_DEFAULT,
    timeout: TimeoutOption = SECONDS_DEFAULT,
    as_json: JSONOption = False,
) -> None:
    """Compare each node's version with published defects that touch enrollment.

    Nodes tell their version to anybody in their Hello (Icinga since 2.13, Icefloe
    always). Says which node to upgrade first, and why.
    """
    output = invocation(ctx).output.for_one_result(alone=as_json)
    with telling_unknown(output):
        known = known_advisories()
        if list_all:
            fleet_advisories.show_list(known, output, as_json=as_json)
            return
        roles = parse_roles(role or ())
        if release:
            if hosts or files or inventories:
                raise click.UsageError("--release asks nobody: leave hosts out", ctx)
            nodes = of_releases(release, roles, known)
            whole = True
        else:
            targets = targets_of(ctx, hosts, files, inventories, port)
            survey = Survey(at_once=at_once, seconds=timeout, greeting=True)
            looks, whole = look(targets, survey)
            nodes = of_looks(looks, roles, known)
        code = fleet_advisories.show(
            nodes, known, output, as_json=as_json, in_order=not release
        )
    raise typer.Exit(code if whole else EXIT_INTERRUPTED)


# --- Steps of both --------------------------------------------------------------------


@contextmanager
def telling_unknown(output: Output) -> Iterator[None]:
    """Tell an error, and end with the code of "nothing can be said".

    Raises:
        typer.Exit: An `IcefloeError` came out of the block.
    """
    try:
        yield
    except IcefloeError as error:
        output.critical(error.public)
        raise typer.Exit(EXIT_UNKNOWN) from error


def targets_of(
    ctx: click.Context,
    hosts: Sequence[str] | None,
    files: Sequence[Path] | None,
    inventories: Sequence[Path] | None,
    port: int,
) -> list[Target]:
    """Return whom to look at, each once.

    Raises:
        UsageError: Nobody is named.
        TargetInvalid: One cannot be understood, or there is none in the files.
        FileProblem: A file cannot be read.
    """
    if not (hosts or files or inventories):
        raise click.UsageError("name hosts, --file or --inventory", ctx)
    named = read_targets(hosts or (), files or (), inventories or (), port=port)
    found = distinct(named)
    if not found:
        raise TargetInvalid("there is no host in what was given")
    return found


def look(targets: Sequence[Target], survey: Survey) -> tuple[list[Look], bool]:
    """Look at all targets, with a bar for who watches.

    Returns:
        What was seen, and whether it is all of it: Ctrl-C ends it before.
    """
    looks: list[Look] = []
    with bar(sys.stderr, what="looking at nodes", total=len(targets)) as drawn:

        def seen(one: Look) -> None:
            looks.append(one)
            drawn.advance()

        try:
            asyncio.run(look_at_all(targets, survey, seen=seen))
        except KeyboardInterrupt:
            return looks, False
    return looks, True


# --- Steps of an audit ----------------------------------------------------------------


def _measure(
    given: Invocation, ca: Path | None, crl: Path | None, days: float, names: Names
) -> tuple[Measure, str]:
    found = read_anchor(ca, crl, given.directories.certs / "ca.crt")
    anchor, path = found or (None, None)
    if crl is not None and anchor is None:
        raise TargetInvalid("--crl says nothing without a CA: give --ca as well")
    at = RealClock().now().wall
    measure = Measure(at=at, anchor=anchor, days=days, names=names)
    return measure, "" if path is None else str(path)


def _audit(
    targets: Sequence[Target], survey: Survey, measure: Measure, judged_by: str
) -> Audit:
    began = time.monotonic()
    looks, _ = look(targets, survey)
    return Audit(
        verdicts=[judge(each.target, each.sighting, measure) for each in looks],
        asked=len(targets),
        at=measure.at,
        days=measure.days,
        judged_by=judged_by,
        ca_fingerprint="" if measure.anchor is None else fingerprint(measure.anchor.ca),
        seconds=time.monotonic() - began,
    )


def _expect_free(path: Path | None, *, force: bool) -> None:
    """Refuse before the work what would be refused after it."""
    if path is None:
        return
    if not force and (path.exists() or path.is_symlink()):
        reason = "it is there already; --force replaces it"
        raise FileProblem(path, action="write", reason=reason)
    if not path.parent.is_dir():
        raise FileProblem(path, action="write", reason="its directory does not exist")


def _write_repair(path: Path, found: Audit, output: Output) -> None:
    if not found.complete:
        output.warning(f"'{path}' was not written: not every host was looked at.")
        return
    is_yaml = path.suffix.lower() in {".yaml", ".yml"}
    text = repairing.yaml_text(found) if is_yaml else repairing.ini_text(found)
    write_repair(path, text)
    output.information(f"Wrote an inventory of {found.to_mend} hosts to '{path}'.")


def _exit_code(found: Audit) -> int:
    if not found.complete:
        return EXIT_INTERRUPTED
    if not found.reached:
        return EXIT_UNKNOWN
    return EXIT_FOUND if found.to_mend else EXIT_OK
