"""`pki::RequestCertificate`: from the params of a stranger to the last word.

The whole way: params, intake, request, ticket, signature, answer; at a signer and at a
relay, on a ledger in memory.  A certificate comes out only for the right ticket, and
only for the name and key of the certificate that was presented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from cryptography import x509

from icefloe.cluster.peer import Peer, Standing
from icefloe.cluster.zones import Relation
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.pki.certificates import common_names, key_id, load_der, load_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.requests import check_request_certificate
from icefloe.pki.trust import verify_issued
from icefloe.wire.catalogue import (
    STATUS_PENDING,
    STATUS_SIGNED,
    CertificateResult,
    RequestCertificate,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Response, decode, encode_response
from tests.enrollment import playbook
from tests.enrollment.playbook import Bench
from tests.fuzz import certificate_parts
from tests.fuzz.choices import Choices, part

BYTES_MAX = 6144

RIGHT_TICKET = "the right ticket"

AT_RELAY, AS_MEMBER, IN_TLS, WITHOUT_ID, TWICE, REAPPROVED = (1 << n for n in range(6))
"""Bits of an input's first byte."""

LONGEST_WAIT = 700.0
"""Seconds: a member is pushed to for ten minutes after it was told "pending"."""

CALLS: tuple[object, ...] = ("c1", None, 0, -1.5, "", [], {"a": [1]}, True)


def _input(flags: int, certificate: bytes, params: bytes, call: int = 0) -> bytes:
    return bytes((flags, call)) + part(certificate) + params


def _seeds() -> dict[str, bytes]:
    certificates = certificate_parts.seeds()
    right = b'{"cert_request":true,"ticket":"the right ticket"}'
    wrong = b'{"cert_request":true,"ticket":"another"}'
    found: dict[str, bytes] = {}
    for name, certificate in certificates.items():
        if len(certificate) < BYTES_MAX - 200:
            found[f"right-{name}"] = _input(0, certificate, right)
    plain = certificates["ours"]
    due = certificates["of-our-ca-due"]
    ca_pem = msgspec.json.encode(playbook.anchor().pem)
    found |= {
        "wrong": _input(TWICE, plain, wrong),
        "none": _input(0, plain, b'{"cert_request":true}', 1),
        "at-relay": _input(AT_RELAY, plain, right),
        "in-tls": _input(IN_TLS, plain, b'{"ticket":"the right ticket"}'),
        "by-member": _input(AS_MEMBER | TWICE, plain, wrong, 4),
        "without-id": _input(AS_MEMBER | WITHOUT_ID, plain, right),
        "renewed": _input(IN_TLS | TWICE, due, b'{"ticket":""}'),
        "renewed-posted": _input(0, due, b'{"cert_request":true}'),
        "renewed-by-member": _input(AS_MEMBER, due, b'{"cert_request":true}'),
        "root": _input(
            0, plain, b'{"cert_request":true,"requestor_ca":' + ca_pem + b"}"
        ),
        "long-ticket": _input(
            0, plain, b'{"cert_request":true,"ticket":"' + b"t" * 1025 + b'"}'
        ),
        "no-certificate": _input(0, b"", b"{}"),
        "not-an-object": _input(0, b"", b"[]"),
        "facts": _input(0, plain, b'{"cert_request":true,"icefloe":{"hops":[1]}}', 6),
    }
    return found


@dataclass(frozen=True, slots=True)
class _Asking:
    flags: int
    params: RequestCertificate
    presented: x509.Certificate | None
    in_tls: x509.Certificate | None
    call: ev.CallId | None


def check(data: bytes) -> None:
    """Ask, have every check and signature done, and look at all that was said."""
    choices = Choices(data)
    flags = choices.byte()
    call = choices.one_of(CALLS)
    made = choices.part()
    asking = _asking(flags, call, made, choices.rest())
    if asking is None:
        return
    bench = playbook.relay() if flags & AT_RELAY else playbook.signer()
    bench.hold_work = True
    link = _connect(bench, asking)
    said: list[cmd.Command] = []
    for _ in range(2 if flags & TWICE else 1):
        said += _settled(
            bench, bench.tell(ev.CertificateAsked(link, asking.call, asking.params))
        )
    # Time ends what waits, and what was stored can be read in another life.
    said += bench.pass_time(LONGEST_WAIT)
    assert asking.call is None or bench.core.waiting == 0
    _judge(bench, asking, said)
    bench.crash()


