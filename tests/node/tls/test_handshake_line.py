"""Whose handshake is computed next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from icefloe.node.tls.handshake_line import HandshakeLine


class Computed:
    """Notes whose turn came, in order; a turn ends when it is told to."""

    def __init__(self, line: HandshakeLine) -> None:
        self.line = line
        self.order: list[str] = []
        self.ends: list[asyncio.Event] = []

    async def compute(self, source: str) -> None:
        end = asyncio.Event()
        async with self.line.turn(source):
            self.order.append(source)
            self.ends.append(end)
            await end.wait()


def in_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        asyncio.run(work())

    test.__name__ = work.__name__
    return test


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def run(line: HandshakeLine, sources: list[str]) -> list[str]:
    """Let all come in this order; return in which order they had their turns."""
    computed = Computed(line)
    async with asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(computed.compute(source))
        await settle()
        while computed.ends:
            computed.ends.pop(0).set()
            await settle()
    return computed.order


@in_loop
async def test_sources_have_their_turns_in_a_circle() -> None:
    order = await run(HandshakeLine(1), ["a", "a", "a", "a", "b", "c", "b"])
    assert order == ["a", "a", "b", "c", "a", "b", "a"]


@in_loop
async def test_no_more_are_computed_than_there_are_places() -> None:
    computed = Computed(HandshakeLine(2))
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(computed.compute("a"))
        await settle()
        assert (len(computed.order), computed.line.waiting) == (2, 3)
        while computed.ends:
            computed.ends.pop().set()
            await settle()
    assert computed.line.waiting == 0


@in_loop
async def test_who_is_over_its_rate_comes_last_and_never_takes_all_places() -> None:
    line = HandshakeLine(2, comes_last=lambda source: source == "flood")
    computed = Computed(line)
    async with asyncio.TaskGroup() as group:
        for source in ["flood"] * 4:
            group.create_task(computed.compute(source))
        await settle()
        assert computed.order == ["flood"]
        group.create_task(computed.compute("good"))
        await settle()
        assert computed.order == ["flood", "good"]
        group.create_task(computed.compute("better"))
        await settle()
        computed.ends[0].set()
        await settle()
        assert computed.order == ["flood", "good", "better"]
        for end in computed.ends:
            end.set()
        await settle()
        while len(computed.order) < 6:
            computed.ends[-1].set()
            await settle()
        computed.ends[-1].set()


@in_loop
async def test_who_goes_away_while_it_waits_or_has_its_turn_gives_its_place_back() -> (
    None
):
    line = HandshakeLine(1)
    computed = Computed(line)
    has, waits, next_one = (
        asyncio.create_task(computed.compute(source)) for source in "abc"
    )
    await settle()
    waits.cancel()
    await settle()
    assert line.waiting == 1
    has.cancel()
    await settle()
    assert computed.order == ["a", "c"]
    next_one.cancel()
    await settle()
    computed.ends.clear()
    last = asyncio.create_task(computed.compute("d"))
    await settle()
    assert computed.order[-1] == "d"
    computed.ends.pop().set()
    await last


@in_loop
async def test_who_gives_up_is_forgotten_though_its_line_has_no_turn() -> None:
    """Else a flood would pile up behind another one."""
    line = HandshakeLine(1, comes_last=lambda source: source == "flood")
    computed = Computed(line)
    has = asyncio.create_task(computed.compute("a"))
    for _ in range(3):
        late = [asyncio.create_task(computed.compute("flood")) for _ in range(4)]
        await settle()
        assert line.waiting == 4
        for each in late:
            each.cancel()
        await settle()
    assert not line._last
    computed.ends.pop().set()
    await has


@in_loop
async def test_who_goes_away_at_the_moment_of_its_turn_gives_it_back() -> None:
    line = HandshakeLine(1)
    computed = Computed(line)
    has = asyncio.create_task(computed.compute("a"))
    waits = asyncio.create_task(computed.compute("b"))
    await settle()
    computed.ends.pop().set()
    while line.waiting:  # noqa: ASYNC110 - to the very turn of the loop
        await asyncio.sleep(0)
    waits.cancel()
    await asyncio.wait([has, waits])
    async with line.turn("c"):
        assert line.waiting == 0
