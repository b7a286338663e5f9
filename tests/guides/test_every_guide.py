"""The guides as files: each is run, each is listed, each link leads somewhere."""

from __future__ import annotations

import re

import pytest

from tests.guides.running import GUIDES, blocks_of

TESTS = (GUIDES.parent.parent / "tests/guides/test_guides.py").read_text()
INDEX = "README.md"
NAMES = sorted(path.name for path in GUIDES.glob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("name", [name for name in NAMES if name != INDEX])
def test_a_guide_is_pasted_by_the_suite_and_stands_in_the_index(name: str) -> None:
    assert f'blocks_of("{name}")' in TESTS
    assert f"({name})" in (GUIDES / INDEX).read_text()
    blocks = blocks_of(name)
    assert sum(block.is_values for block in blocks) == 1
    assert [block for block in blocks if not block.not_run], "something to paste"


@pytest.mark.parametrize("name", [name for name in NAMES if name != INDEX])
def test_what_is_shown_is_never_just_anything(name: str) -> None:
    shown = [block for block in blocks_of(name) if block.shown is not None]
    empty = [b.line for b in shown if set(str(b.shown).split()) <= {"..."}]
    assert empty == []


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    for link, anchor in LINK.findall((GUIDES / name).read_text()):
        target = GUIDES / link if link else GUIDES / name
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            made = [re.sub(r"[^a-z0-9 -]", "", h.lower()) for h in heads]
            assert anchor in [head.replace(" ", "-") for head in made], anchor
