"""Messages from bytes and back."""

from __future__ import annotations

import traceback
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.wire.errors import MessageError, Reason, WireError
from icefloe.wire.jsonrpc import (
    Message,
    Notification,
    Request,
    Response,
    decode,
    encode_empty_response,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
)


def reason_of(payload: bytes) -> Reason:
    with pytest.raises(MessageError) as caught:
        decode(payload)
    assert caught.value.size == len(payload)
    return caught.value.reason


GOOD: dict[bytes, Message] = {
    b'{"method":"m"}': Notification("m"),
    b' \r\n\t{"method":"m"} \n': Notification("m"),
    b'{"method":""}': Notification(""),
    b'{"jsonrpc":"2.0","method":"m","params":{}}': Notification("m", {}),
    b'{"jsonrpc":1,"method":"m","params":null}': Notification("m"),
    b'{"method":"m","params":[1,"a"]}': Notification("m", [1, "a"]),
    b'{"method":"m","params":"text"}': Notification("m", "text"),
    b'{"params":{"a":1},"method":"m","x":{"y":[]}}': Notification("m", {"a": 1}),
    b'{"method":"m","ts":1.5,"originZone":"z"}': Notification("m", None, 1.5, "z"),
    b'{"method":"m","ts":3}': Notification("m", None, 3.0),
    b'{"method":"m","ts":null,"originZone":null}': Notification("m"),
    b'{"method":"m","ts":"3","originZone":5}': Notification("m"),
    b'{"method":"m","ts":true,"originZone":""}': Notification("m"),
    b'{"method":"m","ts":[],"originZone":{}}': Notification("m"),
    b'{"method":"m","ts":1' + b"0" * 400 + b"}": Notification("m"),
    b'{"method":"m","id":null}': Request("m", None, None),
    b'{"method":"m","id":0}': Request("m", None, 0),
    b'{"method":"m","id":"u","params":{},"ts":2,"originZone":"z"}': Request(
        "m", {}, "u", 2.0, "z"
    ),
    b'{"method":"m","id":{"a":[null]}}': Request("m", None, {"a": [None]}),
    b'{"id":1}': Response(1, None),
    b'{"id":1,"method":null,"result":5}': Response(1, 5),
    b'{"id":null,"result":null}': Response(None, None),
    b'{"id":"u","result":{"a":1}}': Response("u", {"a": 1}),
    b'{"id":"u","error":"bad"}': Response("u", None, "bad"),
    b'{"id":"u","error":""}': Response("u", None, ""),
    b'{"id":"u","error":null,"result":1}': Response("u", 1),
    b'{"id":1,"error":{"code":-32601,"message":"no"}}': Response(1, None, "no"),
    b'{"id":1,"error":{"message":5}}': Response(1, None, "an error that is not text"),
    b'{"id":1,"error":false}': Response(1, None, "an error that is not text"),
    # Duplicate keys: the last one counts.
    b'{"method":"a","method":"b","id":1,"id":2}': Request("b", None, 2),
    b'{"method":"m","params":{"a":1,"a":2}}': Notification("m", {"a": 2}),
    # Escapes, also in keys.
    b'{"\\u006dethod":"\\ud83d\\ude00\\u0000\\/"}': Notification("\U0001f600\x00/"),
    # Invalid UTF-8 is replaced: stray, cut short, overlong, surrogate, too high.
    b'{"method":"a\xffb"}': Notification("a\ufffdb"),
    b'{"method":"\xc3"}': Notification("\ufffd"),
    b'{"method":"\xc0\xaf"}': Notification("\ufffd\ufffd"),
    b'{"method":"\xed\xa0\x80"}': Notification("\ufffd\ufffd\ufffd"),
    b'{"method":"m","params":{"\xff":"\xfe"}}': Notification("m", {"\ufffd": "\ufffd"}),
    b'{"\xff":0,"method":"m"}': Notification("m"),
    b'{"method":"\xef\xbb\xbf"}': Notification("\ufeff"),
    # Depth 32 is the last that is accepted.
    b'{"method":"m","params":' + b"[" * 31 + b"]" * 31 + b"}": Notification(
        "m", msgspec.json.decode(b"[" * 31 + b"]" * 31)
    ),
}

