from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.config.plan import Plan, PlannedFile, says_the_same
from icefloe.node.commands.changes import (
    Fate,
    FileChange,
    IdentityChange,
    TicketFate,
    changes_of_plan,
)

KEPT = IdentityChange(fate=Fate.KEPT, detail="it stays", acts=False)
NOTE = "// Written by 'icefloe node setup' on 2026-01-0{} 10:00:00 UTC.\n"


def change(before: str | None, after: str) -> FileChange:
    return FileChange(path=Path("/etc/x.conf"), before=before, after=after, mode=0o644)


ordinary = st.lists(st.sampled_from(["a", "b", "c { }", "", "  d"]), max_size=12)


@given(before=ordinary, after=ordinary, ends=st.booleans())
def test_a_diff_without_secrets_is_what_diff_prints(
    before: list[str], after: list[str], *, ends: bool
) -> None:
    old = "".join(f"{line}\n" for line in before)
    new = "".join(f"{line}\n" for line in after)
    if not ends:
        old, new = old.removesuffix("\n"), new.removesuffix("\n")
    a, b = (text.removesuffix("\n").split("\n") if text else [] for text in (old, new))
    expected = difflib.unified_diff(a, b, lineterm="")
    body = [f"{line}\n" for line in expected][2:]
    assert change(old, new).diff().splitlines(keepends=True)[2:] == body


@given(
    name=st.sampled_from(["TicketSalt", "password", "ticket", "api_token"]),
    old=st.text("abcdefghijk0123456789", min_size=6),
    new=st.text("abcdefghijk0123456789", min_size=6),
)
def test_no_secret_is_in_a_diff(name: str, old: str, new: str) -> None:
    def text(value: str) -> str:
        return f'const X = "x"\nconst {name} = "{value}"\nobject Q "q" {{\n}}\n'

    found = change(text(old), text(new))
    shown = found.diff() + repr(found)
    assert old not in shown
    assert new not in shown
    if old != new:
        # That it changes is seen.
        assert f"-const {name} =***" in shown
        assert f"+const {name} =***" in shown


def test_a_new_file_is_compared_with_nothing() -> None:
    found = change(None, "a\n")
    assert found.is_new
    assert found.diff() == "--- /dev/null\n+++ /etc/x.conf\n@@ -0,0 +1 @@\n+a\n"


def test_files_that_differ_in_their_note_are_the_same(tmp_path: Path) -> None:
    same, other, new = (tmp_path / name for name in ("same", "other", "new"))
    same.write_text(NOTE.format(1) + "a\n")
    other.write_text(NOTE.format(1) + "a\n")
    plan = Plan(
        files=tuple(
            PlannedFile(path=path, text=NOTE.format(2) + text, mode=0o644)
            for path, text in ((same, "a\n"), (other, "b\n"), (new, "a\n"))
        )
    )
    found = changes_of_plan(plan, node_name="a1", identity=KEPT)
    assert [(each.path, each.is_new) for each in found.files] == [
        (other, False),
        (new, True),
    ]
    assert found.paths == (other, new)
    assert [each.path for each in found.plan.files] == [other, new]
    assert not found.nothing_to_do


@pytest.mark.parametrize(
    "identity, ticket, writes_ca, nothing",
    [
        (KEPT, TicketFate.STAYS, False, True),
        (KEPT, TicketFate.REMOVED, False, False),
        (KEPT, TicketFate.STORED, False, False),
        (KEPT, TicketFate.STAYS, True, False),
        (
            IdentityChange(fate=Fate.ASKED, detail="x", acts=True),
            TicketFate.STAYS,
            False,
            False,
        ),
    ],
)
def test_nothing_to_do_means_nothing_at_all(
    identity: IdentityChange, ticket: TicketFate, *, writes_ca: bool, nothing: bool
) -> None:
    found = changes_of_plan(
        Plan(), node_name="a1", identity=identity, ticket=ticket, writes_ca=writes_ca
    )
    assert found.nothing_to_do is nothing


def test_only_the_note_is_overlooked() -> None:
    assert says_the_same(NOTE.format(1), NOTE.format(2))
    assert not says_the_same(NOTE.format(1), NOTE.format(2) + "a")
    assert not says_the_same("// Written by me\n", "// Written by you\n")
