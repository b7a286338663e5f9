"""Reads a guide: its blocks in order, with the marks above them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

COMMANDS = "sh"
SHOWN = "text"
VALUE_LINE = re.compile(r"^([A-Z][A-Z0-9_]*)=", re.MULTILINE)

_FENCE = re.compile(r"^( *)```+\s*([a-z]*)\s*$")
_MARK = re.compile(r"^<!-- (values|on|exit|not run)(?:: (.+))? -->$")
_COMMENT = re.compile(r"^<!--")


class GuideError(Exception):
    """A guide is not written as the suite can read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        line: Where its fence stands in the file, from 1.
        language: Of the fence: `sh`, `text`, or another.
        text: What stands in it, with its last newline.
        machine: Where it is typed.
        exit_code: How it is to end.
        is_values: Whether it is the block that readers edit.
        not_run: Why the suite cannot run it; empty when it can.
        shown: For a command, the lines one sees; None when the guide shows none.
    """

    line: int
    language: str
    text: str
    machine: str
    exit_code: int = 0
    is_values: bool = False
    not_run: str = ""
    shown: str | None = None

    @property
    def names(self) -> list[str]:
        """The names that a block of values gives."""
        return VALUE_LINE.findall(self.text)


@dataclass(frozen=True, slots=True)
class _Fence:
    line: int
    language: str
    text: str
    marks: dict[str, str]


def read_guide(markdown: str) -> list[Block]:
    """Return the blocks of a guide; what is shown is joined to its command.

    Raises:
        GuideError: A mark is unknown or has no reason; a block shows what no command
            printed; a block can be neither run nor compared and is not marked.
    """
    blocks: list[Block] = []
    machine = "here"
    for fence in _fences(markdown):
        machine = fence.marks.get("on", machine)
        block = _block(fence, machine)
        if fence.language == SHOWN and not block.not_run:
            _show(blocks, block)
        else:
            blocks.append(block)
    return blocks


def _show(blocks: list[Block], block: Block) -> None:
    last = blocks[-1] if blocks else None
    if last is None or last.language != COMMANDS or last.shown is not None:
        raise GuideError(f"line {block.line}: no command above printed this")
    fields = {name: getattr(last, name) for name in Block.__dataclass_fields__}
    blocks[-1] = Block(**(fields | {"shown": block.text}))


def _block(fence: _Fence, machine: str) -> Block:
    not_run = fence.marks.get("not run", "")
    if fence.language not in {COMMANDS, SHOWN} and not not_run:
        raise GuideError(
            f"line {fence.line}: a '{fence.language}' block is not run; say why"
        )
    return Block(
        line=fence.line,
        language=fence.language,
        text=fence.text,
        machine=machine,
        exit_code=int(fence.marks.get("exit", "0")),
        is_values="values" in fence.marks,
        not_run=not_run,
    )


def _fences(markdown: str) -> list[_Fence]:
    found: list[_Fence] = []
    lines = markdown.splitlines()
    marks: dict[str, str] = {}
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            _take_mark(lines[at], at + 1, marks)
            at += 1
            continue
        end = _end_of(lines, at)
        indent = len(opened[1])
        inside = [line[indent:] for line in lines[at + 1 : end]]
        text = "".join(f"{line}\n" for line in inside)
        found.append(_Fence(at + 1, opened[2], text, marks))
        marks = {}
        at = end + 1
    if marks:
        raise GuideError(f"marks without a block: {sorted(marks)}")
    return found


def _take_mark(line: str, number: int, marks: dict[str, str]) -> None:
    text = line.strip()
    read = _MARK.match(text)
    if read is None:
        if _COMMENT.match(text):
            raise GuideError(f"line {number}: unknown mark {text}")
        if text and marks:
            raise GuideError(f"line {number}: a mark stands directly above its block")
        return
    name, argument = read[1], read[2] or ""
    if (name == "values") == bool(argument):
        raise GuideError(f"line {number}: '{name}' and its argument do not fit")
    marks[name] = argument


def _end_of(lines: Sequence[str], start: int) -> int:
    for at in range(start + 1, len(lines)):
        if lines[at].strip().startswith("```"):
            return at
    raise GuideError(f"line {start + 1}: the block has no end")