BAD = {
    b"": Reason.JSON_MALFORMED,
    b" ": Reason.JSON_MALFORMED,
    b"{": Reason.JSON_MALFORMED,
    b"{}}": Reason.JSON_MALFORMED,
    b'{"method":"m"},': Reason.JSON_MALFORMED,
    b'{"method":"m"}{}': Reason.JSON_MALFORMED,
    b'{"method":"m",}': Reason.JSON_MALFORMED,
    b"{'method':'m'}": Reason.JSON_MALFORMED,
    b'{"method":"m"}\x00': Reason.JSON_MALFORMED,
    b'{"method":"a\nb"}': Reason.JSON_MALFORMED,
    b'{"method":"m","id":NaN}': Reason.JSON_MALFORMED,
    b'{"method":"m","id":Infinity}': Reason.JSON_MALFORMED,
    b'{"method":"m","id":-Infinity}': Reason.JSON_MALFORMED,
    b'{"method":"m","id":01}': Reason.JSON_MALFORMED,
    b'{"method":"m","id":+1}': Reason.JSON_MALFORMED,
    b'{"method":"\\ud800"}': Reason.JSON_MALFORMED,
    b'{"method":"\\udc00 "}': Reason.JSON_MALFORMED,
    b'{"method":"\\x41"}': Reason.JSON_MALFORMED,
    b'\xef\xbb\xbf{"method":"m"}': Reason.JSON_MALFORMED,
    b'\xff{"method":"m"}': Reason.JSON_MALFORMED,
    b'{"method":"\xff"': Reason.JSON_MALFORMED,
    b"\x00": Reason.JSON_MALFORMED,
    b"[]": Reason.NOT_AN_OBJECT,
    b'[{"method":"m"}]': Reason.NOT_AN_OBJECT,
    b"null": Reason.NOT_AN_OBJECT,
    b"true": Reason.NOT_AN_OBJECT,
    b' "text"': Reason.NOT_AN_OBJECT,
    b"5": Reason.NOT_AN_OBJECT,
    b'{"method":"m","id":1e999}': Reason.NUMBER_OUT_OF_RANGE,
    b'{"method":"m","params":{"a":[-1e999]}}': Reason.NUMBER_OUT_OF_RANGE,
    b' {"method":"m","ts":1e400}': Reason.NUMBER_OUT_OF_RANGE,
    b'{"method":"m","id":' + b"9" * 5000 + b"}": Reason.NUMBER_OUT_OF_RANGE,
    b"{}": Reason.METHOD_MISSING,
    b'{"params":{}}': Reason.METHOD_MISSING,
    b'{"method":null}': Reason.METHOD_MISSING,
    b'{"result":1}': Reason.METHOD_MISSING,
    b'{"error":"x"}': Reason.METHOD_MISSING,
    b'{"method":5}': Reason.METHOD_NOT_TEXT,
    b'{"method":["m"],"id":1}': Reason.METHOD_NOT_TEXT,
    b'{"method":false,"id":1}': Reason.METHOD_NOT_TEXT,
    b'{"method":{},"id":1,"result":1}': Reason.METHOD_NOT_TEXT,
    b'{"method":"m","params":' + b"[" * 32 + b"]" * 32 + b"}": Reason.JSON_TOO_DEEP,
    b'{"method":"m","x":' + b"[" * 32 + b"]" * 32 + b"}": Reason.JSON_TOO_DEEP,
    b"[" * 100_000: Reason.JSON_TOO_DEEP,
    b'{"a":' * 100_000: Reason.JSON_TOO_DEEP,
    b'{"method":"m","params":[' + b"[]," * 100_000 + b"0]}": (
        Reason.JSON_TOO_MANY_CONTAINERS
    ),
}


@pytest.mark.parametrize("payload", GOOD, ids=lambda payload: payload[:60])
def test_decode_reads_a_message(payload: bytes) -> None:
    message = decode(payload)
    assert message == GOOD[payload]
    assert type(message) is type(GOOD[payload])


@pytest.mark.parametrize("payload", BAD, ids=lambda payload: payload[:60])
def test_decode_refuses_what_is_no_message(payload: bytes) -> None:
    assert reason_of(payload) is BAD[payload]


@pytest.mark.parametrize(
    "payload", [payload for payload in GOOD if payload[:1] == b"{"]
)
def test_decode_refuses_every_cut_of_a_message(payload: bytes) -> None:
    for end in range(len(payload.rstrip())):
        with pytest.raises(MessageError):
            decode(payload[:end])


