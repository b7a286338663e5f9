"""The founding story, told by habits alone: agent, satellite and master joined.

Each test runs real machines against each other and looks only at what an operator sees.
"""

from __future__ import annotations

import pytest
from tests.habits.world import (
    DOWN,
    NOW,
    TICKET,
    UP,
    fingerprint,
    later,
    master,
    root,
    satellite,
    self_signed,
    signed,
)

from icefloe.cluster.zones import Relation
from icefloe.enrollment.events import CallId
from icefloe.habits import (
    HABITS,
    CloseCut,
    Effect,
    HabitualAgent,
    HabitualCLI,
    HabitualMaster,
    HabitualNode,
    HabitualSatellite,
    Identity,
    InstallIdentity,
    Notify,
    Reply,
    Saw,
    deliver,
    habits_of,
)
from icefloe.habits.cli import CLIEffect, Exit
from icefloe.wire.jsonrpc import Notification, Request, Response

VERSIONS = list(HABITS)
NEW = self_signed("agent1")


def carry(
    sender: HabitualNode, receiver: HabitualNode, effects: list[Effect], *, down: bool
) -> None:
    """Carry what goes over the link between satellite and master, to its end."""
    link, far = (DOWN, UP) if down else (UP, DOWN)
    presented = sender.identity.certificate
    for effect in effects:
        if isinstance(effect, Notify) and effect.link == link:
            message = Notification(effect.method, effect.params, ts=effect.ts)
            back = deliver(receiver, far, message, now=NOW, presented=presented)
            carry(receiver, sender, back, down=not down)


def joined(version: str) -> tuple[HabitualSatellite, HabitualMaster]:
    """Return a satellite and a master with a session between them."""
    below, above = satellite(version), master(version)
    above.on_member_up(DOWN, name="satellite1", relation=Relation.CHILD)
    started = below.on_member_up(UP, name="master1", relation=Relation.PARENT)
    carry(below, above, started, down=False)
    return below, above


def request_once(
    below: HabitualSatellite, above: HabitualMaster, ticket: str
) -> list[CLIEffect]:
    """Run `pki request` once at the satellite; return what it did."""
    client = HabitualCLI(call="id", ticket=ticket)
    (asked,) = client.on_connected()
    assert isinstance(asked, Request)
    below.on_anonymous_up(DOWN, now=NOW)
    effects = deliver(below, DOWN, asked, now=NOW, presented=NEW)
    seen: list[CLIEffect] = []
    for effect in effects:
        if isinstance(effect, Reply):
            assert effect.call == CallId("id")
            seen += client.on_message(Response("id", effect.result))
    below.on_link_down(DOWN)
    seen += client.on_closed()
    carry(below, above, [e for e in effects if not isinstance(e, CloseCut)], down=False)
    return seen


def saw(effects: list[CLIEffect]) -> Saw:
    """Return what the operator saw."""
    (end,) = (effect for effect in effects if isinstance(effect, Exit))
    return end.saw


@pytest.mark.parametrize("version", VERSIONS)
def test_a_valid_ticket_through_a_satellite_is_signed_on_the_second_call(
    version: str,
) -> None:
    below, above = joined(version)
    first = saw(request_once(below, above, TICKET))
    assert first is (Saw.CUT if version == "2.14.4" else Saw.PENDING)
    assert saw(request_once(below, above, TICKET)) is Saw.SIGNED


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_ticket_through_a_satellite_is_never_refused(version: str) -> None:
    below, above = joined(version)
    for _call in range(3):
        seen = saw(request_once(below, above, "wrong"))
        assert seen is (Saw.CUT if version == "2.14.4" else Saw.PENDING)
    assert list(above.requests.waiting()) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_an_approval_arrives_one_call_later_than_it_could(version: str) -> None:
    below, above = joined(version)
    request_once(below, above, "")
    assert above.approve(fingerprint(NEW), now=NOW)
    late = saw(request_once(below, above, ""))
    assert late is (Saw.CUT if version == "2.14.4" else Saw.PENDING)
    assert saw(request_once(below, above, "")) is Saw.SIGNED


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stale_ticket_is_overwritten_by_an_ask_without_one(version: str) -> None:
    """A poll without a ticket turns automatic signing into an approval."""
    below, above = satellite(version), master(version)
    request_once(below, above, TICKET)
    request_once(below, above, "")
    above.on_member_up(DOWN, name="satellite1", relation=Relation.CHILD)
    started = below.on_member_up(UP, name="master1", relation=Relation.PARENT)
    carry(below, above, started, down=False)
    assert [request.ticket for request in above.requests.waiting()] == [""]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_asked_twice_at_a_signer_makes_two_certificates(version: str) -> None:
    above = master(version)
    written = set()
    for _call in range(2):
        client = HabitualCLI(call="id", ticket=TICKET)
        (asked,) = client.on_connected()
        assert isinstance(asked, Request)
        above.on_anonymous_up(DOWN, now=NOW)
        reply, _update = deliver(above, DOWN, asked, now=NOW, presented=NEW)
        assert isinstance(reply, Reply)
        assert reply.result is not None
        written.add(reply.result["cert"])
        assert saw(client.on_message(Response("id", reply.result))) is Saw.SIGNED
        above.on_link_down(DOWN)
    assert len(written) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_a_waiting_daemon_installs_what_its_next_session_brings(version: str) -> None:
    """Agent's daemon at a satellite that got the certificate meanwhile."""
    below = satellite(version)
    agent = HabitualAgent(
        "agent1",
        habits=habits_of(version),
        identity=Identity(certificate=NEW, ca=root(since_days=-400), ticket=TICKET),
        dials=["satellite1"],
    )
    agent.start(NOW)

    def session() -> list[Effect]:
        below.on_anonymous_up(DOWN, now=NOW)
        (asked,) = agent.on_member_up(UP, name="satellite1", relation=Relation.PARENT)
        assert isinstance(asked, Notify)
        answers = deliver(
            below,
            DOWN,
            Notification(asked.method, asked.params),
            now=NOW,
            presented=agent.identity.certificate,
        )
        taken = [
            taken
            for effect in answers
            if isinstance(effect, Notify)
            for taken in deliver(
                agent, UP, Notification(effect.method, effect.params), now=NOW
            )
        ]
        below.on_link_down(DOWN)
        agent.on_link_down(UP)
        return taken

    assert session() == []
    below.requests.answer(
        fingerprint(NEW), certificate=signed("agent1"), at=later(1).wall
    )
    installed, *_closes = session()
    assert isinstance(installed, InstallIdentity)
    assert agent.identity.certificate == signed("agent1")
    assert agent.identity.ticket == ""
