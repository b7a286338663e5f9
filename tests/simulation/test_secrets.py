"""The judge sees a ticket wherever people or strangers could read it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icefloe.enrollment.commands import Answer, Ask
from icefloe.enrollment.events import CallId, LinkId
from icefloe.enrollment.ledger import AddHop, StoreAttempt, StoreRequest, Write
from icefloe.enrollment.model import AttemptState, Refusal
from icefloe.simulation import FaultPlan
from icefloe.simulation.cluster import SIGNER, chain
from icefloe.simulation.identities import authority
from icefloe.simulation.world import World, right_ticket
from icefloe.wire.catalogue import RequestCertificate
from tests.enrollment.ledger_contract import a_hop, a_request, an_attempt

LINK = LinkId(1)
TICKET = right_ticket("agent1")
REFUSAL = Refusal("wrong-ticket", f"'{TICKET}' is wrong", SIGNER)


@pytest.fixture
def world() -> World:
    world = World(0, FaultPlan.none())
    tree = chain(0).seats()[SIGNER].tree
    world.promises.add_node(SIGNER, signs=True, tree=tree, anchor=authority().anchor)
    return world


def times_told(world: World) -> int:
    broken = [violation.promise for violation in world.promises.violations]
    return broken.count("secrets_stay_secret")


@pytest.mark.parametrize(
    "write",
    [
        StoreRequest(replace(a_request(), note=f"came with {TICKET}")),
        StoreAttempt(
            replace(an_attempt(), state=AttemptState.REFUSED, refusal=REFUSAL)
        ),
        AddHop(replace(a_hop(), did=TICKET)),
    ],
    ids=lambda write: type(write).__name__,
)
def test_a_ticket_in_words_that_are_recorded_is_seen(
    world: World, write: Write
) -> None:
    world.promises.committed(SIGNER, (write,))
    assert times_told(world) == 1


def test_a_ticket_in_an_answer_is_seen(world: World) -> None:
    refused = {"status_code": 1, "error": REFUSAL.text}
    world.promises.durable_before_spoken(SIGNER, Answer(LINK, CallId("call"), refused))
    assert times_told(world) == 1


def test_an_open_attempt_and_an_ask_hold_a_ticket_in_its_place(world: World) -> None:
    attempt = replace(an_attempt(), ticket=TICKET)
    world.promises.committed(SIGNER, (StoreAttempt(attempt),))
    params = RequestCertificate(ticket=TICKET, cert_request="a certificate")
    world.promises.durable_before_spoken(SIGNER, Ask(LINK, "a.1", params))
    assert times_told(world) == 0
    elsewhere = replace(params, cert_request=TICKET)
    world.promises.durable_before_spoken(SIGNER, Ask(LINK, "a.1", elsewhere))
    assert times_told(world) == 1