@pytest.mark.parametrize(
    "text",
    [
        b"18446744073709551616",
        b"-9223372036854775809",
        b"123456789012345678901234567890",
        b"1" + b"0" * 4000,
        b"1.5",
        b"-0.0",
        b"5e-324",
        b"1.7976931348623157e308",
        b'"\\u0000"',
        b'["a",{"b":null},true]',
    ],
    ids=lambda text: text[:30],
)
def test_id_comes_back_as_it_came(text: bytes) -> None:
    request = decode(b'{"method":"m","id":%b}' % text)
    assert isinstance(request, Request)
    answer = decode(encode_response(request.id, None))
    assert isinstance(answer, Response)
    assert answer.id == request.id
    assert type(answer.id) is type(request.id)


def test_depth_beyond_the_interpreter_is_a_typed_error() -> None:
    payload = b'{"method":"m","params":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    with pytest.raises(MessageError) as caught:
        decode(payload, depth_max=10**6)
    assert caught.value.reason is Reason.JSON_TOO_DEEP


def test_depth_can_be_lowered() -> None:
    assert decode(b'{"method":"m","params":{}}', depth_max=2) == Notification("m", {})
    with pytest.raises(MessageError):
        decode(b'{"method":"m","params":{"a":[]}}', depth_max=2)


# -- encoding -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload, expected",
    [
        (
            encode_notification("event::Heartbeat", {}),
            b'{"jsonrpc":"2.0","method":"event::Heartbeat","params":{}}',
        ),
        (encode_notification("m", None), b'{"jsonrpc":"2.0","method":"m"}'),
        (
            encode_notification("m", {"b": 1, "a": 2}, ts=1.5, origin_zone="z"),
            (
                b'{"jsonrpc":"2.0","method":"m","originZone":"z",'
                b'"params":{"a":2,"b":1},"ts":1.5}'
            ),
        ),
        (encode_notification("m", (1,), ts=float("nan")), None),
        (encode_notification("m", [1], ts=float("inf")), None),
        (
            encode_request("m", {"ticket": "t"}, "u"),
            b'{"id":"u","jsonrpc":"2.0","method":"m","params":{"ticket":"t"}}',
        ),
        (encode_request("m", None, None), b'{"id":null,"jsonrpc":"2.0","method":"m"}'),
        (encode_response("u", None), b'{"id":"u","jsonrpc":"2.0","result":null}'),
        (encode_response(1, {"x": 1}), b'{"id":1,"jsonrpc":"2.0","result":{"x":1}}'),
        (encode_error(1, "no"), b'{"error":"no","id":1,"jsonrpc":"2.0"}'),
        (encode_empty_response(1), b'{"id":1,"jsonrpc":"2.0"}'),
    ],
)
def test_encoders_write_sorted_keys_without_blanks(
    payload: bytes, expected: object
) -> None:
    assert payload == (expected or b'{"jsonrpc":"2.0","method":"m","params":[1]}')


def test_keys_are_sorted_bytewise_at_every_level() -> None:
    params = {"\U0001f600": 1, "\uffff": 2, "é": 3, "z": {"b": 1, "B": 2}, "": 0}
    written = encode_response(1, params)
    expected = '{"":0,"z":{"B":2,"b":1},"é":3,"\uffff":2,"\U0001f600":1}'
    assert written == b'{"id":1,"jsonrpc":"2.0","result":%b}' % expected.encode()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_become_null(number: float) -> None:
    assert encode_response(1, [number]) == b'{"id":1,"jsonrpc":"2.0","result":[null]}'


def test_lone_surrogates_are_replaced_wherever_they_stand() -> None:
    value = {"a\ud800": ["\udc00", ("\ud83d\ude00", 1, None)], "ok": "é"}
    answer = decode(encode_response("\udfff", value))
    assert answer == Response(
        "\ufffd", {"a\ufffd": ["\ufffd", ["\U0001f600", 1, None]], "ok": "é"}
    )


def deep(depth: int, leaf: object = "") -> object:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


@pytest.mark.parametrize("leaf", ["", "\ud800"], ids=["text", "lone surrogate"])
def test_what_is_too_deep_for_the_peer_is_not_written(leaf: str) -> None:
    encode_response(1, deep(31, leaf))
    for depth in (32, 10_000):
        with pytest.raises(MessageError) as caught:
            encode_response(1, deep(depth, leaf))
        assert caught.value.reason is Reason.JSON_TOO_DEEP


