from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.node.commands.answer_file import read_answer_file
from icefloe.node.commands.questions import QUESTIONS, canonical_key

keys = st.one_of(st.sampled_from(list(QUESTIONS)), st.text(max_size=5))
lines = st.builds("{} = {}".format, keys, st.text(max_size=12))
texts = st.one_of(
    st.text(max_size=60), st.lists(lines, max_size=4).map("\n".join), st.binary()
)


@given(text=texts, suffix=st.sampled_from([".toml", ".yaml"]))
def test_any_file_is_answers_or_problems_and_never_an_error(
    text: str | bytes, suffix: str
) -> None:
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        data = text.encode(errors="replace") if isinstance(text, str) else text
        file.write(data)
        file.flush()
        found = read_answer_file(Path(file.name))
    assert set(found.answers) <= set(QUESTIONS)
    assert all(problem.startswith(file.name) for problem in found.problems)


@pytest.mark.parametrize(
    "text",
    ["wait = " + "9" * 5000, "cn = " + "[" * 5000, "x = 2020-99-99"],
    ids=["a number without end", "brackets in brackets", "a date that is none"],
)
def test_what_the_parser_cannot_bear_is_a_problem(tmp_path: Path, text: str) -> None:
    path = tmp_path / "setup.toml"
    path.write_text(text)
    (problem,) = read_answer_file(path).problems
    assert "it is not TOML" in problem


def test_no_value_is_quoted_in_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "setup.toml"
    path.write_text('ticket = ["hush"]\nendpoint = [["hush"]]\nx = "hush"\n')
    found = read_answer_file(path)
    assert len(found.problems) == 3
    assert "hush" not in "".join(found.problems)
    path.write_text('ticket = "hush"\n')
    assert "hush" not in repr(read_answer_file(path))


def test_a_key_is_found_however_it_is_spelled() -> None:
    assert canonical_key("parent-host") == "parent_host"
    assert canonical_key("master_host") == "parent_host"
    assert canonical_key("trusted-cert") == "trustedcert"
    assert canonical_key("no-such-key") == "no_such_key"
    assert all(canonical_key(name) == name for name in QUESTIONS)
