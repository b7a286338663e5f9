"""The wizard's summary in words, and what happens next at its end."""

from __future__ import annotations

import enum
from typing import Final

from icefloe.cli.wizard_screen import Screen
from icefloe.config.setup import DEFAULT_GLOBAL_ZONES, NodeSetup
from icefloe.node.commands.changes import AgentSetup
from icefloe.node.commands.setting import Setting
from icefloe.node.commands.setup import MasterReport
from icefloe.storage.keys import KeyType

__all__ = [
    "Ending",
    "agent_lines",
    "master_lines",
    "tell_agent_next",
    "tell_master_next",
]

_PORT: Final = 5665


class Ending(enum.Enum):
    """How setting up an agent or a satellite ended."""

    DONE = "done"
    PENDING = "pending"
    STOPPED = "stopped"


# --- The summary ----------------------------------------------------------------------


def agent_lines(wanted: AgentSetup) -> list[tuple[str, str]]:
    """Word what an agent or a satellite was answered to be."""
    node = wanted.node
    lines = [("node", f"{node.node_name}, in the zone {node.zone_name}")]
    for parent in node.parents:
        where = f"connect to {parent.host}:{parent.port}" if parent.host else "connects"
        way = f"{parent.name}, {where}" + ("" if parent.host else " to this node")
        lines.append(("parent", way))
    lines.append(("parents' zone", node.parent_zone or ""))
    if wanted.parents:
        given = "given" if wanted.ticket else "none: somebody approves the request"
        lines.append(("certificate from", str(wanted.parents[0])))
        lines.append(("ticket", given))
    else:
        lines.append(("certificate from", "nobody is asked now; the daemon does"))
    config = "yes" if node.accept_config else "no"
    commands = "yes" if node.accept_commands else "no"
    lines.append(("accepts", f"configuration: {config}, commands: {commands}"))
    return lines + _common_lines(node)


def master_lines(node: NodeSetup) -> list[tuple[str, str]]:
    """Word what a master was answered to be."""
    lines = [("node", f"{node.node_name}, master, in the zone {node.zone_name}")]
    return lines + _common_lines(node)


def _common_lines(node: NodeSetup) -> list[tuple[str, str]]:
    more = [each for each in node.global_zones if each not in DEFAULT_GLOBAL_ZONES]
    lines = [("listens on", f"{node.bind_host or '*'} port {node.bind_port or _PORT}")]
    if more:
        lines.append(("global zones", ", ".join(more)))
    lines.append(("conf.d", "left out" if node.disable_conf_d else "included"))
    return lines


# --- The end --------------------------------------------------------------------------


def tell_agent_next(
    screen: Screen, wanted: AgentSetup, ending: Ending, setting: Setting
) -> None:
    """Say how it ended and what is to be done now."""
    if ending is Ending.STOPPED:
        screen.heading("Stopped")
        screen.text(
            "There is no certificate yet. The key stays, and the configuration is as "
            "it was: run 'icefloe node wizard' again, it goes on with the same key."
        )
        return
    screen.heading("What happens next")
    steps = []
    ca = setting.directories.trusted_ca
    if not wanted.parents and not ca.is_file():
        steps.append(f"Copy the CA's certificate (ca.crt) from a parent to '{ca}'.")
    steps.append("Start the daemon: icefloe daemon (or restart its service).")
    if wanted.parents and ending is Ending.DONE:
        steps.append("It connects to its parent and shows the new certificate.")
    elif wanted.parents:
        steps.append(
            "It goes on asking its parent, and installs the certificate when somebody "
            "has approved the request."
        )
    else:
        steps.append("It asks the parent that connects to it for a certificate.")
    steps.append("See how it stands: icefloe enrollment status")
    steps.append("The parents have to know this node. In their zones.conf:")
    _tell_steps(screen, steps)
    screen.blank()
    screen.raw(_declared(wanted))


def tell_master_next(
    screen: Screen, node: NodeSetup, report: MasterReport, setting: Setting
) -> None:
    """Say what a new master has and what is to be done now."""
    directories = setting.directories
    if report.backup:
        text = f"{report.backup}; back with 'icefloe node restore'"
        screen.item("backup", text)
    if report.new_ca:
        screen.item("made", f"a CA in '{directories.ca_dir}': keep a copy of it safe")
    screen.item("has", f"a certificate for '{node.node_name}'")
    if report.new_ca and report.ca_key_type is KeyType.EC:
        screen.item(
            "note",
            "the CA's key is ECDSA P-256: a real Icinga 2 master cannot sign with it. "
            "To keep that way open, move ca/ and certs/ away now and run this with "
            "--key-type rsa.",
        )
    screen.heading("What happens next")
    steps = ["Start the daemon: icefloe daemon (or restart its service)."]
    if report.ca_key_type is not None:
        steps.append("A ticket for a new node: icefloe pki ticket --cn NAME")
        steps.append("Requests without a ticket: icefloe ca list, icefloe ca sign")
    steps.append(f"Nodes below are declared in '{directories.zones_conf}'.")
    _tell_steps(screen, steps)


def _tell_steps(screen: Screen, steps: list[str]) -> None:
    for number, step in enumerate(steps, 1):
        screen.item(f"{number}.", step, pad=3)


def _declared(wanted: AgentSetup) -> str:
    """Return what the parents' `zones.conf` has to say about this node."""
    node = wanted.node
    return (
        f'object Endpoint "{node.node_name}" {{ }}\n'
        f'object Zone "{node.zone_name}" {{\n'
        f'  endpoints = [ "{node.node_name}" ]\n'
        f'  parent = "{node.parent_zone}"\n}}\n'
    )
