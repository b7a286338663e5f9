"""One connection: any bytes, cut anywhere, before, during and after its life."""

from __future__ import annotations

from collections.abc import Sequence

from icefloe.cluster.effects import (
    Abort,
    Deliver,
    Effect,
    Finish,
    Opened,
    Report,
    Transmit,
)
from icefloe.cluster.session import Session
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Relation
from icefloe.wire import netstring
from icefloe.wire.jsonrpc import Message, Request, decode
from icefloe.wire.netstring import NetstringReader, Payload
from tests.cluster.helpers import SETTINGS, at, member, stranger
from tests.fuzz.choices import Choices, pieces

BYTES_MAX = 8192

PEERS = (
    stranger(),
    member(Relation.PARENT),
    member(Relation.CHILD),
    member(Relation.SAME_ZONE),
)
HTTP = b"HTTP/1."

_HELLO = b'{"jsonrpc":"2.0","method":"icinga::Hello","params":{"version":21400}}'
_ASK = (
    b'{"id":"1","jsonrpc":"2.0","method":"pki::RequestCertificate",'
    b'"params":{"ticket":"t"}}'
)


def _stream(*payloads: bytes) -> bytes:
    return b"".join(map(netstring.encode, payloads))


def _seeds() -> dict[str, bytes]:
    streams = {
        "nothing": b"",
        "hello": _stream(_HELLO),
        "ask": _stream(_HELLO, _ASK),
        "ask-odd-id": _stream(_ASK.replace(b'"1"', b'{"a":[1.5,null]}')),
        "ask-null-id": _stream(_ASK.replace(b'"1"', b"null")),
        "ask-twice": _stream(_ASK, _ASK),
        "heartbeat": _stream(_HELLO, b'{"method":"event::Heartbeat","params":{}}'),
        "position": _stream(
            b'{"method":"log::SetLogPosition","params":{"log_position":1.7e9}}'
        ),
        "position-odd": _stream(
            b'{"method":"log::SetLogPosition","params":{"log_position":"x"}}'
        ),
        "relayed": _stream(b'{"method":"event::CheckResult","params":{},"ts":1.7e9}'),
        "future": _stream(b'{"method":"event::CheckResult","params":{},"ts":9e9}'),
        "execute": _stream(
            b'{"method":"event::ExecuteCommand","params":{"command":"dummy",'
            b'"command_type":"check_command","host":"h","source":"u"}}'
        ),
        "update": _stream(b'{"method":"pki::UpdateCertificate","params":{"cert":"c"}}'),
        "unknown": _stream(b'{"id":1,"method":"x::Y","params":{}}'),
        "response": _stream(b'{"id":1,"result":{}}'),
        "not-json": _stream(b"hello"),
        "not-json-twice": _stream(_HELLO, b"hello", _HELLO, b"[]"),
        "deep": _stream(b'{"method":"m","params":' + b"[" * 40 + b"]" * 40 + b"}"),
        "empty-frame": _stream(b""),
        "not-a-frame": _stream(_HELLO) + b"12x",
        "cut": _stream(_HELLO) + b"12:abc",
        "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "tls": b"\x16\x03\x01",
        "blank": b"\n",
    }
    found = {}
    for name, stream in streams.items():
        found[name] = bytes((0, 0, 0)) + stream
        found[f"{name}-in-pieces"] = bytes((3, 0, 2, 1, 7)) + stream
        found[f"{name}-from-member"] = bytes((2, 0, 1, 50)) + stream
        found[f"{name}-after-end"] = bytes((5, 9, 0)) + stream
    return found


SEEDS = _seeds()


def check(data: bytes) -> None:
    """Play one stream whole and in pieces: the peer is told the same."""
    choices = Choices(data)
    kind, waits = choices.byte(), choices.byte()
    cuts = choices.cuts()
    stream = choices.rest()
    whole = _play(kind, waits, stream, ())
    if not waits:
        # Without time between them, pieces are as good as the whole.
        assert _play(kind, 0, stream, cuts) == whole
        return
    _play(kind, waits, stream, cuts)


def _play(
    kind: int, waits: int, stream: bytes, cuts: Sequence[int]
) -> tuple[bytes, list[Message]]:
    """Return what was sent and what was delivered."""
    role = Role.DIALLER if kind & 1 else Role.LISTENER
    peer = PEERS[(kind >> 1) % len(PEERS)]
    session = Session(role=role, peer=peer, settings=SETTINGS, now=at(0))
    effects = session.start(at(0))
    seconds = 0.0
    for piece in pieces(stream, cuts):
        if waits & 1:
            seconds += waits / 8
            effects += session.tick(at(seconds))
        got = session.receive(piece, at(seconds))
        effects += got
        effects += _answered(session, got)
    if waits & 2:
        effects += session.send_notification("a::B", {"text": "c"})
    if waits & 4:
        effects += session.drain("reload", at(seconds))
    if waits & 8:
        effects += session.peer_finished(at(seconds))
    deadline = session.next_deadline
    assert deadline is None or deadline > 0
    effects += session.tick(at(seconds + 3600))
    effects += session.lost("closed")
    session.snapshot()
    _judge(effects)
    sent = b"".join(e.data for e in effects if isinstance(e, Transmit))
    return sent, [e.message for e in effects if isinstance(e, Deliver)]


def _answered(session: Session, effects: Sequence[Effect]) -> list[Effect]:
    """Answer every request, as the layers above do, with the id as it came."""
    answers: list[Effect] = []
    for effect in effects:
        if isinstance(effect, Deliver) and isinstance(effect.message, Request):
            answers += session.send_response({}, call=effect.message.id)
    return answers


def _judge(effects: Sequence[Effect]) -> None:
    assert sum(isinstance(effect, Opened) for effect in effects) <= 1
    assert sum(isinstance(effect, Finish) for effect in effects) <= 1
    assert sum(isinstance(effect, Abort) for effect in effects) <= 1
    reader = NetstringReader(1_048_576)
    for effect in effects:
        if isinstance(effect, Report):
            assert all(str(value).isprintable() for value in effect.fields.values())
        if isinstance(effect, Transmit) and not effect.data.startswith(HTTP):
            for frame in reader.feed(effect.data):
                assert isinstance(frame, Payload)
                decode(frame.data)
    reader.finish()