def test_an_integer_that_cannot_be_read_again_is_not_written() -> None:
    with pytest.raises(MessageError) as caught:
        encode_response(1, 10**5000)
    assert caught.value.reason is Reason.NOT_ENCODABLE


def test_a_value_that_json_has_no_word_for_is_a_bug() -> None:
    with pytest.raises(TypeError):
        encode_response(1, object())


# -- secrets ------------------------------------------------------------------------


def test_messages_do_not_show_params_and_results() -> None:
    for message in (
        Notification("m", {"ticket": "secret"}),
        Request("m", {"ticket": "secret"}, 1),
        Response(1, {"ticket": "secret"}),
    ):
        assert "secret" not in repr(message)
    assert {Notification, Request, Response} == set(get_args(Message))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"method":"m","params":{"ticket":"secret"}',
        b'{"method":"m","params":{"ticket":"secret\xff"}',
        b'{"method":"m","params":{"ticket":"secret\\ud800"}}',
        b'{"method":"m","params":{"ticket":"secret","n":1e999}}',
        b'{"method":5,"params":{"ticket":"secret"}}',
        b'["secret"]',
        b'{"secret"}',
    ],
)
def test_errors_of_decoding_hold_no_trace_of_the_payload(payload: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        decode(payload)
    error = caught.value
    assert "secret" not in "".join(traceback.format_exception(error))
    assert error.__cause__ is None
    assert error.__context__ is None


def test_errors_of_encoding_hold_no_trace_of_the_value() -> None:
    with pytest.raises(MessageError) as caught:
        encode_response(1, deep(10_000, "secret\ud800"))
    assert caught.value.__context__ is None


# -- any message, any bytes ---------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
numbers = (
    st.integers()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4)
    ),
    max_leaves=20,
)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    method=texts,
    params=values,
    ts=st.none() | finite,
    zone=st.none() | texts.filter(bool),
)
def test_notifications_written_are_read_again(
    method: str, params: object, ts: float | None, zone: str | None
) -> None:
    payload = encode_notification(method, params, ts=ts, origin_zone=zone)
    assert decode(payload) == Notification(method, params, ts, zone)


@given(method=texts, params=values, ident=values)
def test_requests_written_are_read_again(
    method: str, params: object, ident: Any
) -> None:
    assert decode(encode_request(method, params, ident)) == Request(
        method, params, ident
    )


@given(ident=values, result=values, error=texts)
def test_responses_written_are_read_again(ident: Any, result: Any, error: str) -> None:
    assert decode(encode_response(ident, result)) == Response(ident, result)
    assert decode(encode_error(ident, error)) == Response(ident, None, error)
    assert decode(encode_empty_response(ident)) == Response(ident, None)


@given(value=st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_text_can_be_written_and_read_again(value: Any) -> None:
    try:
        payload = encode_notification("m", {"value": value})
    except MessageError as error:
        assert error.reason is Reason.JSON_TOO_DEEP  # noqa: PT017 (may not be raised)
    else:
        payload.decode()
        assert isinstance(decode(payload), Notification)


pieces = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"\xff", b"\xc3", b" "),
        *(b'"method"', b'"id"', b'"params"', b'"ts"', b'"error"', b'"m"', b'"\\ud800"'),
        *(
            b"1",
            b"1e999",
            b"-",
            b"9" * 5000,
            b"null",
            b"true",
            b"\xef\xbb\xbf",
            b"\x00",
        ),
    ]
)
json_like = st.lists(pieces, max_size=30).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good message with a few bytes overwritten, inserted or taken out."""
    payload = bytearray(draw(st.sampled_from(sorted(GOOD))))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(payload)))
        length = draw(st.integers(0, 2))
        payload[start : start + length] = draw(st.binary(max_size=2))
    return bytes(payload)


@given(payload=st.binary() | json_like | damaged())
def test_any_bytes_give_a_message_or_the_declared_error(payload: bytes) -> None:
    try:
        message = decode(payload)
    except WireError as error:
        assert isinstance(error, MessageError)  # noqa: PT017 (may not be raised)
        assert error.size == len(payload)  # noqa: PT017
    else:
        # What was read can be answered.
        if not isinstance(message, Notification):
            answer = decode(encode_response(message.id, None))
            assert answer == Response(message.id, None)
