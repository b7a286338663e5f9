"""Icinga's own stored requests: read when its node is taken over."""

from __future__ import annotations

import json

import msgspec

from icefloe.doors import WallTime
from icefloe.pki.certificates import fingerprint, load_der, load_pem
from icefloe.pki.errors import PKIError
from icefloe.storage.icinga_requests import (
    IcingaRequestMalformed,
    parse_icinga_request,
)
from tests.fuzz import certificate_parts
from tests.fuzz.choices import Choices, part
from tests.pki import makers

BYTES_MAX = 6144

AT = WallTime(1_700_000_000.0)

AS_JSON, WITH_CERTIFICATE = range(2)
ENDINGS = (".json", ".removed", ".JSON", "")


def _with(certificate: bytes, **keys: object) -> bytes:
    text = msgspec.json.encode({"cert_request": True, **keys})
    return bytes((WITH_CERTIFICATE, 0)) + part(certificate) + text


def _seeds() -> dict[str, bytes]:
    found = {
        name: _with(certificate, ticket="")
        for name, certificate in certificate_parts.seeds().items()
        if len(certificate) < BYTES_MAX - 200
    }
    agent = bytes((certificate_parts.AS_PEM,)) + makers.data("agent1-self-signed.crt")
    signed = makers.data("agent1.crt").decode()
    ca = makers.data("icinga-ca.crt").decode()
    found |= {
        "other-ending": bytes((WITH_CERTIFICATE, 2)) + _with(agent, ticket="x")[2:],
        "answered": _with(agent, ticket=None, cert_response=signed, requestor_ca=ca),
        "answered-badly": _with(agent, cert_response="x"),
        "odd-ticket": _with(agent, ticket=["x"]),
        "more-keys": _with(agent, ticket="x", more={"a": [1]}),
        "removed": bytes((WITH_CERTIFICATE, 1)) + _with(agent, ticket="x")[2:],
        "deep": bytes((AS_JSON, 0)) + b'{"a":' * 3000,
        "array": bytes((AS_JSON, 0)) + b"[]",
        "not-utf-8": bytes((AS_JSON, 0)) + b'{"cert_request":"\xff"}',
        "surrogate": bytes((AS_JSON, 0)) + b'{"cert_request":"\\ud800"}',
    }
    return found


SEEDS = _seeds()


def check(data: bytes) -> None:
    """Understand one file under its right name, or say why not."""
    choices = Choices(data)
    kind, ending = choices.byte() % 2, choices.one_of(ENDINGS)
    content = choices.rest() if kind == AS_JSON else _filled_in(choices)
    name = _name_for(content) + ending
    try:
        request = parse_icinga_request(content, name=name, stored_at=AT)
    except IcingaRequestMalformed as error:
        assert len(str(error)) < 600
        assert str(error).isprintable()
        return
    assert ending in {".json", ".removed"}
    certificate = load_der(request.certificate)
    assert name == fingerprint(certificate) + ending
    assert request.removed == (ending == ".removed")
    if request.answer is not None:
        load_der(request.answer)
    assert len(request.ticket) < 30 or request.ticket not in repr(request)
    _agrees(content, request.ticket)


def _filled_in(choices: Choices) -> bytes:
    """JSON whose `true` stands for the certificate made of the part before."""
    pem = certificate_parts.build_pem(choices.part())
    return choices.rest().replace(b"true", msgspec.json.encode(pem), 1)


def _name_for(content: bytes) -> str:
    try:
        pem = msgspec.json.decode(content, type=dict[str, object]).get("cert_request")
        if isinstance(pem, str):
            return fingerprint(load_pem(pem))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, PKIError):
        pass
    return "0" * 64


def _agrees(content: bytes, ticket: str) -> None:
    """Python's own reader finds the same ticket, if it takes the text at all."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return
    assert (value.get("ticket") or "") == ticket
