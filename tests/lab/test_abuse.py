"""Floods and idlers against real daemons: good agents are signed all the same.

The figures are printed, not judged: the machine is shared. `icefloe lab abuse` measures
them at length.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from icefloe.config.layout import NodeDirectories
from icefloe.lab.abuse import AbusePlan, measure_abuse
from icefloe.lab.abuse_flood import Load
from icefloe.lab.abuse_idlers import Idlers, IdlersPlan
from icefloe.lab.asking import ParentAddress, ask
from icefloe.lab.crowd import Wish, make_agents
from icefloe.lab.outcomes import Outcome
from icefloe.lab.processes import LoggingDaemon, end
from icefloe.lab.stage import environment, program
from tests.lab.world import CLOCK, ENTROPY, agents, write_node
from tests.peers.layout import Address, three_levels
from tests.peers.waiting import free_port

HOST = "127.0.0.1"


class Cluster:
    """A master and a relay, each a process."""

    def __init__(self, root: Path) -> None:
        zones = three_levels()
        self.ports = {"master1": free_port(), "satellite1": free_port()}
        master = write_node(
            root, "master1", zones, port=self.ports["master1"], signs=True
        )
        satellite = write_node(
            root,
            "satellite1",
            zones,
            port=self.ports["satellite1"],
            dials={"master1": Address(HOST, self.ports["master1"])},
        )
        for directories in (master, satellite):
            constants = directories.constants_conf
            endpoints = 'const IcefloeEndpoints = [ "master1", "satellite1" ]\n'
            constants.write_text(
                "\n".join(
                    line
                    for line in constants.read_text().splitlines()
                    if "IcefloeEndpoints" not in line
                )
                + "\n"
                + endpoints
            )
        self.daemons = {
            "master1": self._start(root, "master1", master),
            "satellite1": self._start(root, "satellite1", satellite),
        }

    def _start(self, root: Path, name: str, where: NodeDirectories) -> LoggingDaemon:
        return LoggingDaemon(
            [
                *program(),
                *("--config-dir", str(where.config_dir)),
                *("--data-dir", str(where.data_dir)),
                *("daemon", "--without-monitoring", "--log-format", "json"),
            ],
            environment=environment(),
            what=name,
            log=root / f"{name}.log",
        )

    def parent(self, name: str) -> ParentAddress:
        return ParentAddress(host=HOST, port=self.ports[name])

    def member_events(self, **wanted: Any) -> list[dict[str, Any]]:
        return self.daemons["master1"].events(peer="satellite1", **wanted)


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.05)
    assert condition(), what


@contextlib.asynccontextmanager
async def running(root: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(root)
    try:
        for daemon in cluster.daemons.values():
            await daemon.wait_for(event="ready")
        await cluster.daemons["master1"].wait_for(event="connected", peer="satellite1")
        yield cluster
    finally:
        end(list(cluster.daemons.values()))


@pytest.mark.parametrize("flooded", ["master1", "satellite1"])
def test_good_agents_are_signed_beside_a_flood_of_wrong_tickets(
    tmp_path: Path, flooded: str, record_property: Callable[[str, object], None]
) -> None:
    async def work() -> None:
        async with running(tmp_path) as cluster:
            plan = AbusePlan(parent=cluster.parent(flooded), rounds=1, settle_seconds=1)
            good = await agents(20, prefix="good")
            report = await measure_abuse(plan, good, entropy=ENTROPY)
            sys.stdout.write(f"\n{report.text()}\n")
            record_property("p99_ratio", report.ratio)
            assert report.complaints == []
            flood = report.felt[Load.WRONG_TICKETS]
            assert flood.answers["too-many-wrong-tickets"] > 100
            assert flood.answers["wrong-ticket"] < 100, "compared a few, not all"
            ended = cluster.member_events(event="session.ended")
            assert ended == [], "the member's connection stands"

    asyncio.run(work())


def test_members_and_new_agents_do_not_feel_those_who_idle(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async def work() -> None:
        async with running(tmp_path) as cluster:
            (idler,) = await make_agents(
                [Wish(name="idler")], entropy=ENTROPY, now=CLOCK.now().wall
            )
            plan = IdlersPlan(parent=cluster.parent("master1"), idle=200, slow=100)
            good = await agents(6, prefix="good")
            async with Idlers(plan, idler).running() as counts:
                assert counts.opened.total() >= 300
                for number, agent in enumerate(good):
                    where = ("master1", "satellite1")[number % 2]
                    attempt = await ask(
                        agent, cluster.parent(where), entropy=ENTROPY, seconds_max=30
                    )
                    assert attempt.outcome is Outcome.SIGNED, attempt.detail
                    record_property(f"seconds at {where}", round(attempt.seconds, 3))
                await until(lambda: counts.closed.total() > 100, "closed in time")
            assert cluster.member_events(event="session.ended") == []

    asyncio.run(work())
