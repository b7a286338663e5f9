"""What is found in the first and last bytes of a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.wire.jsonrpc import encode_notification, peek_method, peek_ts

UPDATE = b'{"jsonrpc":"2.0","method":"config::Update","params":{"update":{"zo'
NAMED = UPDATE.index(b',"params"')


@pytest.mark.parametrize(
    "head, method",
    [
        (UPDATE, "config::Update"),
        (UPDATE[:NAMED], "config::Update"),
        (UPDATE[: NAMED - 1], None),  # cut inside the name
        (b"", None),
        (b"{", None),
        (b"{}", None),
        (b'{} "method":"x"', None),
        (b'{"method"', None),
        (b'{"method":', None),
        (b'{"method":"x"', "x"),
        (b' {\r\n "method"\t: "x" ,', "x"),
        (b'{"method":""', ""),
        (b'{"id":"method","method":"x"', "x"),
        (b'{"id":{"method":"inner","a":[{"method":"y"}]},"method":"outer"', "outer"),
        (b'{"params":{"method":"inner"', None),
        (b'{"id":["method",":","x"],"method":"y"}', "y"),
        (b'{"id":-1.5e3,"x":null,"y":true,"method":"z"', "z"),
        (b'{"id":"a\\"b\\\\","method":"z"', "z"),
        (b'{"\\u006dethod":"a\\u0062"', "ab"),
        (b'{"method":null,', None),
        (b'{"method":{"a":1}', None),
        (b'{"method":["x"]', None),
        (b'{"method":5', None),
        (b'{"method":"\\ud800"', None),
        (b'{"method":"\xff"', None),
        (b'{"\xff":1,"method":"x"', "x"),
        (b'["method",":","x"]', None),
        (b'["method":"x"', None),
        (b'"method":"x"', None),
        (b'5,"method":"x"', None),
        (b'}"method":"x"', None),
        (b'{"a":"unfinished, "method":"x"', None),
        (b'{"method":"first","method":"second"}', "first"),
        ('{"method":"zürich"'.encode(), "zürich"),
    ],
)
def test_peek_method_finds_the_top_level_method(head: bytes, method: str) -> None:
    assert peek_method(head) == method


@pytest.mark.parametrize(
    "tail, ts",
    [
        (b'"x":1}},"ts":1795339110.655543}', 1795339110.655543),
        (b',"ts":5}', 5.0),
        (b'{"ts":5}', 5.0),
        (b', "ts" : -1e3 } \r\n', -1000.0),
        (b',"ts":5}}', None),
        (b',"ts":5', None),
        (b',"ts":5},', None),
        (b',"ts":5,"a":1}', None),
        (b',"ts":null}', None),
        (b',"ts":"5"}', None),
        (b',"ts":1e999}', None),
        (b',"ts":-1e999}', None),
        (b',"ts":1-2}', None),
        (b',"ts":01}', None),
        (b',"ts":NaN}', None),
        (b',\\"ts\\":5}', None),
        (b',\\"ts":5}', None),
        (b'"ts":5}', None),
        (b"", None),
    ],
)
def test_peek_ts_finds_a_top_level_ts_at_the_very_end(
    tail: bytes, ts: float | None
) -> None:
    assert peek_ts(tail) == ts


@given(data=st.binary() | st.binary().map(lambda rest: b'{"method":' + rest))
def test_peeking_at_any_bytes_never_raises(data: bytes) -> None:
    peek_method(data)
    peek_ts(data)


@given(
    method=st.text(max_size=40),
    ts=st.floats(allow_nan=False, allow_infinity=False),
    zone=st.none() | st.text(min_size=1),
)
def test_peeking_finds_what_the_encoder_wrote(
    method: str, ts: float | None, zone: str | None
) -> None:
    payload = encode_notification(method, {"a": ["ts"]}, ts=ts, origin_zone=zone)
    clean = method.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert peek_method(payload[:4096]) == clean
    assert peek_ts(payload[-512:]) == ts
