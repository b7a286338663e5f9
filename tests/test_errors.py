"""`icefloe.errors`."""

from __future__ import annotations

from icefloe.errors import IcefloeError


def test_public_text_of_an_error_is_its_message() -> None:
    assert IcefloeError("the port is taken").public == "the port is taken"
