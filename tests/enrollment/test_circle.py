"""A line in which each key has its turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icefloe.enrollment.circle import Circle


def emptied(circle: Circle[str]) -> list[str]:
    return [circle.take() for _ in range(len(circle))]


def test_keys_have_their_turns_one_after_the_other() -> None:
    circle: Circle[str] = Circle()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        circle.add(item[0], item)
    assert circle.waiting_for("a") == 3
    assert emptied(circle) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_what_is_first_goes_before_the_rest_of_its_key_only() -> None:
    circle: Circle[str] = Circle()
    for item in ("a1", "a2", "b1"):
        circle.add(item[0], item)
    circle.add("b", "b0", first=True)
    assert emptied(circle) == ["a1", "b0", "a2", "b1"]


def test_what_is_put_back_is_its_keys_next() -> None:
    circle: Circle[str] = Circle()
    for item in ("a1", "a2"):
        circle.add(item[0], item)
    circle.put_back("a", circle.take())
    assert emptied(circle) == ["a1", "a2"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans())))
def test_only_what_is_kept_waits_on(
    steps: list[tuple[str, bool, bool]],
) -> None:
    circle: Circle[str] = Circle()
    wanted = []
    for number, (key, first, keep) in enumerate(steps):
        item = f"{key}{number}{'+' if keep else '-'}"
        circle.add(key, item, first=first)
        wanted += [item] if keep else []
    circle.keep(lambda item: item.endswith("+"))
    assert len(circle) == len(wanted)
    assert sorted(circle) == sorted(wanted)
    assert sorted(emptied(circle)) == sorted(wanted)
