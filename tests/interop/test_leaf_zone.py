"""An Icefloe relay in a leaf zone of its own, beside a real monitoring cluster.

It enrolls whom it is asked to enroll; to the others it is nothing but a connection.
What it is asked to check it answers at once: UNKNOWN, and why.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.peers import (
    Figures,
    IcefloeNode,
    IcingaAPI,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    Stopwatch,
    ZoneSpec,
    checked_hosts,
    observation_seconds,
    three_levels,
    wait_until,
    watch,
)
from tests.peers.clients import PRODUCTS, calls_until_signed, new_client
from tests.peers.fixtures import Nodes
from tests.peers.layout import checked_hosts_conf

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(600)]

OWN_HOSTS = [f"host{number:02}" for number in range(30)]
AGENT_HOSTS = [f"host{number:02}" for number in range(30, 40)]
CHECK_SECONDS = 2.0
STALE_SECONDS = 20.0
"""A host whose last check is older has not been checked for ten rounds."""

UNKNOWN = 3
NOT_EXECUTABLE = 126
ANSWER_SECONDS = 15.0

OF_CONNECTION = (
    "New client connection for identity '{relay}' from",
    "Sending config updates for endpoint '{relay}' in zone 'leaf'",
    "Finished sending config file updates for endpoint '{relay}' in zone 'leaf'",
    "Syncing runtime objects to endpoint '{relay}'",
    "Finished syncing runtime objects to endpoint '{relay}'",
    "Finished sending runtime config updates for endpoint '{relay}' in zone 'leaf'",
    "Sending replay log for endpoint '{relay}' in zone 'leaf'",
    "Replayed [0-9]+ messages",
    "Finished sending replay log for endpoint '{relay}' in zone 'leaf'",
    "Finished syncing endpoint '{relay}' in zone 'leaf'",
    # A parent says so once for any child that is not of its own release or the last.
    "Unexpected Icinga version of endpoint '{relay}'",
    # Enrollment, which is what it is there for.
    "Sending certificate response for CN '[^']*' to endpoint '{relay}'",
)
"""What a real node's log may say of a relay of ours."""


@dataclass(frozen=True, slots=True)
class Monitored:
    """A real cluster that monitors, and a relay of ours that was not started."""

    master: RealIcinga
    satellite: RealIcinga
    agent: RealIcinga
    relay: IcefloeNode
    parent: RealIcinga

    @property
    def real_nodes(self) -> tuple[RealIcinga, ...]:
        """The nodes that are not to notice."""
        return self.master, self.satellite, self.agent


@pytest.fixture
def monitored(nodes: Nodes, prepared_pki: PreparedPKI, parent_seat: str) -> Monitored:
    """Start master, satellite and agent; 40 hosts are checked."""
    zones = (
        *three_levels(agents=["agent1"]),
        ZoneSpec(name="leaf", endpoints=("leaf1",), parent=parent_seat),
    )
    master, satellite, agent = (
        nodes.make(RealIcinga, name) for name in ("master1", "satellite1", "agent1")
    )
    relay = nodes.make(IcefloeNode, "leaf1")
    parent = {"master": master, "satellite": satellite}[parent_seat]
    for node in (master, satellite, agent, relay):
        node.install_identity(prepared_pki, signer=node is master)
    master.configure(zones, salt=prepared_pki.salt)
    satellite.configure(zones, dials={master.name: master.address})
    agent.configure(zones, dials={satellite.name: satellite.address})
    relay.configure(zones, dials={parent.name: parent.address})
    satellite.enable("checker")
    IcingaAPI.allow(master)
    master.write_zone_config(
        "satellite",
        "hosts",
        checked_hosts_conf(OWN_HOSTS, interval_seconds=CHECK_SECONDS)
        + on_agent(checked_hosts_conf(AGENT_HOSTS, interval_seconds=CHECK_SECONDS)),
    )
    start_monitoring(master, satellite, agent)
    return Monitored(master, satellite, agent, relay, parent)


