"""The errors: facts as attributes, texts without anything a peer sent."""

from __future__ import annotations

import pytest

from icefloe import wire
from icefloe.errors import IcefloeError
from icefloe.wire.errors import FramingError, MessageError, Reason, WireError


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_stable_code_and_a_sentence(reason: Reason) -> None:
    assert reason == reason.value
    assert reason.replace("-", "").isalpha()
    assert str(reason) == reason.value
    assert reason.name.lower().replace("_", "-") == reason
    assert reason.text[-1].isalnum() or reason.text.endswith("'")
    assert str(WireError(reason)) == reason.text


def test_error_text_is_made_of_reason_detail_and_size() -> None:
    error = MessageError(
        Reason.FIELD_WRONG_TYPE, size=7, detail="ticket must be text", field="ticket"
    )
    assert (error.reason, error.size, error.field) == ("field-wrong-type", 7, "ticket")
    assert error.public == (
        "a parameter has the wrong type: ticket must be text (7 bytes)"
    )


def test_error_tree_has_one_root() -> None:
    assert issubclass(FramingError, WireError)
    assert issubclass(MessageError, WireError)
    assert issubclass(WireError, IcefloeError)
    assert FramingError(Reason.TRUNCATED).frames == ()


def test_package_exports_what_it_lists() -> None:
    for name in wire.__all__:
        assert hasattr(wire, name)
