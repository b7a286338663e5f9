"""The frame reader: every rule of the framing, however the bytes are cut."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.wire.errors import FramingError, Reason
from icefloe.wire.limits import HEAD_BYTES, NETSTRING_BYTES_MAX, TAIL_BYTES
from icefloe.wire.netstring import Discarded, Frame, NetstringReader, Payload, encode

LIMIT = 20


def read_all(
    reader: NetstringReader, chunks: list[bytes]
) -> tuple[list[Frame], FramingError | None]:
    """Feed all chunks; what came out, and the error that ended it."""
    frames: list[Frame] = []
    for chunk in chunks:
        try:
            frames += reader.feed(chunk)
        except FramingError as error:
            return frames + list(error.frames), error
    return frames, None


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def payloads(*data: bytes) -> list[Frame]:
    return [Payload(item) for item in data]


GOOD = {
    "nothing": (b"", []),
    "zero length": (b"0:,", [b""]),
    "one byte": (b"1:x,", [b"x"]),
    "two frames": (b"2:{},3:abc,", [b"{}", b"abc"]),
    "frame and trailing bytes of the next": (b"2:{},12:ab", [b"{}"]),
    "frame and the next one's length": (b"2:{},12", [b"{}"]),
    "payload that looks like a frame": (b"4:1:x,,", [b"1:x,"]),
    "binary payload": (b"3:\x00\xff,,", [b"\x00\xff,"]),
    "exactly the limit": (b"20:" + b"a" * 20 + b",", [b"a" * 20]),
    "only a zero": (b"0", []),
}

BAD = {
    "colon first": (b":", Reason.LENGTH_MISSING, None),
    "letter first": (b"x", Reason.LENGTH_NOT_DECIMAL, None),
    "blank first": (b" 1:x,", Reason.LENGTH_NOT_DECIMAL, None),
    "newline between frames": (b"\n", Reason.LENGTH_NOT_DECIMAL, None),
    "sign": (b"-1:x,", Reason.LENGTH_NOT_DECIMAL, None),
    "plus": (b"+1:x,", Reason.LENGTH_NOT_DECIMAL, None),
    "hexadecimal": (b"1f:", Reason.LENGTH_NOT_DECIMAL, None),
    "letter after zero": (b"0x1:", Reason.LENGTH_NOT_DECIMAL, None),
    "blank before the colon": (b"1 :x,", Reason.LENGTH_NOT_DECIMAL, None),
    "superscript digit": ("²:".encode(), Reason.LENGTH_NOT_DECIMAL, None),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", Reason.LENGTH_NOT_DECIMAL, None),
    "TLS": (b"\x16\x03\x01\x02\x00", Reason.LENGTH_NOT_DECIMAL, None),
    "two zeros": (b"00:", Reason.LENGTH_LEADING_ZERO, None),
    "leading zero": (b"01:x,", Reason.LENGTH_LEADING_ZERO, None),
    "leading zeros, ten digits": (b"0000000001:x,", Reason.LENGTH_LEADING_ZERO, None),
    "leading zero, then a letter": (b"00x", Reason.LENGTH_LEADING_ZERO, None),
    "ten digits": (b"1000000000:", Reason.LENGTH_TOO_LONG, None),
    "a hundred digits": (b"9" * 100, Reason.LENGTH_TOO_LONG, None),
    "ten digits, then a letter": (b"1234567890x", Reason.LENGTH_TOO_LONG, None),
    "nine digits, then a letter": (b"123456789x", Reason.LENGTH_NOT_DECIMAL, None),
    "limit and one": (b"21:", Reason.PAYLOAD_TOO_LARGE, 21),
    "nine digits over the limit": (b"999999999:", Reason.PAYLOAD_TOO_LARGE, 999999999),
    "no comma": (b"1:xy", Reason.COMMA_MISSING, 1),
    "newline for comma": (b"2:{}\n", Reason.COMMA_MISSING, 2),
    "no comma after nothing": (b"0:0:,", Reason.COMMA_MISSING, 0),
    "payload longer than said": (b"3:abcd,", Reason.COMMA_MISSING, 3),
}


@pytest.mark.parametrize("cut", [lambda data: [data], one_by_one], ids=["whole", "cut"])
@pytest.mark.parametrize("case", GOOD)
def test_reader_given_good_bytes_yields_their_frames(
    case: str, cut: Callable[[bytes], list[bytes]]
) -> None:
    data, expected = GOOD[case]
    assert read_all(NetstringReader(LIMIT), cut(data)) == (payloads(*expected), None)


@pytest.mark.parametrize("after", [b"", b"2:{},0:,"], ids=["first", "third"])
@pytest.mark.parametrize("cut", [lambda data: [data], one_by_one], ids=["whole", "cut"])
@pytest.mark.parametrize("case", BAD)
def test_reader_given_bad_bytes_names_the_reason_and_keeps_earlier_frames(
    case: str, cut: Callable[[bytes], list[bytes]], after: bytes
) -> None:
    data, reason, size = BAD[case]
    frames, error = read_all(NetstringReader(LIMIT), cut(after + data))
    assert frames == (payloads(b"{}", b"") if after else [])
    assert error is not None
    assert (error.reason, error.size) == (reason, size)


@pytest.mark.parametrize("data", [b"2:{},3:abc,0:,12:hello, world,", b"0:,0:,1:x,"])
def test_reader_yields_the_same_frames_for_every_place_of_two_cuts(data: bytes) -> None:
    expected = NetstringReader(LIMIT).feed(data)
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            chunks = [data[:first], data[first:second], data[second:]]
            assert read_all(NetstringReader(LIMIT), chunks) == (expected, None)


def test_reader_after_an_error_stays_failed_without_repeating_frames() -> None:
    reader = NetstringReader(LIMIT)
    with pytest.raises(FramingError) as first:
        reader.feed(b"1:x,21:")
    with pytest.raises(FramingError) as second:
        reader.feed(b"1:x,")
    assert first.value.frames == (Payload(b"x"),)
    assert second.value.frames == ()
    assert second.value.reason is first.value.reason
    assert second.value.size == first.value.size == 21
    assert reader.bytes_held == 0


@pytest.mark.parametrize(
    "data, size", [(b"1", None), (b"3:", 3), (b"3:ab", 3), (b"3:abc", 3)]
)
def test_reader_when_the_stream_ends_inside_a_frame_says_so(
    data: bytes, size: int
) -> None:
    reader = NetstringReader(LIMIT)
    reader.feed(data)
    with pytest.raises(FramingError) as caught:
        reader.finish()
    assert (caught.value.reason, caught.value.size) == (Reason.TRUNCATED, size)


@pytest.mark.parametrize("data", [b"", b"0:,", b"1:x,2:{},"])
def test_reader_when_the_stream_ends_between_frames_is_content(data: bytes) -> None:
    reader = NetstringReader(LIMIT)
    reader.feed(data)
    reader.finish()


def test_reader_holds_what_has_arrived_and_no_more() -> None:
    reader = NetstringReader(NETSTRING_BYTES_MAX)
    tracemalloc.start()
    try:
        reader.feed(b"900000000:")
        assert reader.bytes_held == 0
        reader.feed(b"x" * 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reader.bytes_held == 1000
    assert peak < 100_000


def test_reader_frees_the_buffer_of_a_large_frame_once_it_is_complete() -> None:
    reader = NetstringReader(1_000_000)
    frame = encode(b"x" * 1_000_000)
    reader.feed(frame[:-1])
    assert reader.bytes_held == 1_000_000
    assert len(reader.feed(frame[-1:])) == 1
    assert reader.bytes_held == 0


def test_reader_refuses_negative_sizes() -> None:
    with pytest.raises(ValueError, match="negative"):
        NetstringReader(-1)
    with pytest.raises(ValueError, match="negative"):
        NetstringReader(1, discard_above=-1)


# -- discarding ---------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 511, 4096, 100_000])
@pytest.mark.parametrize("size", [11, 511, 512, 513, 4095, 4096, 4097, 4608, 20_000])
def test_unwanted_large_frame_is_reported_by_its_ends(size: int, step: int) -> None:
    body = bytes(i % 251 for i in range(size))
    shown: list[bytes] = []

    def decline(head: bytes) -> bool:
        shown.append(head)
        return False

    reader = NetstringReader(100_000, discard_above=10, should_keep=decline)
    data = b"1:a," + encode(body) + b"1:b,"
    chunks = [data[i : i + step] for i in range(0, len(data), step)]
    frames, error = read_all(reader, chunks)
    assert error is None
    expected = Discarded(size=size, head=body[:HEAD_BYTES], tail=body[-TAIL_BYTES:])
    assert frames == [Payload(b"a"), expected, Payload(b"b")]
    assert shown == [body[:HEAD_BYTES]]


@pytest.mark.parametrize("step", [1, 100_000])
def test_wanted_large_frame_is_kept(step: int) -> None:
    body = b"wanted" * 2000
    reader = NetstringReader(
        100_000, discard_above=10, should_keep=lambda head: head.startswith(b"wanted")
    )
    data = encode(body) + encode(b"unwanted" * 2000)
    chunks = [data[i : i + step] for i in range(0, len(data), step)]
    frames, error = read_all(reader, chunks)
    assert error is None
    assert frames[0] == Payload(body)
    assert isinstance(frames[1], Discarded)


def test_frame_of_exactly_the_discarding_size_is_kept_unseen() -> None:
    def fail(_head: bytes) -> bool:
        raise AssertionError

    reader = NetstringReader(100, discard_above=5, should_keep=fail)
    assert reader.feed(b"5:12345,") == [Payload(b"12345")]


def test_reader_without_should_keep_discards_every_large_frame() -> None:
    reader = NetstringReader(100, discard_above=5)
    expected = Discarded(size=6, head=b"123456", tail=b"123456")
    assert reader.feed(b"6:123456,5:12345,") == [expected, Payload(b"12345")]


def test_frame_above_the_kept_size_is_discarded_though_wanted() -> None:
    reader = NetstringReader(
        100, discard_above=5, should_keep=lambda _head: True, kept_bytes_max=7
    )
    frames = reader.feed(b"7:1234567,8:12345678,")
    assert frames[0] == Payload(b"1234567")
    assert frames[1] == Discarded(size=8, head=b"12345678", tail=b"12345678")


def test_discarded_frame_without_comma_is_an_error() -> None:
    reader = NetstringReader(100, discard_above=0)
    with pytest.raises(FramingError) as caught:
        reader.feed(b"3:abc;")
    assert caught.value.reason is Reason.COMMA_MISSING


def test_limit_comes_before_discarding() -> None:
    with pytest.raises(FramingError) as caught:
        NetstringReader(100, discard_above=5).feed(b"101:")
    assert caught.value.reason is Reason.PAYLOAD_TOO_LARGE


def test_discarding_holds_only_head_and_tail() -> None:
    reader = NetstringReader(NETSTRING_BYTES_MAX, discard_above=1000)
    chunk = b"x" * 65_536
    reader.feed(b"%d:" % (len(chunk) * 100))
    tracemalloc.start()
    try:
        for _ in range(100):
            reader.feed(chunk)
            assert reader.bytes_held <= HEAD_BYTES + TAIL_BYTES
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(chunk)
    assert len(reader.feed(b",")) == 1


# -- encoding and secrets -----------------------------------------------------------


@pytest.mark.parametrize(
    "payload, frame", [(b"", b"0:,"), (b"{}", b"2:{},"), (b"a,:", b"3:a,:,")]
)
def test_encode_writes_length_payload_and_comma(payload: bytes, frame: Any) -> None:
    assert encode(payload) == frame


def test_encode_refuses_what_nine_digits_cannot_announce() -> None:
    class Huge(bytes):
        __slots__ = ()

        def __len__(self) -> int:
            return NETSTRING_BYTES_MAX + 1

    with pytest.raises(FramingError) as caught:
        encode(Huge())
    assert caught.value.reason is Reason.PAYLOAD_TOO_LARGE
    assert caught.value.size == NETSTRING_BYTES_MAX + 1


def test_frames_do_not_show_their_bytes() -> None:
    discarded = Discarded(size=6, head=b"secret", tail=b"secret")
    assert "secret" not in repr(Payload(b"secret"))
    assert "secret" not in repr(discarded)
    assert "6" in repr(discarded)


# -- any bytes ----------------------------------------------------------------------


@st.composite
def cut_bytes(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> list[bytes]:
    """The same bytes, cut at drawn places."""
    whole = draw(data)
    places = draw(st.lists(st.integers(0, len(whole)), max_size=8).map(sorted))
    edges = [0, *places, len(whole)]
    return [whole[a:b] for a, b in pairwise(edges)]


streams = st.lists(st.binary(max_size=30), max_size=8).map(
    lambda bodies: b"".join(map(encode, bodies))
)
noise = st.lists(
    st.sampled_from([b"0", b"1", b"9", b":", b",", b"x", b"1:a,", b"\xff"]), max_size=30
).map(b"".join)


@given(bodies=st.lists(st.binary(max_size=50)), data=st.data())
def test_frames_written_are_read_again_however_they_are_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, bodies))
    chunks = data.draw(cut_bytes(st.just(stream)))
    reader = NetstringReader(50)
    assert read_all(reader, chunks) == (payloads(*bodies), None)
    reader.finish()


@given(chunks=cut_bytes(st.binary() | streams | noise), above=st.integers(0, 40))
def test_any_bytes_give_the_same_outcome_whole_and_cut(
    chunks: list[bytes], above: int
) -> None:
    def reader() -> NetstringReader:
        return NetstringReader(
            40, discard_above=above, should_keep=lambda head: head[0] % 2 == 0
        )

    whole, whole_error = read_all(reader(), [b"".join(chunks)])
    cut, cut_error = read_all(reader(), chunks)
    assert whole == cut
    assert (whole_error is None) == (cut_error is None)
    if whole_error and cut_error:
        assert whole_error.reason == cut_error.reason
        assert whole_error.size == cut_error.size
