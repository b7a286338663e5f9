"""`docs/tools.md` shows the table that the matrix is run by."""

from __future__ import annotations

from pathlib import Path

from tests.tools.cells import CELLS, PARENTS, Parent, Trouble
from tests.tools.sequences import TOOLS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/tools.md"

TITLES = {
    "ansible": "Ansible role",
    "puppet": "Puppet module",
    "director": "Director's script",
    "windows": "Icinga for Windows",
    "setup": "`node setup`",
}


def tables() -> str:
    """Return the tables as they are to stand in the document."""
    lines = []
    for parent in Parent:
        troubles = [t for t in Trouble if (parent, "setup", t) in CELLS]
        lines += [f"**{PARENTS[parent]}**", ""]
        lines.append("| tool | " + " | ".join(t.value for t in troubles) + " |")
        lines.append("|---" * (len(troubles) + 1) + "|")
        for tool in TOOLS:
            ends = " | ".join(CELLS[parent, tool, t].value for t in troubles)
            lines.append(f"| {TITLES[tool]} | {ends} |")
        lines.append("")
    return "\n".join(lines)


def test_the_document_has_the_tables() -> None:
    assert tables() in DOCUMENT.read_text(), tables()


def test_there_is_a_section_for_every_tool() -> None:
    text = DOCUMENT.read_text()
    for title in TITLES.values():
        assert f"\n### {title}\n" in text
