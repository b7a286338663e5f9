"""The scan before parsing: depth and number of containers."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.wire import nesting
from icefloe.wire.errors import MessageError, Reason
from icefloe.wire.nesting import check_nesting


def verdict(text: bytes, *, depth_max: int = 32, containers_max: int = 1000) -> str:
    try:
        check_nesting(text, depth_max=depth_max, containers_max=containers_max)
    except MessageError as error:
        assert error.size == len(text)  # noqa: PT017 (may not be raised)
        return error.reason
    return ""


def reference(text: bytes, depth_max: int, containers_max: int) -> bool:
    """The same question, answered byte by byte."""
    depth = containers = 0
    inside = escaped = False
    for byte in text.decode("latin-1"):
        if escaped:
            escaped = False
        elif inside:
            escaped = byte == "\\"
            inside = byte != '"'
        elif byte == '"':
            inside = True
        elif byte in "[{":
            depth += 1
            containers += 1
            if depth > depth_max or containers > containers_max:
                return True
        elif byte in "]}":
            depth -= 1
    return False


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "text, reason",
    [
        (b"", ""),
        (nested(32), ""),
        (nested(33), Reason.JSON_TOO_DEEP),
        (b"[" * 33, Reason.JSON_TOO_DEEP),
        (b'{"a":' * 33 + b"1" + b"}" * 33, Reason.JSON_TOO_DEEP),
        (b'{"a":[' * 16 + b"1" + b"]}" * 16, ""),
        (b'{"a":[' * 16 + b"[]" + b"]}" * 16, Reason.JSON_TOO_DEEP),
        (b"[" + b"[]," * 900 + b"1]", ""),
        (b"[" + b"[]," * 999 + b"1]", ""),
        (b"[" + b"[]," * 1000 + b"1]", Reason.JSON_TOO_MANY_CONTAINERS),
        (b'["' + b"[" * 5000 + b'"]', ""),
        (b'["' + b"[" * 50 + b'\\"' + b"[" * 50 + b'"]', ""),
        (b'["\\\\",' + b"[" * 50, Reason.JSON_TOO_DEEP),
        (b'["\\\\\\"' + b"[" * 50 + b'"]', ""),
        (b'["' + b"[" * 50, ""),
        (b"]" * 50 + b"[" * 50, ""),
    ],
)
def test_scan_counts_containers_outside_strings(text: bytes, reason: str) -> None:
    assert verdict(text) == reason


def test_scan_carries_depth_and_strings_over_its_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nesting, "_WINDOW_BYTES", 7)
    assert verdict(nested(32)) == ""
    assert verdict(nested(33)) == Reason.JSON_TOO_DEEP
    assert verdict(b'["' + b"[" * 50 + b'\\"' + b"[" * 50 + b'"]') == ""
    text = b"[" + b"[]," * 1000 + b"1]"
    assert verdict(text) == Reason.JSON_TOO_MANY_CONTAINERS


def test_scan_of_a_hostile_megabyte_takes_little_memory() -> None:
    text = b'"a",' * 262_144 + b"[" * 33
    tracemalloc.start()
    try:
        assert verdict(text) == Reason.JSON_TOO_DEEP
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(text)


json_like = st.lists(
    st.sampled_from([b"[", b"]", b"{", b"}", b'"', b'"', b"x", b",", b'"a"', b"[]"])
).map(b"".join)
json_strings = st.lists(
    st.sampled_from([b"[", b'\\"', b"\\\\", b"\\u0022", b"{", b"a"]), max_size=8
).map(lambda parts: b'"' + b"".join(parts) + b'"')
with_strings = st.lists(
    st.one_of(json_strings, st.sampled_from([b"[", b"]", b"{", b"}", b","]))
).map(b"".join)


@given(
    text=json_like | with_strings,
    depth_max=st.integers(1, 6),
    containers_max=st.integers(1, 12),
    window=st.integers(1, 20),
)
def test_scan_agrees_with_a_byte_by_byte_scan(
    text: bytes, depth_max: int, containers_max: int, window: int
) -> None:
    before = nesting._WINDOW_BYTES
    nesting._WINDOW_BYTES = window  # type: ignore[misc]
    try:
        outcome = verdict(text, depth_max=depth_max, containers_max=containers_max)
    finally:
        nesting._WINDOW_BYTES = before  # type: ignore[misc]
    assert bool(outcome) == reference(text, depth_max, containers_max)


@given(text=st.binary())
def test_scan_of_any_bytes_raises_nothing_but_its_error(text: bytes) -> None:
    verdict(text, depth_max=0)
