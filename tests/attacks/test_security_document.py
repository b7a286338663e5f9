"""docs/security.md tells the truth: each test it names exists, each weakness has a row."""

from __future__ import annotations

import re

import pytest
from tests.source_tree import ROOT

DOCUMENT = (ROOT / "docs/security.md").read_text(encoding="utf-8")

# Icinga 2's security history in this path: by identifier, else by pull request.
KNOWN = """
    CVE-2018-6532 CVE-2018-6534 CVE-2018-6535 CVE-2017-16933 CVE-2018-6533 CVE-2018-6536
    #6132 #6134 #6135 #7532 #7809 #7836 #7863 #8094 #8224 #8230 #8479 #9333 #9334 #9337
    #9338 #9933 #9934 #10415 #10929 #10960 #10987 #10988 #10989
    CVE-2020-29663 CVE-2021-32739 CVE-2021-32743 GHSA-cxfm-8j5v-5qr2 CVE-2024-49369
    CVE-2025-48057 CVE-2025-61907 CVE-2025-61908 CVE-2025-61909 CVE-2026-24413
    GHSA-vj39-ww8j-vvx5 GHSA-wh38-wg57-5w7g GHSA-jgqj-x5j9-vgcm GHSA-wm63-p2jg-5665
    GHSA-v265-w3gm-99vg filter-expression
""".split()  # noqa: SIM905 - read as a list of words


def names_of_tests() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found.update(re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")))
    return found


def test_every_test_it_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert len(named) > 50
    assert named - names_of_tests() == set()


def test_every_attack_is_named_by_it() -> None:
    attacks: set[str] = set()
    for path in (ROOT / "tests/attacks").glob("test_*.py"):
        if path.name != "test_security_document.py":
            text = path.read_text(encoding="utf-8")
            attacks.update(re.findall(r"def (test_\w+)\(", text))
    unnamed = {name for name in attacks if f"`{name}`" not in DOCUMENT}
    # These say what is right, so that the refusals beside them mean something.
    assert unnamed == {
        "test_a_parent_replaces_a_certificate_that_is_waited_for",
        "test_a_signer_takes_no_signature_of_others",
        "test_an_update_does_not_become_a_known_key",
    }


@pytest.mark.parametrize("weakness", KNOWN)
def test_every_known_weakness_has_its_row(weakness: str) -> None:
    assert re.search(re.escape(weakness) + r"\b", DOCUMENT)
