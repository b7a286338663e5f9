"""docs/checks.md tells each state as the plugins do."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest
from tests.node.checks import examples
from tests.source_tree import ROOT

from icefloe.cli.check_plugin import CANNOT_CHECK
from icefloe.node.checks.canary_cap import HELD_BACK
from icefloe.node.checks.canary_verdict import CanaryKind
from icefloe.node.checks.certificate_check import CertificateKind
from icefloe.node.checks.plugin import Outcome
from icefloe.node.checks.requests_check import RequestsKind

DOCUMENT = (ROOT / "docs/checks.md").read_text()
DATE = re.compile(r"\d{4}-\d\d-\d\d")
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| ([A-Z, ]+) \| `([^`]+)` \|$", re.MULTILINE)

KINDS: tuple[type[StrEnum], ...] = (CanaryKind, RequestsKind, CertificateKind)
OUTCOMES: dict[str, Outcome] = {
    **{f"ENROLLMENT {kind}": examples.canary(kind) for kind in CanaryKind},
    **{f"REQUESTS {kind}": examples.requests(kind) for kind in RequestsKind},
    **{f"CERTIFICATE {kind}": examples.certificate(kind) for kind in CertificateKind},
}
ROWS = {
    f"{line.split()[0]} {kind}": (state, line)
    for kind, state, line in ROW.findall(DOCUMENT)
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_each_state_has_its_line_in_the_document(name: str) -> None:
    outcome = OUTCOMES[name]
    assert outcome.kind == name.split()[1]
    state, line = ROWS[name]
    said = outcome.line.partition(" | ")[0]
    assert DATE.sub("DATE", line) == DATE.sub("DATE", said)
    assert outcome.state.name in state.split(", ")


def test_what_hinders_a_plugin_is_documented() -> None:
    assert f"`{CANNOT_CHECK}`" in DOCUMENT


def test_the_document_tells_of_no_state_that_is_none() -> None:
    assert ROWS.keys() - OUTCOMES.keys() == {f"ENROLLMENT {HELD_BACK}"}


def test_the_numbers_are_documented() -> None:
    labels = {perf.label for outcome in OUTCOMES.values() for perf in outcome.perf}
    missing = {label for label in labels if f"`{label}`" not in DOCUMENT}
    assert missing == set()
