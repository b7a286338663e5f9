"""Targets find faults: each planted one makes some seed of its target fail."""

from __future__ import annotations

import re
from typing import Any

import pytest

from icefloe.config import loading, printer
from icefloe.config.source import Source
from icefloe.enrollment import relay
from icefloe.pki import certificates, requests, revocation
from icefloe.storage import icinga_requests
from icefloe.wire import jsonrpc, netstring, params
from tests.fuzz import targets
from tests.fuzz.shrinking import failure_of


def nothing(*_given: Any, **_named: Any) -> None:
    """Stand in for a check that is no longer made."""


def the_first(*given: Any) -> Any:
    """Stand in for a check that returns what it has checked."""
    return given[0]


def without_comma(payload: bytes) -> bytes:
    return b"%d:%b" % (len(payload), payload)


ANY_ENDING = re.compile(r"([0-9a-f]{64})(.*)")

PLANTED: list[tuple[str, object, str, Any]] = [
    ("netstrings", netstring, "_require_comma", nothing),
    ("netstrings", netstring, "_length_fault", lambda _header: None),
    ("json_rpc", jsonrpc, "check_nesting", nothing),
    ("json_rpc", jsonrpc, "_finite", the_first),
    ("json_rpc", jsonrpc, "_error_text", lambda _error: None),
    ("catalogue", params, "natural", lambda given, key: given.get(key)),
    ("certificates", certificates, "_decode_every_part", nothing),
    ("certificates", requests, "check_common_name", the_first),
    ("signing_requests", requests, "check_common_name", the_first),
    ("signing_requests", requests, "_name_count_problems", lambda _names: []),
    ("revocation_lists", revocation, "_check_signature", nothing),
    ("asked", requests, "check_common_name", the_first),
    ("answered", relay, "verify_issued", nothing),
    ("session", netstring, "encode", without_comma),
    ("configuration", printer, "print_string", lambda text: f'"{text}"'),
    ("configuration", Source, "_secret_from", nothing),
    ("node_files", loading, "check_common_name", the_first),
    ("stored_requests", icinga_requests, "_NAME", ANY_ENDING),
]


@pytest.mark.parametrize(
    "name, where, what, instead",
    PLANTED,
    ids=[f"{name}-{what}" for name, _, what, _ in PLANTED],
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    where: object,
    what: str,
    instead: Any,
) -> None:
    target = targets.load(name)
    # What was read before the fault was planted must not be remembered.
    certificates._known_pem.cache_clear()
    certificates._known_der.cache_clear()
    monkeypatch.setattr(where, what, instead)
    try:
        failed = [
            n for n, data in target.seeds.items() if failure_of(target.check, data)
        ]
    finally:
        certificates._known_pem.cache_clear()
        certificates._known_der.cache_clear()
    assert failed != []


def test_every_target_has_a_planted_fault() -> None:
    assert {name for name, *_ in PLANTED} == set(targets.NAMES)
