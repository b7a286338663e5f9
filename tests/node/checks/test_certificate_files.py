"""Looking at an identity's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.node.cluster import Authority, unsigned

from icefloe.doors import WallTime
from icefloe.node.checks.certificate_check import (
    CertificateKind,
    CertificateThresholds,
    certificate_outcome,
    see_files,
)
from icefloe.node.checks.plugin import Outcome, PluginState, Range
from icefloe.node.doors import RealClock
from icefloe.pki.certificates import to_pem
from icefloe.storage.identity_files import IdentityFiles
from icefloe.storage.keys import encode_private_key, generate_key

CA = Authority()
KEY = generate_key()
THRESHOLDS = CertificateThresholds(
    warning=Range.parse("25:"), critical=Range.parse("7:")
)
US = (os.geteuid(), os.getegid())


@pytest.fixture
def files(tmp_path: Path) -> IdentityFiles:
    certs = tmp_path / "certs"
    certs.mkdir(mode=0o700)
    made = IdentityFiles.of_node(certs, "web1")
    for path, content, mode in (
        (made.key, encode_private_key(KEY), 0o600),
        (made.certificate, to_pem(CA.issue("web1", KEY)).encode(), 0o644),
        (made.ca, CA.pem.encode(), 0o644),
    ):
        path.write_bytes(content)
        path.chmod(mode)
    return made


def look(
    files: IdentityFiles, *, name: str = "web1", owner: tuple[int, int] | None = US
) -> Outcome:
    seen = see_files(files, wanted_name=name, owner=owner)
    now = WallTime(RealClock().now().wall)
    return certificate_outcome(seen, THRESHOLDS, now)


def test_an_identity_that_serves_is_well(files: IdentityFiles) -> None:
    found = look(files)
    assert (found.state, found.kind) == (PluginState.OK, CertificateKind.VALID)
    assert [perf.label for perf in found.perf] == ["days_left", "ca_days_left"]


def test_a_node_stuck_in_its_enrollment_is_told(files: IdentityFiles) -> None:
    files.certificate.write_text(to_pem(unsigned("web1", KEY)))
    assert look(files).kind == CertificateKind.NOT_SIGNED


def test_the_key_of_another_certificate_is_found(files: IdentityFiles) -> None:
    files.key.write_bytes(encode_private_key(generate_key()))
    assert look(files).kind == CertificateKind.WRONG_KEY


@pytest.mark.parametrize(
    "part, kind",
    [
        ("certificate", CertificateKind.MISSING),
        ("ca", CertificateKind.NO_CA),
        ("key", CertificateKind.UNREADABLE),
    ],
)
def test_a_missing_file_is_critical(
    files: IdentityFiles, part: str, kind: CertificateKind
) -> None:
    getattr(files, part).unlink()
    found = look(files)
    assert (found.state, found.kind) == (PluginState.CRITICAL, kind)


@pytest.mark.parametrize("part", ["certificate", "ca", "key"])
def test_a_damaged_file_is_critical(files: IdentityFiles, part: str) -> None:
    getattr(files, part).write_text("-----BEGIN NOTHING-----\n")
    assert look(files).state is PluginState.CRITICAL


@pytest.mark.parametrize(
    "part, mode",
    [("key", 0o640), ("key", 0o604), ("certificate", 0o666), ("ca", 0o664)],
)
def test_rights_that_are_too_wide_are_critical(
    files: IdentityFiles, part: str, mode: int
) -> None:
    getattr(files, part).chmod(mode)
    found = look(files)
    assert (found.state, found.kind) == (PluginState.CRITICAL, CertificateKind.RIGHTS)
    assert f"{mode:04o}" in found.text


def test_another_owner_is_warned_of(files: IdentityFiles) -> None:
    found = look(files, owner=(US[0] + 1, US[1]))
    assert (found.state, found.kind) == (PluginState.WARNING, CertificateKind.OWNER)
    assert look(files, owner=None).state is PluginState.OK


def test_everything_that_is_wrong_is_told_the_worst_first(
    files: IdentityFiles,
) -> None:
    files.key.chmod(0o644)
    found = look(files, name="web2", owner=(US[0] + 1, US[1]))
    assert found.state is PluginState.CRITICAL
    for words in ("others may read the key", "not for 'web2'", "belongs to uid"):
        assert words in found.text
    assert found.text.index("others may") < found.text.index("belongs to uid")