def _asking(flags: int, call: object, made: bytes, text: bytes) -> _Asking | None:
    try:
        values: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(values, dict) and values.get("cert_request") is True:
        values["cert_request"] = certificate_parts.build_pem(made)
    try:
        params = RequestCertificate.parse(values)
    except MessageError:
        return None
    in_tls = _loaded(certificate_parts.build_pem(made)) if flags & IN_TLS else None
    presented = _loaded(params.cert_request) if params.cert_request else in_tls
    asked = None if flags & WITHOUT_ID else ev.CallId(call)
    return _Asking(flags, params, presented, in_tls, asked)


def _loaded(pem: str) -> x509.Certificate | None:
    try:
        return load_pem(pem)
    except PKIError:
        return None


@cache
def _member_certificate(name: str) -> x509.Certificate:
    return playbook.issued_certificate(name, 70, serial=70)


def _connect(bench: Bench, asking: _Asking) -> ev.LinkId:
    if asking.flags & AS_MEMBER:
        name = "agent" if asking.flags & AT_RELAY else "s1"
        return bench.member(
            name, relation=Relation.CHILD, certificate=_member_certificate(name)
        )
    shown = asking.in_tls
    peer = Peer(
        standing=Standing.ANONYMOUS,
        common_name="x" if shown is not None else None,
        certificate=playbook.der(shown) if shown is not None else None,
        key_id=key_id(shown) if shown is not None else None,
        address="192.0.2.1:1000",
    )
    link = ev.LinkId(77)
    bench.tell(ev.LinkUp(link, peer))
    return link


def _settled(bench: Bench, ordered: Sequence[cmd.Command]) -> list[cmd.Command]:
    """Do every ticket check and signature that was ordered, and what follows."""
    done: list[cmd.Command] = []
    waiting = list(ordered)
    while waiting:
        command = waiting.pop(0)
        done.append(command)
        if isinstance(command, cmd.CheckTicket):
            valid = command.ticket == RIGHT_TICKET
            waiting += bench.tell(ev.TicketChecked(command.attempt_id, valid))
        elif isinstance(command, cmd.Sign):
            waiting += bench.work(command)
        assert len(done) < 100
    return done


def _judge(bench: Bench, asking: _Asking, said: Sequence[cmd.Command]) -> None:
    for command in said:
        if isinstance(command, cmd.Answer):
            assert asking.call is not None
            assert command.call == asking.call
            # It goes out as a message, whatever a certificate's names hold.
            sent = decode(encode_response(asking.call.value, command.result))
            assert isinstance(sent, Response)
            _judge_result(bench, asking, CertificateResult.parse(sent.result))
        if isinstance(command, cmd.Log):
            shown = " ".join(map(str, command.fields.values()))
            assert shown.isprintable()
            assert not _is_secret(asking) or (asking.params.ticket not in shown)


def _is_secret(asking: _Asking) -> bool:
    """Long enough not to stand in a log by accident, and not also the name."""
    ticket, shown = asking.params.ticket, asking.presented
    names = common_names(shown) if shown is not None else ()
    return len(ticket) > 12 and not any(ticket in name for name in names)


def _judge_result(bench: Bench, asking: _Asking, result: CertificateResult) -> None:
    if _is_secret(asking):
        assert asking.params.ticket not in result.error
    if result.status_code == STATUS_PENDING:
        assert asking.presented is not None
    if result.status_code != STATUS_SIGNED:
        assert not result.cert
        assert result.error.isprintable()
        return
    assert not asking.flags & AT_RELAY
    assert asking.presented is not None
    presented = check_request_certificate(asking.presented)
    issued = load_pem(result.cert)
    assert load_der(playbook.der(issued)) == issued
    assert common_names(issued) == (presented.cn,)
    verify_issued(
        issued,
        cn=presented.cn,
        key_id=presented.key_id,
        anchor=playbook.anchor(),
        at=bench.now.wall,
    )
    renewed = playbook.anchor().is_signed(asking.presented, bench.now.wall)
    assert renewed or asking.params.ticket == RIGHT_TICKET


SEEDS = _seeds()