def start_monitoring(
    master: RealIcinga, satellite: RealIcinga, agent: RealIcinga
) -> None:
    """Start a cluster and wait until all of it runs evenly.

    A check that is sent while its endpoint's session begins is lost, and made again
    only after its timeout and 30 s.  So the agent comes when the satellite has its
    configuration, and every host has to be checked after that.
    """
    master.start()
    satellite.start()
    wait_until(
        lambda: (
            len([at for at in checked_hosts(master).values() if at > 0])
            >= len(OWN_HOSTS)
        ),
        what="the satellite to check its hosts",
        every_seconds=1,
    )
    agent.start()
    satellite.wait_until_connected(agent)
    settled = time.time() + 2 * CHECK_SECONDS
    wait_until(
        lambda: min(checked_hosts(master).values()) > settled,
        what="40 hosts to be checked",
        every_seconds=1,
    )
    assert sorted(checked_hosts(master)) == [*OWN_HOSTS, *AGENT_HOSTS]


@pytest.mark.parametrize("parent_seat", ["master", "satellite"])
def test_a_relay_in_a_leaf_zone_disturbs_nobody(
    nodes: Nodes, prepared_pki: PreparedPKI, figures: Figures, monitored: Monitored
) -> None:
    """Enrollment on the first call; every host stays fresh; the logs stay quiet."""
    relay, parent = monitored.relay, monitored.parent
    marks = {node: node.log_mark() for node in monitored.real_nodes}
    relay.start()
    relay.wait_until_connected(parent)
    parent.wait_until_connected(relay)

    for name, product in PRODUCTS.items():
        client = new_client(nodes, product, f"new-{name}", relay, prepared_pki)
        ticket = monitored.master.ticket_for(client.name)
        stopwatch = Stopwatch()
        assert calls_until_signed(client, relay, ticket) == 1
        figures.note(f"signed_{name}_s", stopwatch.seconds)

    seen: list[float] = []
    seconds = observation_seconds(short=25, long=300)
    watch(staleness(monitored.master, seen), seconds=seconds, every_seconds=2)
    figures.note("observed_s", seconds)
    figures.note("oldest_check_s", max(seen))
    assert relay.is_running
    for node, mark in marks.items():
        remarks = list(unexpected(node.log(mark), relay))
        assert not remarks, f"{node!r}: {remarks}"
        opened = f"New client connection for identity '{relay.name}'"
        assert node.log(mark).count(opened) == (node is parent)


@pytest.mark.parametrize("parent_seat", ["master", "satellite"])
def test_what_a_real_parent_wants_executed_is_answered_unknown(
    nodes: Nodes, prepared_pki: PreparedPKI, figures: Figures, parent_seat: str
) -> None:
    """A check with `command_endpoint`, and the API action `execute-command`."""
    zones = (
        *three_levels(),
        ZoneSpec(name="leaf", endpoints=("leaf1",), parent=parent_seat),
    )
    master = nodes.make(RealIcinga, "master1")
    satellite = nodes.make(RealIcinga, "satellite1")
    relay = nodes.make(IcefloeNode, "leaf1")
    parent = {"master": master, "satellite": satellite}[parent_seat]
    for node in (master, satellite, relay):
        node.install_identity(prepared_pki, signer=node is master)
    master.configure(zones, salt=prepared_pki.salt)
    satellite.configure(zones, dials={master.name: master.address})
    relay.configure(zones, dials={parent.name: parent.address})
    for node in {master, parent}:
        IcingaAPI.allow(node)
    parent.enable("checker")
    # Slow by itself: the test asks for the checks.
    host = checked_hosts_conf(["asked"], interval_seconds=3600)
    there = f'  command_endpoint = "{relay.name}"\n}}'
    master.write_zone_config(parent_seat, "asked", host.replace("}", there))
    master.start()
    if parent is satellite:
        satellite.start()
        # It reloads with the host that the master gives it, and comes back.
        satellite.wait_for_log("Instantiated 1 Host")
        satellite.wait_until_connected(master, after=satellite_reloaded(satellite))
    relay.start()
    parent.wait_until_connected(relay)
    relay.wait_until_connected(parent)

    stopwatch = Stopwatch()
    # The parent that checks is asked itself: a younger one takes no orders from above.
    act(parent, "reschedule-check", force=True)
    result = wait_until(
        lambda: asked_host(master)["last_check_result"],
        what="an answer to the check",
        timeout_seconds=ANSWER_SECONDS,
    )
    figures.note("check_answered_s", stopwatch.seconds)
    assert result["state"] == UNKNOWN
    assert result["check_source"] == relay.name
    assert "does not execute checks" in result["output"]

    stopwatch = Stopwatch()
    (begun,) = act(
        master,
        "execute-command",
        command_type="CheckCommand",
        command="dummy",
        endpoint=relay.name,
        ttl=60,
    )
    execution = wait_until(
        lambda: finished(asked_host(master), begun["execution"]),
        what="an answer to the command",
        timeout_seconds=ANSWER_SECONDS,
    )
    figures.note("command_answered_s", stopwatch.seconds)
    figures.note("command_output", execution["output"])
    assert execution["exit"] == NOT_EXECUTABLE
    assert relay.is_running


