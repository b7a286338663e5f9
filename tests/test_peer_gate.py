"""The guard over the tests with real peers, held against small suites of its own."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.peer_gate import PeerGate

pytest_plugins = ["pytester"]

SUITE = """
    import pytest

    def test_plain():
        pass

    @pytest.mark.real_peer
    def test_with_peer():
        pass
"""
SKIPS_ITSELF = """
    import pytest

    @pytest.mark.real_peer
    def test_with_peer():
        pass

    @pytest.mark.real_peer
    def test_skips_itself():
        pytest.skip("not today")
"""


def run(
    pytester: pytest.Pytester, suite: str, *, missing: str | None, required: bool
) -> pytest.RunResult:
    """Run a suite in this process under a guard made for it."""
    pytester.makeini("[pytest]\nmarkers = real_peer: talks to icinga2\n")
    pytester.makepyfile(suite)
    gate = PeerGate(missing=missing, required=required)
    return pytester.runpytest_inprocess(
        "-p", "no:cov", "-p", "no:xdist", plugins=[gate]
    )


def test_missing_peer_skips_its_tests_with_the_reason(
    pytester: pytest.Pytester,
) -> None:
    result = run(pytester, SUITE, missing="no icinga2 here", required=False)
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == pytest.ExitCode.OK


def test_missing_peer_fails_the_run_when_required(pytester: pytest.Pytester) -> None:
    result = run(pytester, SUITE, missing="no icinga2 here", required=True)
    result.stdout.fnmatch_lines(["*no icinga2 here*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_present_peer_lets_the_run_pass_and_says_how_many(
    pytester: pytest.Pytester,
) -> None:
    result = run(pytester, SUITE, missing=None, required=True)
    result.stdout.fnmatch_lines(["against a real icinga2: 1 tests passed, 0 skipped"])
    assert result.ret == pytest.ExitCode.OK


def test_test_that_skips_itself_fails_the_run_when_required(
    pytester: pytest.Pytester,
) -> None:
    result = run(pytester, SKIPS_ITSELF, missing=None, required=True)
    result.stdout.fnmatch_lines(["FAILED*test_skips_itself was skipped"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_run_without_any_real_peer_test_fails_when_required(
    pytester: pytest.Pytester,
) -> None:
    result = run(pytester, "def test_plain(): pass", missing=None, required=True)
    result.stdout.fnmatch_lines(["FAILED*no test marked real_peer passed"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.real_peer
def test_installed_icinga2_starts_and_names_its_version() -> None:
    program = shutil.which("icinga2", path=os.environ["PATH"] + ":/usr/sbin")
    assert program is not None
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    assert "version: r2." in version.stdout
