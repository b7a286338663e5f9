"""Icinga's tickets: what the real `icinga2 pki ticket` printed, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.pki.errors import TicketInvalid
from icefloe.pki.tickets import is_ticket, ticket, ticket_matches

# CN, salt, ticket: printed by a real icinga2.
VECTORS = [
    ("foo", "bar", "bfa968562162e7a254022beab770dce8367fc84a"),
    (
        "agent1.example.org",
        "0123456789abcdef0123456789abcdef",
        "e8c186438da38e86f221767b542c2c6f6bc0d361",
    ),
    (
        "icinga2-satellite1.localdomain",
        "5b4b4d5e",
        "9bc555897741002043986661a9eedc4bd1ed2cda",
    ),
    ("zürich", "sälz", "27dfdedd1e21b9088b89c8c7beeeacca5f4a2a67"),
]
CN, SALT, TICKET = VECTORS[0]


@pytest.mark.parametrize("cn, salt, expected", VECTORS)
def test_a_ticket_is_icingas_ticket(cn: str, salt: str, expected: str) -> None:
    assert ticket(cn, salt) == expected
    assert ticket_matches(expected, cn, salt)


@pytest.mark.parametrize(
    "given_ticket",
    [
        *("", "x", TICKET.upper(), TICKET[:-1], TICKET + "0", TICKET + "\n"),
        *(" " + TICKET, "0" * 40, "g" * 40, "\u0660" * 40, "\ud800" * 40, "é" * 40),
    ],
)
def test_anything_else_is_not_the_ticket(given_ticket: str) -> None:
    assert not ticket_matches(given_ticket, CN, SALT)


def test_another_name_or_salt_makes_another_ticket() -> None:
    assert not ticket_matches(TICKET, "Foo", SALT)
    assert not ticket_matches(TICKET, CN, "BAR")


@pytest.mark.parametrize(
    "cn, salt, says",
    [
        ("", "bar", "the common name is empty"),
        ("foo", "", "the ticket salt is empty"),
        ("foo\ud800", "bar", "the common name is not valid Unicode"),
        ("foo", "secret\ud800", "the ticket salt is not valid Unicode"),
    ],
)
def test_values_that_make_no_ticket_are_a_typed_error_and_match_nothing(
    cn: str, salt: str, says: str
) -> None:
    with pytest.raises(TicketInvalid, match=says) as caught:
        ticket(cn, salt)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not ticket_matches("0" * 40, cn, salt)


@given(st.text())
def test_no_text_makes_the_comparison_fail(text: str) -> None:
    assert is_ticket(text) is False
    assert not ticket_matches(text, CN, SALT)
