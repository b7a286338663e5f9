from __future__ import annotations

import asyncio

import pytest

from icefloe.lab.crowd import (
    AGENTS_MAX,
    Agent,
    CrowdPlan,
    gather_crowd,
    numbered_names,
    read_tickets,
)
from icefloe.lab.errors import CrowdInvalid
from icefloe.pki import certificates
from icefloe.pki.tickets import is_ticket, ticket
from tests.lab.world import CLOCK, ENTROPY

NAME = "agent1"
SALT = "a salt"


def gathered(plan: CrowdPlan) -> list[Agent]:
    return asyncio.run(gather_crowd(plan, entropy=ENTROPY, now=CLOCK.now().wall))


def test_names_are_alike_in_length() -> None:
    assert numbered_names("a", 10)[0] == "a01"
    assert numbered_names("a", 10)[-1] == "a10"


@pytest.mark.parametrize("count", [0, AGENTS_MAX + 1])
def test_a_crowd_has_its_bounds(count: int) -> None:
    with pytest.raises(CrowdInvalid, match=str(count)):
        numbered_names("a", count)


def test_each_agent_has_a_key_and_a_self_signed_certificate_of_its_own() -> None:
    crowd = gathered(CrowdPlan(count=3, prefix="a"))
    assert [agent.name for agent in crowd] == ["a1", "a2", "a3"]
    assert len({agent.key_id for agent in crowd}) == 3
    for agent in crowd:
        certificate = certificates.load_pem(agent.certificate_pem)
        assert certificates.is_self_signed(certificate)
        assert certificates.common_name(certificate) == agent.name
        assert certificates.key_id(certificate) == agent.key_id
        assert agent.ticket == ""


def test_a_salt_gives_each_agent_its_ticket() -> None:
    (agent,) = gathered(CrowdPlan(count=1, prefix="a", salt=SALT))
    assert agent.ticket == ticket("a1", SALT)


def test_wrong_tickets_look_like_tickets() -> None:
    (agent,) = gathered(CrowdPlan(count=1, prefix="a", salt=SALT, wrong_tickets=True))
    assert is_ticket(agent.ticket)
    assert agent.ticket != ticket("a1", SALT)


def test_a_tickets_file_says_who_asks_with_what() -> None:
    text = "# made by hand\n\nweb1 one\nweb2,two\n  web3\n"
    crowd = gathered(CrowdPlan(count=1, tickets=text))
    assert [(agent.name, agent.ticket) for agent in crowd] == [
        ("web1", "one"),
        ("web2", "two"),
        ("web3", ""),
    ]


def test_a_bad_line_of_a_tickets_file_is_named_without_its_words() -> None:
    with pytest.raises(CrowdInvalid, match="line 2") as caught:
        read_tickets("web1 one\nweb2 two three\n")
    assert "two" not in str(caught.value)


def test_a_name_wanted_twice_is_refused() -> None:
    with pytest.raises(CrowdInvalid, match="twice"):
        gathered(CrowdPlan(count=1, tickets="web1\nweb1\n"))


@pytest.mark.parametrize("salt", ["", SALT])
def test_a_name_that_no_node_may_have_is_refused(salt: str) -> None:
    with pytest.raises(CrowdInvalid, match="name"):
        gathered(CrowdPlan(count=1, prefix="a/", salt=salt))


def test_two_runs_have_other_names() -> None:
    (one,) = gathered(CrowdPlan(count=1))
    (other,) = gathered(CrowdPlan(count=1))
    assert one.name != other.name


def test_no_secret_is_in_a_repr() -> None:
    plan = CrowdPlan(count=1, prefix="a", salt=SALT, tickets="web1 secret\n")
    (agent,) = gathered(plan)
    assert "secret" not in repr(plan) + repr(agent)
    assert SALT not in repr(plan)
    assert "PRIVATE" not in repr(agent)
