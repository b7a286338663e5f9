"""What a session counts."""

from __future__ import annotations

from icefloe.cluster.counters import Counters


def test_methods_are_counted_by_name_only_when_known() -> None:
    counters = Counters()
    for method in ("a", "b", "a"):
        counters.count_method(method, known=True)
    for method in ("c", "d"):
        counters.count_method(method, known=False)
    assert counters == Counters(methods={"a": 2, "b": 1}, unknown=2)


def test_summary_has_the_sums_that_are_not_zero() -> None:
    counters = Counters(bytes_in=5, stale=1, methods={"a": 2})
    assert counters.summary() == {"bytes_in": 5, "stale": 1}


def test_copy_is_independent() -> None:
    counters = Counters(methods={"a": 1})
    copy = counters.copy()
    counters.count_method("a", known=True)
    assert copy == Counters(methods={"a": 1})
