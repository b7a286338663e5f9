"""What the wizard does with the answers: preflight, summary, set-up, what is next.

Until the summary is confirmed nothing is written.  From then on the set-up itself
(`node.commands.setup`) sees to it that the node has its old identity or the new one;
what an interrupt leaves behind is looked up in the files and said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from icefloe.cli.app import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from icefloe.cli.problem_words import Case, case_of_error, case_of_outcome
from icefloe.cli.wizard_asking import Asker, Choice
from icefloe.cli.wizard_endings import (
    Ending,
    agent_lines,
    master_lines,
    tell_agent_next,
    tell_master_next,
)
from icefloe.cli.wizard_interview import Declined, Interview
from icefloe.cli.wizard_progress import Progress
from icefloe.cli.wizard_questions import QUESTIONS
from icefloe.cli.wizard_screen import Screen
from icefloe.config.setup import NodeSetup
from icefloe.enrollment.problems import Code
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.requester import Came
from icefloe.errors import IcefloeError
from icefloe.node.commands.changes import AgentSetup, Changes
from icefloe.node.commands.preflight import preflight
from icefloe.node.commands.setting import Setting
from icefloe.node.commands.setup import (
    AgentReport,
    planned_changes,
    set_up_agent,
    set_up_master,
)
from icefloe.storage.files import FileProblem, read_file_if_there
from icefloe.storage.identity import IdentityFiles
from icefloe.storage.keys import KeyType

__all__ = ["Wizard"]

_WAIT_WITH_TICKET: Final = 60.0
"""A ticket needs nobody's decision: "pending" then means that the answer comes."""

_WAIT_FOR_APPROVAL: Final = 600.0
"""As long as somebody may sit in front of it; the daemon has more patience."""

_CANNOT_GO_ON: Final = frozenset(
    {
        Reason.BAD_NAME.value,
        Code.CONFIGURATION_INVALID,
        Code.DISK_FULL,
        Code.FILE_RIGHTS,
        Code.IDENTITY_BROKEN,
    }
)
"""Problems that the set-up itself would stop at."""

_ROUNDS_MAX: Final = 100


