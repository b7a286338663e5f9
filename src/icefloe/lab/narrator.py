"""Tells the demo's story to somebody at a terminal, or to a file."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table

from icefloe.lab.figures import seconds_text
from icefloe.lab.outcomes import Outcome
from icefloe.lab.screen import columns_table, console, is_watched
from icefloe.lab.stage import SALT_FILE, Stage, program
from icefloe.lab.story import Chapter, Command, Story

STEP_WIDTH = 62

_STYLES = {Outcome.SIGNED: "green", Outcome.PENDING: "yellow"}


class Narrator:
    """Says what happens as it happens; with `silent` only to who watches."""

    def __init__(self, *, out: TextIO, err: TextIO, silent: bool) -> None:
        """Tell on `out`.

        Args:
            out: Standard output.
            err: Standard error, where progress goes if `silent`.
            silent: Whether standard output is for something else.
        """
        self._silent = silent
        stream = err if silent else out
        self._console: Console = console(stream)
        self._watched = is_watched(stream)

    def say(self, what: object = "") -> None:
        """Print text or a table."""
        if not self._silent:
            self._console.print(what)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show what is being done; once it is done, say so and how long it took."""
        began = time.monotonic()
        if self._watched:
            with self._console.status(what):
                yield
        else:
            yield
        took = seconds_text(time.monotonic() - began)
        self.say(f"  {what:<{STEP_WIDTH}} [dim]{took:>8}[/dim]")

    # The story.

    def introduce(self, stage: Stage, root: Path) -> None:
        """Say who plays."""
        self.say(
            f"[bold]A master, a satellite and an agent[/bold]: three daemons on"
            f" loopback, in {root}"
        )
        self.say(
            f"  {stage.master.name} {stage.master.address} - {stage.satellite.name}"
            f" {stage.satellite.address} - {stage.agent.name} {stage.agent.address}"
        )
        self.say()

    def tell_way(self, agent: Command) -> None:
        """Tell the way of the agent's request."""
        self.say()
        self.say("[bold]The way of the agent's request[/bold]")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        for hop in agent.hops:
            table.add_row(hop.node, hop.did, f"{hop.seconds * 1000:.0f} ms")
        self.say(table)
        self.say()

    def tell_story(self, story: Story) -> None:
        """Tell what agents met at the satellites, and how it ended."""
        self.say()
        table = columns_table(
            "satellite",
            "first connection",
            "signed, by hand",
            "by Icefloe's client",
            title="New agents with valid tickets, through four satellites",
        )
        for chapter in story.chapters:
            table.add_row(
                chapter.title,
                _first_text(chapter),
                _by_hand_text(chapter),
                _command_text(chapter.one_command),
            )
        self.say(table)
        pause = seconds_text(story.pause_seconds)
        self.say("  All four stand below one Icefloe master.")
        self.say("  By hand: what 'icinga2 pki request' does on the wire, run again")
        self.say(f"  after {pause} with the same key. Icefloe's client: one command,")
        self.say("  'icefloe node setup', from its start to its end.")
        self.say()
        for difference in story.differences():
            self.say(f"[red]differs:[/red] {difference}")
        if not story.differences():
            self.say(
                "[green]Through Icefloe: signed on the first connection.[/green]"
                f" ({seconds_text(story.seconds)} in all)"
            )

    def tell_how_to_go_on(self, stage: Stage, root: Path) -> None:
        """Tell somebody who kept the cluster what runs, how to use it, how to end it."""
        self.say()
        self.say("[bold]The cluster goes on running[/bold]")
        for actor, daemon in zip(stage.started, stage.daemons, strict=True):
            kind = "Icefloe" if actor.habits is None else f"habits of {actor.habits}"
            self._say_plain(
                f"  {actor.name:<12} {actor.address!s:<17} pid {daemon.pid:<8} {kind}"
            )
        self._say_plain(f"  Files and logs: {root}/<name>/")
        for line in _ways_to_go_on(stage, root):
            self._say_plain(line)

    def _say_plain(self, line: str) -> None:
        """Print a line that may be copied: never wrapped, nothing marked up."""
        if not self._silent:
            self._console.print(line, soft_wrap=True, markup=False)


def _first_text(chapter: Chapter) -> str:
    first = chapter.by_hand.first
    style = _STYLES.get(first, "red")
    return f"[{style}]{first.words}[/{style}]\n[dim]{', '.join(chapter.by_hand.heard)}[/dim]"


def _by_hand_text(chapter: Chapter) -> str:
    by_hand = chapter.by_hand
    times = "1 attempt" if by_hand.attempts == 1 else f"{by_hand.attempts} attempts"
    if by_hand.seconds is None:
        return f"[red]not signed[/red] in {times}"
    return f"{times}\n{seconds_text(by_hand.seconds)}"


def _command_text(command: Command) -> str:
    asks = "1 connection" if command.asks == 1 else f"{command.asks} connections"
    if not command.is_signed:
        return f"[red]{command.outcome}[/red] after {asks}"
    return f"{asks}\n{seconds_text(command.seconds)}"


def _ways_to_go_on(stage: Stage, root: Path) -> Iterator[str]:
    master = stage.master.directories
    command = Path(sys.executable).with_name("icefloe")
    icefloe = shlex.join([str(command)] if command.exists() else program())
    salt = root / SALT_FILE
    yield ""
    yield "Talk to the master (or to another node, by its directories):"
    yield f"  export ICEFLOE_CONFIG_DIR={master.config_dir}"
    yield f"  export ICEFLOE_DATA_DIR={master.data_dir}"
    yield f"  {icefloe} ca list"
    yield f"  {icefloe} pki ticket --cn web1"
    yield "Let 50 agents enroll through a satellite:"
    for satellite in (stage.satellite, *stage.habitual):
        yield (
            f"  {icefloe} lab storm --agents 50 --salt-file {salt}"
            f" --parent {satellite.listens}  # {satellite.name}"
        )
    yield "End it:"
    pids = " ".join(str(daemon.pid) for daemon in stage.daemons)
    yield f"  kill {pids}; rm -rf {shlex.quote(str(root))}"