def satellite_reloaded(satellite: NodeUnderTest) -> int:
    """Return where a satellite's log tells of its life with a host."""
    return satellite.log().index("Instantiated 1 Host")


def on_agent(hosts: str) -> str:
    """Let the agent run the checks of some hosts.

    Not `dummy`: its result is back so soon that icinga2 now and then overwrites the
    time of the next check that the result has set, and misses 45 rounds.
    """
    return hosts.replace(
        '  check_command = "dummy"\n',
        '  check_command = "sleep"\n'
        "  vars.sleep_time = 0.2\n"
        '  command_endpoint = "agent1"\n',
    )


def ages(master: NodeUnderTest) -> dict[str, float]:
    """Return how old each host's last check is, in seconds."""
    now = time.time()
    return {name: now - at for name, at in checked_hosts(master).items()}


def staleness(master: NodeUnderTest, seen: list[float]) -> Callable[[], str]:
    """Return a look at whether a host is stale; notes the oldest check in `seen`."""

    def look() -> str:
        now = ages(master)
        seen.append(max(now.values()))
        stale = [name for name, age in now.items() if age > STALE_SECONDS]
        return f"not checked for {seen[-1]:.0f} s: {stale}" if stale else ""

    return look


def unexpected(log: str, relay: NodeUnderTest) -> Iterable[str]:
    """Return lines that tell of more than the relay's connection."""
    allowed = re.compile("|".join(OF_CONNECTION).replace("{relay}", relay.name))
    for line in log.splitlines():
        worries = re.search(r"\] (warning|critical)/", line)
        if (worries or f"'{relay.name}'" in line) and not allowed.search(line):
            yield line


def act(master: NodeUnderTest, action: str, **what: object) -> list[dict[str, Any]]:
    """Order an API action on the host `asked`."""
    body = {"type": "Host", "filter": 'host.name == "asked"', **what}
    results: list[dict[str, Any]] = IcingaAPI(master).post(f"actions/{action}", body)[
        "results"
    ]
    assert [result["code"] // 100 for result in results] == [2], results
    return results


def asked_host(master: NodeUnderTest) -> dict[str, Any]:
    """Return the attributes of the host `asked`."""
    (found,) = IcingaAPI(master).get("objects/hosts/asked")["results"]
    attributes: dict[str, Any] = found["attrs"]
    return attributes


def finished(host: dict[str, Any], execution: str) -> dict[str, Any] | None:
    """Return an execution's record when it is no longer pending."""
    record: dict[str, Any] = (host["executions"] or {}).get(execution, {})
    return record if "exit" in record else None
