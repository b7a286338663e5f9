"""What `node setup` does with its answers, and what it says about it.

One way for every role: the answers are gathered and checked, the set-up is run or (with
`--dry-run`) only looked at, and the end is told in words or as one JSON object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from icefloe.cli.app import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from icefloe.cli.enrollment_words import EnrollmentTeller
from icefloe.cli.invocation import Invocation
from icefloe.cli.key_types import tell_of_ca_key
from icefloe.cli.output import Output
from icefloe.cli.problem_words import THIS_NODE, case_of_error
from icefloe.cli.setting import setting_of
from icefloe.cli.setup_facts import facts_of_agent, facts_of_dry_run, facts_of_master
from icefloe.config.host import fully_qualified_name
from icefloe.config.layout import NodeDirectories
from icefloe.enrollment.problems import fill
from icefloe.enrollment.requester import Came
from icefloe.errors import IcefloeError
from icefloe.node.commands.answer_file import AnswerFile, read_answer_file
from icefloe.node.commands.answers import Answers, gather
from icefloe.node.commands.changes import AgentSetup, Changes, Fate
from icefloe.node.commands.preflight import Check, preflight
from icefloe.node.commands.setting import Setting
from icefloe.node.commands.setup import (
    AgentReport,
    planned_changes,
    set_up_agent,
    set_up_master,
)
from icefloe.node.commands.wanted import Asked, wanted_of
from icefloe.pki.certificates import is_self_signed

__all__ = ["Actions", "run_setup"]

NOTHING_TO_DO: Final = "Nothing to do: this node is as it is asked to be."
"""One of the lines that tools may look for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What is asked for about this one run, and not about the node.

    Attributes:
        file: The file of answers.
        dry_run: Change nothing.
        rotate_key: Get a certificate for a new key.
        verify: Ask the parents also when there is nothing to be changed.
        as_json: Print one JSON object on standard output, and nothing else there.
    """

    file: Path | None
    dry_run: bool
    rotate_key: bool
    verify: bool
    as_json: bool


def run_setup(
    options: Mapping[str, object], actions: Actions, given: Invocation
) -> int:
    """Set a node up.

    Args:
        options: The answers given as options, by the names of the questions.
        actions: What else was asked for.
        given: Where, and with which environment.

    Returns:
        The exit code, Icinga's: 0 also when the request is pending, 1 for a failure.
    """
    output = given.output.for_one_result(alone=actions.as_json)
    ending = _Ending(directories=given.directories)
    with _telling_errors(output, actions, ending):
        setting = setting_of(given, output)
        file = None if actions.file is None else read_answer_file(actions.file)
        asked, answers = _asked(options, actions, given, file)
        ending.node_name = asked.node_name
        _tell_answers(output, answers, file, asked)
        run = _Run(asked, actions, setting, output)
        ending.code = run.dry_run(answers) if actions.dry_run else run.run()
    return ending.code


def _asked(
    options: Mapping[str, object],
    actions: Actions,
    given: Invocation,
    file: AnswerFile | None,
) -> tuple[Asked, Answers]:
    answers, problems = gather(options, given.environment, file)
    asked = wanted_of(
        answers,
        problems,
        default_name=fully_qualified_name,
        rotate_key=actions.rotate_key,
        verify=actions.verify,
    )
    return asked, answers


def _tell_answers(
    output: Output, answers: Answers, file: AnswerFile | None, asked: Asked
) -> None:
    for question, value, source in answers.lines():
        output.debug(f"{question} = {value} (from {source})")
    for warning in (*(() if file is None else file.warnings), *asked.warnings):
        output.warning(warning)


# --- Running --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """One run, when it is known what is asked for."""

    asked: Asked
    actions: Actions
    setting: Setting
    output: Output

    def run(self) -> int:
        """Set the node up."""
        if self.asked.agent is None:
            return self._run_master()
        return self._run_agent(self.asked.agent)

    def dry_run(self, answers: Answers) -> int:
        """Look at everything, and say what a run would do."""
        changes = planned_changes(
            self.asked.wanted, self.setting, rotate_key=self.asked.rotate_key
        )
        checks = tuple(preflight(self.asked.wanted, self.setting))
        fails = any(check.ok is False for check in checks)
        if self.actions.as_json:
            self._result(facts_of_dry_run(changes, checks, at=self._now()))
        else:
            for line in _words_of_dry_run(changes, checks, answers):
                self.output.result(line, newline=False)
        return EXIT_FAILED if fails and not changes.nothing_to_do else EXIT_OK

    def _run_master(self) -> int:
        node = self.asked.master
        assert node is not None
        report = set_up_master(
            node,
            self.setting,
            key_type=self.asked.key_type,
            rotate_key=self.asked.rotate_key,
        )
        if self.actions.as_json:
            self._result(facts_of_master(report, at=self._now()))
        if not report.changed:
            self.output.information(NOTHING_TO_DO)
            return EXIT_OK
        if report.new_ca:
            tell_of_ca_key(self.output, report.ca_key_type)
        self.output.information("Done. Now (re)start the daemon.")
        return EXIT_OK

    def _run_agent(self, wanted: AgentSetup) -> int:
        teller = EnrollmentTeller(
            self.output, wanted.node.node_name, ticket_given=bool(wanted.ticket)
        )
        report = set_up_agent(wanted, self.setting, progress=teller.progress)
        if self.actions.as_json:
            self._result(facts_of_agent(report, at=self._now()))
        _tell_agent(teller, report, self.setting)
        return EXIT_OK if report.configured else EXIT_FAILED

    def _result(self, facts: Mapping[str, object]) -> None:
        self.output.result(msgspec.json.encode(facts).decode())

    def _now(self) -> float:
        return self.setting.clock.now().wall


def _tell_agent(
    teller: EnrollmentTeller, report: AgentReport, setting: Setting
) -> None:
    """Say how it ended and what happens next."""
    output, outcome = teller.output, report.outcome
    if outcome is None:
        _tell_unasked(output, report, setting)
        return
    teller.tell_way(outcome.ended.outcome)
    if not report.configured:
        teller.tell_failure(outcome)
        if not is_self_signed(report.identity.certificate):
            output.critical("The identity that was there is untouched.")
        return
    if outcome.came is Came.NOTHING_TO_DO:
        output.information(f"The certificate of '{teller.cn}' is valid and up to date.")
        if not report.changed:
            output.information(NOTHING_TO_DO)
            return
    elif not outcome.wrote_certificate:
        teller.tell_pending(outcome)
        _tell_what_is_next(output, report, setting)
    output.information("Done. Now (re)start the daemon.")


def _tell_unasked(output: Output, report: AgentReport, setting: Setting) -> None:
    if not report.changed:
        output.information(NOTHING_TO_DO)
        return
    if not is_self_signed(report.identity.certificate):
        output.information(f"{report.changes.identity.detail}.")
        output.information("Done. Now (re)start the daemon.")
        return
    step = "Start the daemon"
    if report.identity.ca_pem is None:
        path = setting.directories.trusted_ca
        step = f"Copy the CA's certificate to '{path}' and start the daemon"
    output.information(
        f"Nobody was asked for a certificate. {step}: it asks the parent that it is "
        "connected with."
    )


def _tell_what_is_next(output: Output, report: AgentReport, setting: Setting) -> None:
    if report.changes.identity.fate is Fate.ROTATED:
        output.information(
            "The present key and certificate stay in place and work on. Run this "
            "command again when the new key is approved: it puts it in place."
        )
        return
    if report.outcome is not None and report.outcome.has_ca:
        output.information(
            "This node is configured. Its daemon goes on asking and installs the "
            "certificate when it comes; nothing else has to be done here."
        )
        return
    path = setting.directories.trusted_ca
    output.warning(
        f"No CA certificate has come yet, and the daemon cannot go on without it: copy "
        f"it to '{path}', or run this command again later."
    )


# --- The dry run ----------------------------------------------------------------------


_MARKS: Final = {True: "ok  ", False: "FAIL", None: "note"}


def _words_of_dry_run(
    changes: Changes, checks: tuple[Check, ...], answers: Answers
) -> Iterator[str]:
    yield "Answers, and where they came from:\n"
    for question, value, source in answers.lines():
        yield f"  {question} = {value}   ({source})\n"
    yield f"\nIdentity: {changes.identity.fate.value}: {changes.identity.detail}.\n"
    yield "\nConfiguration:\n"
    yield changes.diff() or "  no file changes.\n"
    yield "\nChecks:\n"
    for check in checks:
        fix = f"\n        {check.fix}" if check.fix else ""
        yield f"  {_MARKS[check.ok]}  {check.name}: {check.detail}{fix}\n"
    yield "\n"
    if changes.nothing_to_do:
        yield f"{NOTHING_TO_DO}\n"
        return
    yield "This was a dry run: nothing was changed.\n"


# --- Errors ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Ending:
    """How a run ends.

    Attributes:
        directories: The node's.
        node_name: The node's, as soon as it is known.
        code: The exit code.
    """

    directories: NodeDirectories
    node_name: str = ""
    code: int = EXIT_FAILED
    _before: frozenset[tuple[str, int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self._before = _traces(self.directories)

    @property
    def changed(self) -> bool:
        """Whether any of the node's files is another one than at the beginning."""
        return _traces(self.directories) != self._before


