"""Which ids of calls are taken."""

from __future__ import annotations

import pytest

from icefloe.node.askings import ID_BYTES_MAX, is_usable_id


@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 2**63, 1.5, "", "x", "ü" * (ID_BYTES_MAX // 2)]
)
def test_short_scalars_are_usable(value: object) -> None:
    assert is_usable_id(value)


@pytest.mark.parametrize(
    "value",
    [[], {}, [[], []], "x" * (ID_BYTES_MAX + 1), "ü" * ID_BYTES_MAX, 10**4000],
)
def test_containers_and_long_values_are_not(value: object) -> None:
    assert not is_usable_id(value)
