"""A parent's word: results, errors and `pki::UpdateCertificate`, as a liar sends them.

A relay has forwarded one request, and its own certificate is due.  Whatever the parent
says, the requester gets no certificate that does not verify for its name and key, and
nothing else is installed as the relay's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from icefloe.cluster.zones import Relation
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.settings import OwnIdentity
from icefloe.pki.certificates import fingerprint, key_id, load_pem, to_pem
from icefloe.pki.trust import TrustAnchor, verify_issued
from icefloe.wire.catalogue import (
    STATUS_SIGNED,
    CertificateResult,
    UpdateCertificate,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import encode_response
from tests.enrollment import playbook
from tests.enrollment.playbook import Bench
from tests.fuzz import certificate_parts
from tests.fuzz.choices import Choices, part

BYTES_MAX = 6144

RESULT, UPDATE, ERROR = range(3)
FROM_CHILD = 1
OWN_CALL = 2

OWN = playbook.issued_certificate("s1", 90, serial=900, days_left=3)
OWN_RENEWED = playbook.issued_certificate("s1", 90, serial=901)
ISSUED = playbook.issued_certificate()
PARENT = playbook.issued_certificate("m1", 60, serial=60)
CHILD = playbook.issued_certificate("agent", 70, serial=70)


def _input(kind: int, flags: int, certificate: bytes, params: bytes) -> bytes:
    return bytes((kind, flags)) + part(certificate) + params


def _seeds() -> dict[str, bytes]:
    as_der = bytes((certificate_parts.AS_DER,))
    signed = b'{"status_code":0,"cert":true,"ca":"","fingerprint_request":true}'
    found: dict[str, bytes] = {}
    for name, certificate in certificate_parts.seeds().items():
        if len(certificate) < BYTES_MAX - 200:
            found[f"result-{name}"] = _input(RESULT, 0, certificate, signed)
    good = as_der + playbook.der(ISSUED)
    own = as_der + playbook.der(OWN_RENEWED)
    ca = msgspec.json.encode(to_pem(playbook.ca()))
    successor = msgspec.json.encode(to_pem(playbook.renewed_ca()))
    with_ca = b'{"status_code":0,"cert":true,"ca":' + ca + b"}"
    return found | {
        "good": _input(RESULT, 0, good, with_ca),
        "good-update": _input(UPDATE, 0, good, signed),
        "child-update": _input(UPDATE, FROM_CHILD, good, signed),
        "own": _input(RESULT, OWN_CALL, own, with_ca),
        "own-update": _input(UPDATE, 0, own, with_ca),
        "own-update-child": _input(UPDATE, FROM_CHILD, own, with_ca),
        "own-successor": _input(
            UPDATE, 0, own, b'{"cert":true,"ca":' + successor + b"}"
        ),
        "own-odd-ca": _input(UPDATE, 0, own, b'{"cert":true,"ca":"x"}'),
        "pending": _input(RESULT, 0, b"", b'{"status_code":2,"error":"later"}'),
        "refused": _input(RESULT, 0, b"", b'{"status_code":1,"error":"no"}'),
        "refused-facts": _input(
            RESULT,
            0,
            b"",
            b'{"status_code":1,"error":"no","icefloe":{"reason":"wrong-ticket",'
            b'"hop":"m1","retry_after":1e9,"hops":[{"node":"m1","did":"x","at":1}]}}',
        ),
        "odd-status": _input(RESULT, 0, b"", b'{"status_code":77}'),
        "not-an-object": _input(RESULT, 0, b"", b"[]"),
        "error": _input(ERROR, 0, b"", b'"broken\\u0000"'),
        "own-error": _input(ERROR, OWN_CALL, b"", b'"broken"'),
    }


SEEDS = _seeds()


def check(data: bytes) -> None:
    """Let the parent (or a child) speak, then look at every command."""
    choices = Choices(data)
    kind, flags = choices.byte() % 3, choices.byte()
    values = _values(choices.part(), choices.rest())
    bench = playbook.relay(own=OwnIdentity(OWN))
    parent = bench.member("m1", relation=Relation.PARENT, certificate=PARENT)
    child = bench.member("agent", relation=Relation.CHILD, certificate=CHILD)
    asked = bench.ask(child, posting=playbook.request_certificate(), call="c1")
    calls = playbook.own_asks(bench.said) if flags & OWN_CALL else playbook.asks(asked)
    event = _event(kind, values, child if flags & FROM_CHILD else parent, calls)
    if event is None:
        return
    said = bench.tell(event)
    said += bench.pass_time(120.0)
    bench.tell(ev.LinkDown(parent))
    bench.crash()
    _judge(bench, said)
    if flags & FROM_CHILD:
        assert playbook.none_of(cmd.InstallIdentity, said)
        assert all(a.status_code != STATUS_SIGNED for a in playbook.answers(said))


def _values(made: bytes, text: bytes) -> Any:
    try:
        values = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(values, dict):
        if values.get("cert") is True:
            values["cert"] = certificate_parts.build_pem(made)
        if values.get("fingerprint_request") is True:
            request = playbook.request_certificate()
            values["fingerprint_request"] = fingerprint(request)
    return values


def _event(
    kind: int, values: Any, link: ev.LinkId, calls: Sequence[cmd.Ask]
) -> ev.Event | None:
    call = calls[0].call if calls else "x"
    if kind == ERROR:
        return ev.ParentFailed(link, call, str(values))
    try:
        if kind == UPDATE:
            return ev.CertificateUpdated(link, UpdateCertificate.parse(values))
        return ev.ParentAnswered(link, call, CertificateResult.parse(values))
    except MessageError:
        return None


def _judge(bench: Bench, said: Sequence[cmd.Command]) -> None:
    request = playbook.request_certificate()
    for command in said:
        if isinstance(command, cmd.Answer):
            encode_response("c1", command.result)
            result = CertificateResult.parse(command.result)
            if result.status_code == STATUS_SIGNED:
                _verified(bench, result.cert, "agent", key_id(request))
        if isinstance(command, cmd.Push):
            _verified(bench, command.params.cert, "agent", key_id(request))
        if isinstance(command, cmd.InstallIdentity):
            TrustAnchor.from_pem(command.ca)
            _verified(bench, command.certificate, "s1", key_id(OWN))


def _verified(bench: Bench, pem: str, cn: str, key: str) -> None:
    verify_issued(
        load_pem(pem), cn=cn, key_id=key, anchor=playbook.anchor(), at=bench.now.wall
    )