@dataclass(slots=True)
class Wizard:
    """One run.

    Attributes:
        asker: Gets the answers.
        screen: Prints.
        setting: What the set-up works with.
        key_type: For new keys.
    """

    asker: Asker
    screen: Screen
    setting: Setting
    key_type: KeyType
    _before: dict[Path, str] | None = field(default=None, init=False)
    _configured: bool = field(default=False, init=False)

    def run(self) -> int:
        """Ask, check, confirm, set up.

        Returns:
            The exit code: 0 when the node is set up, a pending certificate included.

        Raises:
            IcefloeError: It ends here; nothing was changed.
        """
        try:
            return self._run()
        except KeyboardInterrupt:
            self._tell_interrupted("Interrupted.")
            return EXIT_INTERRUPTED
        except EOFError:
            self._tell_interrupted("The input has ended.")
            return EXIT_FAILED

    def _run(self) -> int:
        screen = self.screen
        screen.text(
            "This sets a node of an Icinga cluster up, step by step. An empty answer "
            "takes what stands in brackets. Nothing is changed before you have seen a "
            "summary; Ctrl-C ends it at any time."
        )
        interview = Interview(self.asker, screen, self.setting, key_type=self.key_type)
        wanted = interview.run()
        self._look_ahead(wanted, interview)
        changes = planned_changes(wanted, self.setting)
        screen.heading("Summary")
        lines = (
            master_lines(wanted)
            if isinstance(wanted, NodeSetup)
            else agent_lines(wanted)
        )
        screen.summary(lines, changes)
        if changes.nothing_to_do:
            screen.heading("Nothing to do")
            screen.text("This node is set up like this, and its certificate is valid.")
            return EXIT_OK
        self._confirm()
        self._before = _snapshot(self._paths(wanted, changes))
        if isinstance(wanted, NodeSetup):
            return self._set_up_master(wanted)
        return self._set_up_agent(wanted, interview)

    # --- Before anything is changed ---

    def _look_ahead(self, wanted: AgentSetup | NodeSetup, interview: Interview) -> None:
        """Show the preflight until it is well, or somebody says to go on."""
        for _ in range(_ROUNDS_MAX):
            self.screen.heading("Preflight (nothing is changed)")
            codes = []
            for check in preflight(wanted, self.setting):
                self.screen.check(check)
                codes += [check.code] if check.ok is False else []
            if not codes:
                return
            cannot = not _CANNOT_GO_ON.isdisjoint(codes)
            if not self.asker.interactive:
                if cannot:
                    break
                return
            self.screen.blank()
            choices = [Choice("a", "look again"), Choice("s", "stop")]
            if not cannot:
                choices.insert(1, Choice("g", "go on all the same"))
            match interview.choice(choices):
                case "g":
                    return
                case "s":
                    break
        raise Declined(
            "The preflight found what has to be mended first. Nothing was changed."
        )

    def _confirm(self) -> None:
        if not self.asker.interactive:
            # protocol: Icinga's wizard has no summary, and its scripts no answer to it.
            return
        question = QUESTIONS["go"]
        self.screen.why(question.why)
        if not self.asker.yes(question):
            raise Declined("Not confirmed. Nothing was changed.")

    # --- A master ---

    def _set_up_master(self, wanted: NodeSetup) -> int:
        self.screen.heading("Setting up")
        with self.screen.waiting("Making keys and certificates ..."):
            report = set_up_master(wanted, self.setting, key_type=self.key_type)
        self._configured = True
        tell_master_next(self.screen, wanted, report, self.setting)
        return EXIT_OK

    # --- An agent or a satellite ---

    def _set_up_agent(self, wanted: AgentSetup, interview: Interview) -> int:
        wait = _WAIT_WITH_TICKET if wanted.ticket else 0.0
        for _ in range(_ROUNDS_MAX):
            self.screen.heading("Setting up")
            report, problem = self._try(replace(wanted, wait=wait))
            if report is not None and self._is_done(report):
                tell_agent_next(self.screen, wanted, Ending.DONE, self.setting)
                return EXIT_OK
            if report is not None and report.outcome is not None:
                problem = case_of_outcome(report.outcome)
            assert problem is not None, "no report without a problem"
            pending = report is not None and report.configured
            self.screen.blank()
            if pending:
                self._tell_pending(problem)
            else:
                self.screen.case(problem)
            choice = self._offer(problem, wanted, pending=pending, interview=interview)
            if choice == "s":
                return self._stop(wanted, pending=pending)
            if choice == "t":
                wanted = replace(wanted, ticket=interview.ticket())
            wait = _WAIT_WITH_TICKET if wanted.ticket else 0.0
            if choice == "w" and pending:
                wait = _WAIT_FOR_APPROVAL
        return self._stop(wanted, pending=self._configured)

    def _try(self, wanted: AgentSetup) -> tuple[AgentReport | None, Case | None]:
        """Set up once; return what came of it, or what went wrong on this machine."""
        name = wanted.node.node_name
        progress = Progress(self.screen, name)
        whom = wanted.parents[0] if wanted.parents else "nobody"
        waiting = f"{whom} is being asked; Ctrl-C stops"
        try:
            with self.screen.waiting(waiting):
                report = set_up_agent(wanted, self.setting, progress=progress.step)
        except IcefloeError as error:
            return None, case_of_error(error, cn=name)
        self._configured = self._configured or report.configured
        if report.outcome is not None:
            progress.end(report.outcome)
        if report.backup:
            text = f"{report.backup}; back with 'icefloe node restore'"
            self.screen.item("backup", text)
        return report, None

    def _is_done(self, report: AgentReport) -> bool:
        if not report.configured:
            return False
        outcome = report.outcome
        return outcome is None or outcome.came in {Came.SIGNED, Came.NOTHING_TO_DO}

    def _tell_pending(self, case: Case) -> None:
        """Say what a configured node without a certificate waits for."""
        self.screen.text(
            "This node is configured; its certificate is not signed yet. Its daemon "
            "goes on asking and installs it when it comes."
        )
        self.screen.item("waits at", case.where)
        self.screen.item("code", case.problem.code)
        self.screen.item("next", case.next_step)

    def _offer(
        self,
        problem: Case,
        wanted: AgentSetup,
        *,
        pending: bool,
        interview: Interview,
    ) -> str:
        """Ask what to do after a request that brought no certificate."""
        if not self.asker.interactive:
            return "s"
        stop = "stop; the daemon goes on" if pending else "stop; the key stays"
        wait = "wait here until somebody approves it" if pending else "ask again"
        choices = [Choice("w", wait), Choice("s", stop)]
        if wanted.parents:
            choices.insert(1, Choice("t", "give a ticket, or another one"))
        self.screen.blank()
        is_ticket = "ticket" in problem.problem.code
        default = "t" if is_ticket else "s" if pending else "w"
        return interview.choice(choices, default=default)

    def _stop(self, wanted: AgentSetup, *, pending: bool) -> int:
        ending = Ending.PENDING if pending else Ending.STOPPED
        tell_agent_next(self.screen, wanted, ending, self.setting)
        return EXIT_OK if pending else EXIT_FAILED

    # --- What an interrupt leaves ---

    def _paths(
        self, wanted: AgentSetup | NodeSetup, changes: Changes
    ) -> Iterable[Path]:
        directories = self.setting.directories
        files = IdentityFiles.of_node(directories.certs, changes.node_name)
        yield from changes.paths
        yield from (files.key, files.certificate, files.ca, directories.ticket)
        if isinstance(wanted, NodeSetup):
            yield from (directories.ca_key, directories.ca_certificate)

    def _tell_interrupted(self, what: str) -> None:
        self.screen.blank()
        if self._before is None:
            self.screen.text(f"{what} Nothing was changed.")
            return
        after = _snapshot(self._before)
        changed = [
            path for path, digest in after.items() if self._before[path] != digest
        ]
        if not changed:
            self.screen.text(f"{what} Nothing was changed.")
            return
        if self._configured:
            self.screen.text(
                f"{what} This node is set up; start its daemon, which goes on asking "
                "for the certificate."
            )
            return
        self.screen.text(
            f"{what} This node is as it was, but for what is below. Run 'icefloe node "
            "wizard' again: it goes on with the same key."
        )
        for path in changed:
            self.screen.item("written", str(path))


def _snapshot(paths: Iterable[Path]) -> dict[Path, str]:
    """Return what files hold now, as digests; "" for one that is not there."""
    found = {}
    for path in paths:
        try:
            content = read_file_if_there(path)
        except FileProblem:
            content = None
        found[path] = "" if content is None else hashlib.sha256(content).hexdigest()
    return found
