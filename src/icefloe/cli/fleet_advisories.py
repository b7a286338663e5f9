"""How `icefloe fleet advisories` looks: on a screen and as JSON.

Names and texts come from other machines: they are made printable first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from icefloe.cli.fleet_options import EXIT_FOUND, EXIT_OK, EXIT_UNKNOWN
from icefloe.cli.fleet_tables import PLAIN_WIDTH
from icefloe.cli.output import Output
from icefloe.cli.page import Page
from icefloe.node.acceptance import tidy
from icefloe.node.fleet.advisories import (
    SEATS,
    Advisories,
    Advisory,
    Concern,
    Severity,
)
from icefloe.node.fleet.nodes import Node
from icefloe.node.fleet.releases import Release
from icefloe.node.fleet.upgrades import Step, upgrade_steps

__all__ = ["show", "show_list"]

_COLORS: Final = {
    Severity.CRITICAL: "red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
}

_PACKAGED: Final = (
    "A distribution may have mended a defect without changing the release that a node "
    "tells: compare with its package's changelog."
)


# --- Telling --------------------------------------------------------------------------


def show(
    nodes: Sequence[Node],
    known: Advisories,
    output: Output,
    *,
    as_json: bool,
    in_order: bool = True,
) -> int:
    """Print what was found.

    Args:
        nodes: What they told.
        known: The advisories.
        output: Where to.
        as_json: As one object.
        in_order: These are nodes of one fleet, to be upgraded one after the other.

    Returns:
        The exit code.
    """
    running = [node.running for node in nodes if node.running is not None]
    steps = upgrade_steps(running, known)
    if as_json:
        facts = _facts(nodes, steps, known)
        output.result(msgspec.json.encode(facts).decode())
    else:
        page = Page(output, plain_width=PLAIN_WIDTH)
        _show_nodes(page, nodes)
        _show_concerns(page, steps)
        _show_steps(page, steps, in_order=in_order)
        _show_age(page, nodes, known)
        page.show()
    if all(node.why_unknown for node in nodes):
        return EXIT_UNKNOWN
    return EXIT_FOUND if steps else EXIT_OK


def show_list(known: Advisories, output: Output, *, as_json: bool) -> None:
    """Print the advisories themselves."""
    if as_json:
        facts = {
            "checked": known.checked,
            "checked_against": known.checked_against,
            "advisories": [_advisory_facts(each) for each in known.advisories],
            "left_out": [{"ids": each.ids, "why": each.why} for each in known.left_out],
        }
        output.result(msgspec.json.encode(facts).decode())
        return
    page = Page(output, plain_width=PLAIN_WIDTH)
    for each in known.advisories:
        page.print(_headline(each))
        page.print(f"  {each.touches}")
        page.print(f"  Hurts in: {SEATS[each.seat].words}." + _only_if(each))
        page.print(f"  {_fixed_words(each)} Until then: {each.until_then}.")
        for source in each.sources:
            page.print(f"  {source}")
    page.print(_age(known))
    page.show()


def _show_nodes(page: Page, nodes: Sequence[Node]) -> None:
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("Node", overflow="fold")
    table.add_column("Role", no_wrap=True)
    table.add_column("Runs", overflow="fold")
    table.add_column("Concerned by", overflow="fold")
    for node in nodes:
        role = "" if node.running is None else str(node.running.role or "not told")
        concerned = Text("none")
        if node.why_unknown:
            concerned = Text(f"unknown: {tidy(node.why_unknown)}", "yellow")
        elif node.running is not None and node.running.concerns:
            concerned = _ids(node.running.concerns)
        table.add_row(tidy(node.label), role, tidy(node.runs), concerned)
    page.print(table)


def _ids(concerns: Sequence[Concern]) -> Text:
    words = Text()
    for concern in concerns:
        words.append(", " if words else "")
        mark = "" if concern.certain else "?"
        words.append(f"{concern.advisory.id}{mark}", _COLORS[concern.advisory.severity])
    return words


def _show_concerns(page: Page, steps: Sequence[Step]) -> None:
    conditions: dict[str, set[tuple[str, ...]]] = {}
    found: dict[str, Advisory] = {}
    for step in steps:
        for concern in step.node.concerns:
            found[concern.advisory.id] = concern.advisory
            conditions.setdefault(concern.advisory.id, set()).add(concern.conditions)
    ordered = sorted(
        found.values(), key=lambda e: (not e.stops_enrollment, e.severity.rank, e.id)
    )
    for each in ordered:
        page.print(_headline(each))
        page.print(f"  {each.touches}")
        ways = conditions[each.id]
        if () not in ways:
            told = "; or if ".join(sorted(" and ".join(way) for way in ways))
            page.print(f"  ? Only if {told}.")
        page.print(f"  {_fixed_words(each)} Until then: {each.until_then}.")
        page.print(f"  {each.sources[0]}")
    if found:
        page.print()


def _show_steps(page: Page, steps: Sequence[Step], *, in_order: bool) -> None:
    if not steps:
        page.print("No advisory known here concerns what was told.")
        return
    if not in_order:
        for step in steps:
            page.print(f"{tidy(step.node.label)}: rather {_step_words(step)}")
        return
    page.print("Upgrade in this order:")
    for number, step in enumerate(steps, start=1):
        page.print(f"{number:>3}. {tidy(step.node.label)}: to {_step_words(step)}")
        page.print(f"     {step.reason}")


def _step_words(step: Step) -> str:
    if step.within_branch is None:
        return str(step.to)
    if not step.left_open:
        return str(step.within_branch)
    left = ", ".join(step.left_open)
    return f"{step.within_branch}, which leaves open {left}; {step.to} mends all"


def _show_age(page: Page, nodes: Sequence[Node], known: Advisories) -> None:
    for node in nodes:
        if node.is_newer:
            runs = tidy(node.runs)
            page.print(f"{tidy(node.label)}: {runs} is newer than these advisories.")
    if any(node.running is not None for node in nodes):
        page.print(_PACKAGED)
    page.print(_age(known))


def _age(known: Advisories) -> str:
    return f"Advisories as of {known.checked}, compared with {known.checked_against}."


def _headline(advisory: Advisory) -> Text:
    stops = ", stops enrollment" if advisory.stops_enrollment else ""
    return Text.assemble(
        (advisory.id, _COLORS[advisory.severity]),
        f" ({advisory.severity}{stops}, {advisory.published}): {advisory.title}.",
    )


def _only_if(advisory: Advisory) -> str:
    return f" Only if {advisory.only_if}." if advisory.only_if else ""


def _fixed_words(advisory: Advisory) -> str:
    return f"Mended in {', '.join(map(str, advisory.fixed))}."


# --- JSON -----------------------------------------------------------------------------


def _facts(
    nodes: Sequence[Node], steps: Sequence[Step], known: Advisories
) -> dict[str, object]:
    found = {
        concern.advisory.id: concern.advisory
        for step in steps
        for concern in step.node.concerns
    }
    return {
        "checked": known.checked,
        "checked_against": known.checked_against,
        "nodes": [_node_facts(node) for node in nodes],
        "advisories": [_advisory_facts(each) for each in found.values()],
        "upgrade": [
            {
                "host": step.node.label,
                "within_branch": _text(step.within_branch),
                "leaves_open": list(step.left_open),
                "to": str(step.to),
                "reason": step.reason,
            }
            for step in steps
        ],
    }


def _node_facts(node: Node) -> dict[str, object]:
    running = node.running
    release = None if running is None else running.release
    concerns = () if running is None else running.concerns
    return {
        "host": node.label,
        "role": None if running is None else _text(running.role),
        "runs": node.runs or None,
        "release": str(release) if isinstance(release, Release) else None,
        "unknown": node.why_unknown or None,
        "newer_than_advisories": node.is_newer,
        "concerns": [
            {
                "id": each.advisory.id,
                "certain": each.certain,
                "only_if": list(each.conditions),
            }
            for each in concerns
        ],
    }


def _advisory_facts(advisory: Advisory) -> Mapping[str, object]:
    return {
        "id": advisory.id,
        "aliases": list(advisory.aliases),
        "title": advisory.title,
        "touches": advisory.touches,
        "seat": advisory.seat,
        "stops_enrollment": advisory.stops_enrollment,
        "only_if": advisory.only_if or None,
        "severity": str(advisory.severity),
        "severity_by": advisory.severity_by,
        "published": advisory.published,
        "affected": [
            {"from": _text(each.first), "before": _text(each.end)}
            for each in advisory.affected
        ],
        "affected_note": advisory.affected_note or None,
        "fixed": [str(each) for each in advisory.fixed],
        "until_then": advisory.until_then,
        "sources": list(advisory.sources),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
