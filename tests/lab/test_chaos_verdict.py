"""The judge of chaos: everything it is there for is found, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.lab.chaos_agents import Applicant
from icefloe.lab.chaos_stage import MARK
from icefloe.lab.chaos_verdict import (
    COMPLAINTS_MAX,
    LedgerFacts,
    agents_complaints,
    first_few,
    ledgers_complaints,
    left_over,
    log_complaints,
)
from icefloe.pki import certificates
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.keys import generate_key
from icefloe.storage.ledger import SQLiteLedger
from tests.lab import world

KEYS = {name: generate_key() for name in ("a1", "a2")}
ISSUED = {name: world.issue(name, key) for name, key in KEYS.items()}
REQUESTS = {"a1": "r1", "a2": "r2"}


def applicant(name: str = "a1", **changed: object) -> Applicant:
    made = Applicant(
        name=name,
        kind="client",
        tries=1,
        certificate=certificates.to_pem(ISSUED[name]),
        ca=world.ca_pem(),
        key_id=certificates.key_id(KEYS[name].public_key()),
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def serial(certificate: x509.Certificate) -> str:
    return certificates.serial_hex(certificate).lower()


def row(name: str, request: str = "", surplus: int = 0) -> tuple[str, str, bytes, int]:
    der = ISSUED[name].public_bytes(Encoding.DER)
    return request or REQUESTS[name], serial(ISSUED[name]), der, surplus


def facts(who: str = "master1", **changed: object) -> LedgerFacts:
    made = LedgerFacts(
        who=who,
        checks=(),
        requests=tuple((r, name, "confirmed") for name, r in REQUESTS.items()),
        certificates=tuple(row(name) for name in ISSUED),
        intents={REQUESTS[name]: serial(ISSUED[name]) for name in ISSUED},
        decided=frozenset(REQUESTS.values()),
        open_attempts=frozenset(),
        tickets_kept=frozenset(),
    )
    return replace(made, **changed)  # type: ignore[arg-type]


BOTH = [applicant("a1"), applicant("a2")]


def judged_agents(*applicants: Applicant) -> list[str]:
    return list(
        agents_complaints(
            applicants,
            trust=TrustAnchor.from_pem(world.ca_pem()),
            at=world.CLOCK.now().wall,
        )
    )


def judged(signer: LedgerFacts | None = None, relay: LedgerFacts | None = None) -> str:
    return "\n".join(
        ledgers_complaints(BOTH, signer=signer or facts(), relay=relay or facts("sat1"))
    )


def test_nothing_is_said_of_a_run_without_a_fault() -> None:
    assert judged_agents(*BOTH) == []
    assert judged() == ""


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"certificate": ""}, "a1: not signed after 1 tries"),
        ({"key_id": "0" * 64}, "another key"),
        ({"certificate": certificates.to_pem(ISSUED["a2"])}, "a2"),
        ({"ca": world.ca_pem(2)}, "a1: was given another CA"),
    ],
)
def test_an_agent_with_the_wrong_thing_in_its_hands_is_found(
    changed: dict[str, object], told: str
) -> None:
    (found,) = judged_agents(applicant("a1", **changed))
    assert told in found


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"checks": ("row 3 missing",)}, "SQLite's check says: row 3 missing"),
        (
            {"requests": (("r1", "a1", "decided"), ("r2", "a2", "issued"))},
            "the request of a1 is left decided",
        ),
        ({"open_attempts": frozenset({"r2"})}, "an attempt of a2 is left open"),
        ({"tickets_kept": frozenset({"a1"})}, "keeps the ticket of a1"),
        (
            {"certificates": (row("a1"), row("a2"), row("a2", "r1"))},
            "a1 has 2 certificates",
        ),
        ({"certificates": (row("a1"), row("a2", surplus=1))}, "is surplus"),
        ({"certificates": (row("a1"),)}, "does not know the certificate of a2"),
        (
            {"requests": (*facts().requests, ("r3", "a1", "issued"))},
            "a1 has 2 requests",
        ),
        (
            {"requests": (*facts().requests, ("r3", "x", "issued"))},
            "knows x, who never asked",
        ),
    ],
)
@pytest.mark.parametrize("who", ["signer", "relay"])
def test_what_must_not_be_in_a_ledger_is_found_in_both(
    changed: dict[str, object], told: str, who: str
) -> None:
    wrong = replace(facts(who), **changed)  # type: ignore[arg-type]
    assert told in judged(**{who: wrong})


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"decided": frozenset({"r1"})}, "a2 has a certificate and no decision"),
        ({"intents": {"r1": serial(ISSUED["a1"])}}, "a2 has a certificate and another"),
        (
            {"intents": {**facts().intents, "r2": "99"}},
            "a2 has a certificate and another intent, or none",
        ),
        ({"certificates": (row("a1"),)}, "a2 has an intent and no certificate"),
    ],
)
def test_orphans_are_found_at_the_signer(changed: dict[str, object], told: str) -> None:
    assert told in judged(signer=replace(facts(), **changed))  # type: ignore[arg-type]


def test_ledgers_that_disagree_are_found() -> None:
    swapped = (row("a1", "r2"), row("a2", "r1"))
    assert "relay and signer disagree about request r1" in judged(
        relay=facts("sat1", certificates=swapped)
    )


def test_a_real_ledger_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with SQLiteLedger.open(path):
        pass
    found = LedgerFacts.read("master1", path)
    assert (found.requests, found.certificates, found.checks) == ((), (), ())
    assert list(found.complaints()) == []


def test_an_internal_error_in_a_log_is_found() -> None:
    events = [
        {"event": "ready"},
        {"event": "batch failed", "exception": "Traceback ...\nValueError: oh\n"},
    ]
    (found,) = log_complaints("sat1", events)
    assert found == "sat1: logged an internal error: batch failed: ValueError: oh"


def test_a_process_that_was_left_is_found_by_its_mark() -> None:
    left = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        env={**os.environ, MARK: "left-by-a-test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert left.stdout is not None
        left.stdout.readline()
        (found,) = left_over("left-by-a-test")
        assert found.startswith(f"{left.pid}: ")
    finally:
        left.communicate()
    assert left_over("left-by-a-test") == []


def test_complaints_are_told_once_and_not_without_end() -> None:
    assert first_few(["a", "b", "a"]) == ["a", "b"]
    many = first_few(str(number) for number in range(COMPLAINTS_MAX + 7))
    assert len(many) == COMPLAINTS_MAX + 1
    assert many[-1] == "and 7 more"
