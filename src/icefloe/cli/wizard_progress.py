"""What the wizard shows while a parent is asked: each hop as soon as it is known.

A parent tells in its answers which nodes had the request and what they did; one that
says "pending" tells it again with every answer.  What was shown once is not repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from icefloe.cli.problem_words import fact
from icefloe.cli.wizard_screen import Screen
from icefloe.enrollment.requester import AskResult, Came, Parent
from icefloe.node.client import Asking, Heard, Waiting
from icefloe.node.commands.enrolling import Outcome

__all__ = ["Progress"]

_SECONDS_MAX: Final = 1e11
_HOPS_MAX: Final = 64
_PAD_MIN: Final = 10
_PAD_MAX: Final = 32
_ENDS: Final = frozenset({Came.SIGNED, Came.REFUSED, Came.NOTHING_TO_DO})


@dataclass(frozen=True, slots=True)
class _Hop:
    """A node and what it did; `at` is its own clock, None when it did not say."""

    node: str
    did: str
    at: float | None


@dataclass(slots=True)
class Progress:
    """Tells what is news, once.

    Attributes:
        screen: Where to.
        name: This node's.
    """

    screen: Screen
    name: str
    _told: dict[Parent, tuple[Came, str]] = field(default_factory=dict, init=False)
    _asked: set[Parent] = field(default_factory=set, init=False)
    _hops: set[_Hop] = field(default_factory=set, init=False)
    _start: float | None = field(default=None, init=False)
    _pad: int = field(default=_PAD_MIN, init=False)

    def step(self, event: Asking | Heard | Waiting) -> None:
        """Tell one step; what ends it is told by the wizard."""
        match event:
            case Asking(parent, _) if parent not in self._asked:
                self._asked.add(parent)
                self._line(self.name, f"asks {parent}")
            case Heard(parent, result):
                self._tell_hops(result)
                news = (result.came, result.detail)
                if result.came not in _ENDS and self._told.get(parent) != news:
                    self._told[parent] = news
                    self._line(str(parent), f"{result.came.value}: {result.detail}")

    def end(self, outcome: Outcome) -> None:
        """Tell what was made of the last answer."""
        if outcome.wrote_certificate:
            self._line(self.name, "verified the certificate and put it in place")
        elif outcome.wrote_ca:
            self._line(self.name, "verified the CA's certificate and put it in place")

    def _tell_hops(self, result: AskResult) -> None:
        hops = _in_order(_hops(result))
        self._make_room(self.name, *(hop.node for hop in hops))
        for hop in hops:
            if hop in self._hops:
                continue
            self._hops.add(hop)
            after = ""
            if hop.at is not None:
                self._start = hop.at if self._start is None else self._start
                after = f" ({hop.at - self._start:+.2f} s)"
            self._line(hop.node, hop.did + after)

    def _line(self, node: str, text: str) -> None:
        self._make_room(node)
        self.screen.item(node, text, pad=self._pad)

    def _make_room(self, *nodes: str) -> None:
        """Let what nodes did stand in one column, as long as their names allow."""
        longest = max(map(len, nodes)) + 2
        self._pad = max(self._pad, min(longest, _PAD_MAX))


def _in_order(hops: Iterator[_Hop]) -> list[_Hop]:
    """Sort hops by their time, if each tells one."""
    found = list(hops)
    if any(hop.at is None for hop in found):
        return found
    return sorted(found, key=lambda hop: hop.at or 0.0)


def _hops(result: AskResult) -> Iterator[_Hop]:
    hops = result.facts.get("hops")
    for hop in hops[:_HOPS_MAX] if isinstance(hops, list) else []:
        if not isinstance(hop, Mapping):
            continue
        node, did, at = fact(hop, "node"), fact(hop, "did"), hop.get("at")
        if not node or not did:
            continue
        # From any node on the way: a number of any size.
        if not isinstance(at, int | float) or abs(at) >= _SECONDS_MAX:
            at = None
        yield _Hop(node, did, at)
