"""Sees to it that tests against a real icinga2 are run, or their absence is noticed.

A test that talks to a real icinga2 carries the marker `real_peer`.  Where there is no
icinga2 such a test is skipped, with the reason.  That is right on a laptop and wrong in
CI, where a green run without real peers would prove nothing: with
`ICEFLOE_REQUIRE_PEERS=1` a missing peer is a failure, a test that skips itself is one
too, and so is a run in which no such test passed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

MARKER = "real_peer"
REQUIRE_VARIABLE = "ICEFLOE_REQUIRE_PEERS"


def peers_are_required() -> bool:
    """Return whether this run may not do without real peers."""
    return os.environ.get(REQUIRE_VARIABLE, "") not in {"", "0"}


@dataclass(eq=False)  # pluggy keeps plugins in sets
class PeerGate:
    """A pytest plugin: skips or fails `real_peer` tests, and counts what became of them.

    With pytest-xdist the workers run the tests and the controller sees all reports; the
    verdict is the controller's.

    Attributes:
        missing: Why there is no real peer here; None when there is one.
        required: Whether a real peer must be there.
        is_worker: Whether this process is a worker of pytest-xdist.
    """

    missing: str | None
    required: bool
    is_worker: bool = False
    passed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip, or fail, a test whose peer is not there."""
        if self.missing is None or item.get_closest_marker(MARKER) is None:
            return
        if self.required:
            reason = f"{self.missing}; {REQUIRE_VARIABLE} forbids to skip it"
            pytest.fail(reason, pytrace=False)
        pytest.skip(self.missing)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count."""
        if MARKER not in report.keywords:
            return
        if report.skipped:
            self.skipped.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def complaints(self) -> list[str]:
        """Return what is wrong with this run, in sentences; empty when nothing is."""
        if not self.required or self.is_worker:
            return []
        found = [f"{name} was skipped" for name in sorted(self.skipped)]
        if not self.passed:
            found.append(f"no test marked {MARKER} passed")
        return found

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let the run fail when it proved less than it had to."""
        only_collected = session.config.option.collectonly
        if self.complaints() and not only_collected and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Say it, beside the other failures."""
        for complaint in self.complaints():
            terminalreporter.write_line(
                f"FAILED {REQUIRE_VARIABLE}: {complaint}", red=True
            )
        if not self.is_worker and (self.passed or self.skipped):
            terminalreporter.write_line(
                f"against a real icinga2: {len(self.passed)} tests passed, "
                f"{len(self.skipped)} skipped"
            )