def _traces(directories: NodeDirectories) -> frozenset[tuple[str, int, int]]:
    """Return what tells a file from the one that replaced it."""
    paths = [
        directories.constants_conf,
        directories.zones_conf,
        directories.icinga2_conf,
        directories.api_users_conf,
        directories.feature_available("api"),
        directories.feature_enabled("api"),
    ]
    with suppress(OSError):
        paths += [each for each in directories.certs.iterdir() if each.name[0] != "."]
    found = set()
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            found.add((str(path), status.st_ino, status.st_mtime_ns))
    return frozenset(found)


@contextmanager
def _telling_errors(
    output: Output, actions: Actions, ending: _Ending
) -> Iterator[None]:
    """Tell an error in words and, with `--json`, as the one object."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (IcefloeError, OSError, KeyboardInterrupt) as error:
        case = case_of_error(error, cn=ending.node_name)
        step = fill(case.next_step, parent="the parent", hop="the parent")
        case = replace(case, next_step=step)
        output.critical(case.detail)
        output.critical(f"On {THIS_NODE}, problem: {case.problem.code}.")
        output.critical(f"Next: {case.next_step}")
        if actions.as_json:
            facts = {
                **case.facts(),
                "ok": False,
                "changed": ending.changed,
                "node": ending.node_name or None,
                "state": None,
                "certificate": None,
                "files": [],
                "backup": None,
                "dry_run": actions.dry_run,
            }
            output.result(msgspec.json.encode(facts).decode())
        stopped = isinstance(error, KeyboardInterrupt)
        ending.code = EXIT_INTERRUPTED if stopped else EXIT_FAILED
