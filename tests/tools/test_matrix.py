"""The trap matrix: five tools, three kinds of trouble, three kinds of parent.

All cells of one parent run at once, below one satellite and one signer: most of their
time is waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.peers import DeadlineMissed, wait_until
from tests.peers.fixtures import Nodes, nodes
from tests.tools.cells import CELLS, Ends, Parent, Trouble
from tests.tools.losing import LosingProxy
from tests.tools.parents import Parents
from tests.tools.program import forked_program
from tests.tools.running import Agent, Run, Site, run_tool
from tests.tools.sequences import TOOLS, Tool

__all__ = ["nodes"]

STAGES = [
    pytest.param((Parent.ICEFLOE,), id="icefloe"),
    pytest.param(
        (Parent.ICINGA, Parent.DIRECT), id="icinga", marks=pytest.mark.real_peer
    ),
    pytest.param((Parent.HABITS,), id="2.14.4"),
]
"""What is asked below one satellite and one signer."""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """Return the directory with the tools' `icinga2`."""
    with forked_program(tmp_path / "bin") as directory:
        yield directory


@pytest.mark.timeout(500)
@pytest.mark.parametrize("kinds", STAGES)
def test_every_tool_ends_as_the_table_says(
    nodes: Nodes, tmp_path: Path, program: Path, kinds: tuple[Parent, ...]
) -> None:
    wanted = [each for each in CELLS if each[0] in kinds]
    parents = Parents(kinds[0], nodes, tmp_path, [agent_name(*each) for each in wanted])
    with ExitStack() as stack:
        cells = [
            Cell(kind, TOOLS[tool], trouble, parents, nodes, program, stack)
            for kind, tool, trouble in wanted
        ]
        # The signer cannot be reached yet.
        together(cell.begin for cell in cells if cell.trouble is Trouble.PENDING)
        parents.start_signer()
        together(cell.go_on for cell in cells)
        for cell in cells:
            cell.agent.kill()
    wrong = [str(cell) for cell in cells if cell.problems]
    assert not wrong, "\n".join(wrong)


def agent_name(kind: Parent, tool: str, trouble: Trouble) -> str:
    """Return what the node of a cell is called."""
    directly = "-directly" if kind is Parent.DIRECT else ""
    return f"{tool}-{trouble.name.lower()}{directly}"


def together(tasks: Iterator[Callable[[], None]]) -> None:
    """Run them all at the same time; every failure is a test's."""
    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


@dataclass
class Cell:
    """One tool, with one trouble."""

    kind: Parent
    tool: Tool
    trouble: Trouble
    parents: Parents
    nodes: Nodes
    program: Path
    stack: ExitStack
    ends: Ends | None = None
    problems: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = agent_name(self.kind, self.tool.name, self.trouble)
        self.agent = self.nodes.make(Agent, name)
        self.agent.program = self.program
        directly = self.kind is Parent.DIRECT
        parent = self.parents.signer if directly else self.parents.satellite
        self.proxy: LosingProxy | None = None
        address = parent.address
        # The habit itself is the loss.
        if self.trouble is Trouble.LOST and self.kind is not Parent.HABITS:
            self.proxy = self.stack.enter_context(LosingProxy(parent.address))
            address = self.proxy.address
        self.site = Site(
            parent=parent,
            parent_zone="master" if directly else "satellite",
            address=address,
            signer=self.parents.signer,
            zones=self.parents.zones,
        )

    def __str__(self) -> str:
        problems = "; ".join(self.problems)
        runs = "\n".join(f"run {n}: {run}" for n, run in enumerate(self.runs, 1))
        return f"=== {self.kind.value}, {self.agent.name}: {problems}\n{runs}"

    # The course of it.

    def begin(self) -> None:
        """Run the tool into the trouble."""
        right = self.trouble is not Trouble.REFUSED
        run = self.run(right=right)
        self.key = self.agent.key_path.read_bytes()
        self.expect(run.asked is not None, "the first run asked nobody")
        if self.agent.is_signed_now:
            self.ends = Ends.AT_ONCE
        if self.trouble is Trouble.REFUSED:
            self.check_words_of_refusal(run)

    def go_on(self) -> None:
        """Let the trouble be over, and run the tool again."""
        if not self.runs:
            self.begin()
        if self.proxy is not None:
            self.expect(self.proxy.lost > 0, "no answer was lost")
            self.proxy.losing = False
        wanted = CELLS[self.kind, self.tool.name, self.trouble]
        if self.ends is None and wanted is Ends.BY_DAEMON:
            self.expect(self.agent.is_running, "the first run started no daemon")
            wait_until(lambda: self.agent.is_signed_now, what=f"{self.agent!r} signed")
            self.ends = Ends.BY_DAEMON
        self.run(right=True)
        if self.ends is None:
            self.ends = Ends.BY_RERUN if self.agent.is_signed_now else self.told()
        self.expect(self.ends is wanted, f"it ends {self.ends}, not {wanted}")
        if self.ends is Ends.TOLD:
            self.heal()
        key = self.agent.key_path.read_bytes()
        self.expect(key == self.key, "the key is another one")
        self.expect(self.agent.is_signed_now, "it is not signed")
        self.expect(self.agent.ca_path.exists(), "there is no ca.crt")
        if self.kind is Parent.ICEFLOE:
            issued = self.parents.signer.log().count(f"issued cn={self.agent.name} ")
            self.expect(issued == 1, f"{issued} certificates were signed")

    def told(self) -> Ends | None:
        """Look whether who looks at the node is told what it waits for."""
        words = ""

        def tells() -> bool:
            nonlocal words
            words = self.agent.cli("enrollment", "status").stdout
            return "Problem       pending: " in words and "ticket" in words

        # The daemon was started just now, and has to hear it first.
        try:
            wait_until(tells, what="the status", timeout_seconds=60, every_seconds=2)
        except DeadlineMissed:
            self.expect(so=False, problem=f"the status does not tell: {words}")
            return None
        return Ends.TOLD

    def heal(self) -> None:
        """Do what the document says."""
        right = self.parents.signer.ticket_for(self.agent.name)
        self.agent.ticket_path.write_text(right)
        self.agent.restart()
        wait_until(lambda: self.agent.is_signed_now, what=f"{self.agent!r} healed")

    # Parts.

    def run(self, *, right: bool) -> Run:
        run = run_tool(self.tool, self.agent, self.site, right=right)
        self.runs.append(run)
        if run.configured and not self.agent.is_running:
            self.agent.start()
        return run

    def check_words_of_refusal(self, run: Run) -> None:
        asked = run.asked
        if asked is None:
            return
        if self.kind in {Parent.ICEFLOE, Parent.DIRECT}:
            self.expect(asked.code == 1, "a refusal is no success")
            self.expect(", reason: wrong-ticket" in asked.out, "no word why")
            by = f"Refused by {self.parents.signer.name}, "
            told = self.kind is Parent.DIRECT or by in asked.out
            self.expect(told, "who refused is not told")
            self.expect(not self.agent.ca_path.exists(), "a ca.crt is no refusal")
        elif self.kind is Parent.ICINGA:
            self.expect("check the ticket" in asked.out, "no word about the ticket")
        else:
            self.expect("cut" in asked.out, "no word about the cut")

    def expect(self, so: object, problem: str) -> None:
        if not so:
            self.problems.append(problem)
