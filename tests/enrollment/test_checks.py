"""Which ticket is compared next."""

from __future__ import annotations

from icefloe.enrollment.checks import TicketChecks


def test_peers_have_their_turns_one_after_the_other() -> None:
    checks = TicketChecks()
    for number in range(4):
        checks.add(f"a{number}", peer="a")
    checks.add("b0", peer="b")
    checks.add("c0", peer="c")
    taken = [checks.take() for _ in range(6)]
    assert taken == ["a0", "b0", "c0", "a1", "a2", "a3"]
    assert checks.take() is None


def test_what_waits_or_is_under_way_is_not_put_in_line_again() -> None:
    checks = TicketChecks()
    checks.add("a", peer="p")
    checks.add("a", peer="q")
    assert (checks.take(), checks.take()) == ("a", None)
    checks.add("a", peer="p")
    assert checks.take() is None
    assert "a" in checks
    checks.done("a")
    assert "a" not in checks
    checks.add("a", peer="p")
    assert checks.take() == "a"


def test_it_is_told_how_many_wait_and_are_under_way() -> None:
    checks = TicketChecks()
    for number in range(3):
        checks.add(str(number), peer="p")
    checks.take()
    assert (len(checks), checks.under_way) == (3, 1)
    assert (checks.waiting_for("p"), checks.waiting_for("q")) == (2, 0)
    checks.done("2")
    assert len(checks) == 3, "it was not under way"
    checks.clear()
    assert (len(checks), checks.under_way, checks.take()) == (0, 0, None)
