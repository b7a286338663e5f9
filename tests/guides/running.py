"""Runs a whole guide, and says where it does not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.guides.comparing import difference, fill_in, put_back
from tests.guides.reading import Block, read_guide
from tests.guides.shells import Machines, edited
from tests.source_tree import ROOT

GUIDES = ROOT / "docs" / "guides"


@dataclass(slots=True)
class Outcome:
    """What became of a guide's blocks.

    Attributes:
        ran: Command blocks that were pasted.
        compared: Those of them whose output was compared.
        not_run: Blocks that were left out, by their reason.
        wrong: Where the guide does not hold, in sentences; the first ends the run.
    """

    ran: int = 0
    compared: int = 0
    not_run: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def blocks_of(name: str) -> list[Block]:
    """Return the blocks of a guide of ours."""
    return read_guide((GUIDES / name).read_text(encoding="utf-8"))


def follow(
    blocks: list[Block], machines: Machines, values: Mapping[str, str]
) -> Outcome:
    """Paste a guide's blocks, one after the other.

    Args:
        blocks: The guide.
        machines: Where it is pasted.
        values: What to write behind each name in the block of values.
    """
    return _Run(blocks, machines, values).to_the_end()


class _Run:
    def __init__(
        self, blocks: list[Block], machines: Machines, values: Mapping[str, str]
    ) -> None:
        self._blocks = blocks
        self._machines = machines
        self._values = values
        self._words: dict[str, str] = {}
        self._back: dict[str, str] = {}
        self._outcome = Outcome()

    def to_the_end(self) -> Outcome:
        for block in self._blocks:
            if block.not_run:
                self._outcome.not_run.append(block.not_run)
                continue
            wrong = self._everywhere(block) if block.is_values else self._one(block)
            if wrong:
                where = f"line {block.line}, on {block.machine}"
                self._outcome.wrong.append(f"{where}:\n{block.text}\n{wrong}")
                break
        return self._outcome

    def _everywhere(self, block: Block) -> str:
        """Edit the block of values as a reader does, and paste it on each machine."""
        if set(block.names) != set(self._values):
            return f"the values are {block.names}, not {sorted(self._values)}"
        for line in block.text.splitlines():
            name, _, theirs = line.partition("=")
            if name in self._values:
                self._back[self._values[name]] = theirs.split("#")[0].strip()
        self._outcome.ran += 1
        text = edited(block.text, self._values)
        typed_on = {each.machine for each in self._blocks if not each.not_run}
        codes = {name: self._machines[name].paste(text).code for name in typed_on}
        return "" if set(codes.values()) == {0} else f"it ended with {codes}"

    def _one(self, block: Block) -> str:
        self._outcome.ran += 1
        text = fill_in(block.text, self._words)
        printed = self._machines[block.machine].paste(text)
        if printed.code != block.exit_code:
            return f"it ended with {printed.code}, and printed\n\n{printed.text}"
        if block.shown is None:
            return ""
        self._outcome.compared += 1
        seen = put_back(printed.text, self._back)
        return difference(block.shown, seen, self._words)
