"""Bugs to plant in the production code: each a change, and what it breaks.

A planted bug stands for a class of mistakes that somebody may make in that place one
day.  The simulator has to find each; a bug it cannot find is a hole in the promises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from icefloe.cluster import rules
from icefloe.enrollment import intake, relay, signer
from icefloe.enrollment.answers import Responder
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.commands import CheckTicket, Drain, Level, Sign
from icefloe.enrollment.confirming import Confirming
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.failures import Failures
from icefloe.enrollment.ledger import LedgerUnavailableError, StoreIntent
from icefloe.enrollment.memory_ledger import MemoryLedger
from icefloe.enrollment.model import AttemptState, DecisionKind, RequestState
from icefloe.enrollment.reception import Reception
from icefloe.enrollment.relay import Relay
from icefloe.enrollment.signer import Signer
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.upstream import Upstream
from icefloe.enrollment.waiters import Waiters
from icefloe.simulation.report import Report
from icefloe.simulation.running import Script, play

Patch = pytest.MonkeyPatch


SEEDS_MAX = 1000
"""Each bug is looked for in the seeds from 0 to this; `docs/simulator.md` says where
each is found, which is far below."""


@dataclass(frozen=True)
class Planted:
    """One bug.

    Attributes:
        name: what goes wrong.
        plant: makes it.
        promises: any of these may be what shows it.
    """

    name: str
    plant: Callable[[Patch], None]
    promises: frozenset[str]


def _do_nothing(*_: Any, **__: Any) -> None:
    pass


def answer_dropped_on_close(patch: Patch) -> None:
    """As in Icinga 2.14.4: "pending" and the end of the connection in one breath."""
    original = Responder._answer

    def close_instead(self: Responder, turn: Turn, link: Any, call: Any, result: Any):
        state = self._links.get(link)
        if state is not None and not state.member and result.status_code == 2:
            turn.order(Drain(link, "answered"))
        else:
            original(self, turn, link, call, result)

    patch.setattr(Responder, "_answer", close_instead)


def sent_although_not_stored(patch: Patch) -> None:
    def release_all(_self: Any, *, results: Any, **_: Any):
        return tuple(command for result in results for command in result.commands)

    patch.setattr(EnrollmentCore, "commit_failed", release_all)


def commit_forgotten(patch: Patch) -> None:
    original = BatchRunner._turns

    def roll_back(self: BatchRunner, *arguments: Any):
        ledger = self._ledger
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ledger, "commit", ledger.rollback)
            return original(self, *arguments)

    patch.setattr(BatchRunner, "_turns", roll_back)


def empty_ticket_replaces_the_stored_one(patch: Patch) -> None:
    patch.setattr(intake, "ticket_digest", lambda _ticket: "")


def refusal_swallowed_by_the_relay(patch: Patch) -> None:
    def swallow(self: Relay, *arguments: Any) -> None:
        attempt = arguments[3]
        self._upstream.end(attempt.attempt_id)

    patch.setattr(Relay, "_refused", swallow)


def refusal_reaches_every_asker(patch: Patch) -> None:
    patch.setattr(
        Waiters,
        "of_attempt",
        lambda self, request_id, _attempt_id: self.of_request(request_id),
    )


def refusal_not_recorded(patch: Patch) -> None:
    original = Turn.settle_attempt

    def skip(self: Turn, attempt: Any, state: Any, **more: Any):
        if state is AttemptState.REFUSED:
            return attempt
        return original(self, attempt, state, **more)

    patch.setattr(Turn, "settle_attempt", skip)


def waiter_never_woken(patch: Patch) -> None:
    patch.setattr(Responder, "give_certificate", _do_nothing)


def hold_forgotten(patch: Patch) -> None:
    patch.setattr(Reception, "_hold", _do_nothing)


def hold_never_ends(patch: Patch) -> None:
    patch.setattr(EnrollmentCore, "_hold_ended", _do_nothing)


def hold_ends_twice(patch: Patch) -> None:
    original = Waiters.expired
    patch.setattr(Waiters, "expired", lambda self, now: original(self, now) * 2)


def intent_not_recorded(patch: Patch) -> None:
    def remember_only(self: Turn, record: Any) -> None:
        self._intents[record.request_id] = record

    patch.setattr(Turn, "store_intent", remember_only)


def decision_not_recorded(patch: Patch) -> None:
    def remember_only(self: Turn, record: Any) -> None:
        self._decisions[record.request_id] = record

    patch.setattr(Turn, "store_decision", remember_only)


def signed_before_the_intent_is_stored(patch: Patch) -> None:
    """The intent comes in a later turn than the order to sign."""
    original = Turn.store_intent

    def late(self: Turn, record: Any) -> None:
        original(self, record)
        self.writes[:] = [w for w in self.writes if not isinstance(w, StoreIntent)]

    patch.setattr(Turn, "store_intent", late)


def signs_on_any_ticket(patch: Patch) -> None:
    original = Signer.ticket_checked

    def believe(self: Signer, turn: Turn, event: Any) -> None:
        original(self, turn, replace(event, valid=True))

    patch.setattr(Signer, "ticket_checked", believe)


def ticket_kept_for_ever(patch: Patch) -> None:
    def keep(self: Turn, attempt: Any, state: Any, *, refusal: Any = None):
        changed = replace(attempt, state=state, refusal=refusal)
        return attempt if changed == attempt else self.store_attempt(changed)

    patch.setattr(Turn, "settle_attempt", keep)


def ticket_logged(patch: Patch) -> None:
    original = Turn.order

    def tell(self: Turn, command: Any) -> None:
        if isinstance(command, CheckTicket):
            self.log(Level.DEBUG, "ticket checked", ticket=command.ticket)
        original(self, command)

    patch.setattr(Turn, "order", tell)


def refusal_repeats_the_ticket(patch: Patch) -> None:
    """Well meant: who typed it wrong is to see it. It goes into the ledger, too."""
    original = Signer._refuse

    def repeat(self: Signer, turn: Turn, request: Any, attempt: Any, refusal: Any):
        text = f"{refusal.text} (It was '{attempt.ticket}'.)"
        original(self, turn, request, attempt, replace(refusal, text=text))

    patch.setattr(Signer, "_refuse", repeat)


def update_accepted_from_a_stranger(patch: Patch) -> None:
    def believe(self: EnrollmentCore, turn: Turn, event: Any) -> None:
        link, params = self._links.get(event.link), event.params
        if link is not None:
            known = self._ledger.attempts_by_fingerprint(params.fingerprint_request)
            link.asked |= {attempt.request_id for attempt in known}
            self._take_by_fingerprint(
                turn, link, params.fingerprint_request, params.cert
            )

    patch.setattr(EnrollmentCore, "_updated", believe)
    patch.setattr(rules, "_may_say", lambda *_, **__: True)


def parent_that_comes_back_is_not_asked(patch: Patch) -> None:
    patch.setattr(Relay, "parent_connected", _do_nothing)


def approval_not_seen(patch: Patch) -> None:
    patch.setattr(EnrollmentCore, "_ledger_changed", _do_nothing)


def errand_forgotten_after_pending(patch: Patch) -> None:
    def forget(_self: Upstream, errand: Any, *_: Any, **__: Any) -> None:
        errand.due = None

    patch.setattr(Upstream, "_rest", forget)


def failed_signature_wedges_the_request(patch: Patch) -> None:
    original = Signer.signing_failed

    def keep_running(self: Signer, turn: Turn, event: Any) -> None:
        original(self, turn, event)
        self._signing.add(event.request_id)

    patch.setattr(Signer, "signing_failed", keep_running)


def failed_commit_wedges_signing(patch: Patch) -> None:
    patch.setattr(Signer, "forget_running", _do_nothing)


def renewal_without_the_old_certificate(patch: Patch) -> None:
    """Each ask of a member is signed anew: the request found is never the same."""
    original = Signer.consider

    def anew(self: Signer, turn: Turn, request: Any, attempt: Any) -> None:
        if request.renews:
            self._decide(turn, request, DecisionKind.RENEWAL, attempt)
            turn.writes[:] = [
                w
                for w in turn.writes
                if getattr(getattr(w, "record", None), "kind", None)
                is not DecisionKind.RENEWAL
            ]
            return
        original(self, turn, request, attempt)

    patch.setattr(Signer, "consider", anew)


def signature_ordered_twice_differently(patch: Patch) -> None:
    original = Turn.order

    def other_bytes(self: Turn, command: Any) -> None:
        if isinstance(command, Sign):
            command = replace(command, tbs=command.tbs[:-1] + b"\0")
        original(self, command)

    patch.setattr(Turn, "order", other_bytes)


def failed_commit_believed(patch: Patch) -> None:
    """A commit that failed, or may have, is taken for kept."""
    original = BatchRunner._turns

    def believe(self: BatchRunner, *arguments: Any):
        ledger = self._ledger

        def commit() -> None:
            try:
                type(ledger).commit(ledger)
            except LedgerUnavailableError:
                ledger.rollback()

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ledger, "commit", commit)
            return original(self, *arguments)

    patch.setattr(BatchRunner, "_turns", believe)


def transaction_kept_in_part(patch: Patch) -> None:
    """A rollback leaves the first write of its transaction behind."""

    def keep_first(self: MemoryLedger) -> None:
        if self._disk.writer is self:
            del self._disk.journal[:1]
            self._disk.undo()
            self._disk.writer = None
        self._failed = False

    patch.setattr(MemoryLedger, "rollback", keep_first)


def liars_certificate_accepted(patch: Patch) -> None:
    patch.setattr(relay, "verify_issued", _do_nothing)


def successes_count_as_failures(patch: Patch) -> None:
    def count(self: Failures, turn: Turn, attempt_id: str, cn: str) -> None:
        under_way = self._under_way.pop(attempt_id, None)
        if under_way is not None and not under_way.in_advance:
            self._take(under_way.asker, cn, turn.now.mono)

    patch.setattr(Failures, "was_right", count)


def failures_are_not_counted(patch: Patch) -> None:
    patch.setattr(Failures, "_take", _do_nothing)


def waiters_forgotten_at_a_reload(patch: Patch) -> None:
    original = EnrollmentCore.reconfigure

    def forget(self: EnrollmentCore, *arguments: Any) -> None:
        original(self, *arguments)
        for link in list(self._links):
            self._waiters.remove_link(link)

    patch.setattr(EnrollmentCore, "reconfigure", forget)


def wrong_ticket_declines_the_request(patch: Patch) -> None:
    original = Signer._wrong_ticket

    def decline(self: Signer, turn: Turn, request: Any, attempt: Any) -> None:
        original(self, turn, request, attempt)
        current = turn.request(request.request_id)
        if current is not None and current.state is RequestState.AWAITING_APPROVAL:
            turn.move(current, RequestState.REMOVED)

    patch.setattr(Signer, "_wrong_ticket", decline)


def ticket_signs_a_reserved_name(patch: Patch) -> None:
    patch.setattr(signer, "gate", _do_nothing)


def ticket_signs_a_revoked_key(patch: Patch) -> None:
    patch.setattr(Signer, "_revoked_gate", _do_nothing)


def up_to_date_certificate_signed_again(patch: Patch) -> None:
    patch.setattr(intake, "up_to_date", lambda *_: False)


def refusal_with_a_ca(patch: Patch) -> None:
    original = Responder._answer

    def add_ca(self: Responder, turn: Turn, link: Any, call: Any, result: Any) -> None:
        if result.status_code == 1:
            result = replace(result, ca=self._ca_pem())
        original(self, turn, link, call, result)

    patch.setattr(Responder, "_answer", add_ca)


def one_stranger_takes_all_waiting(patch: Patch) -> None:
    patch.setattr(Reception, "_admit", _do_nothing)


def serial_of_another_request_given(patch: Patch) -> None:
    """Every certificate of a signer gets the same serial number."""
    patch.setattr(signer, "serial_from", lambda _drawn: 0x1CEF10E << 100)


def new_certificate_never_confirmed(patch: Patch) -> None:
    """The older one stays what a roll-back would put back, for ever."""
    patch.setattr(Confirming, "_confirm", _do_nothing)


def _planted(plant: Callable[[Patch], None], *promises: str) -> Planted:
    return Planted(plant.__name__.replace("_", " "), plant, frozenset(promises))


PLANTED = (
    _planted(answer_dropped_on_close, "no_answer_is_cut_off"),
    _planted(sent_although_not_stored, "durable_before_spoken"),
    _planted(commit_forgotten, "durable_before_spoken"),
    _planted(empty_ticket_replaces_the_stored_one, "a_stored_ticket_stays"),
    _planted(refusal_swallowed_by_the_relay, "no_answer_is_cut_off", "it_finishes"),
    _planted(
        refusal_reaches_every_asker,
        "a_refusal_stays_with_its_attempt",
        "durable_before_spoken",
    ),
    _planted(refusal_not_recorded, "durable_before_spoken"),
    _planted(waiter_never_woken, "no_answer_is_cut_off", "it_finishes"),
    _planted(hold_forgotten, "a_waiting_daemon_is_held"),
    _planted(hold_never_ends, "no_answer_is_cut_off"),
    _planted(hold_ends_twice, "one_call_one_answer"),
    _planted(intent_not_recorded, "no_certificate_without_decision"),
    _planted(decision_not_recorded, "no_certificate_without_decision"),
    _planted(signed_before_the_intent_is_stored, "no_certificate_without_decision"),
    _planted(signs_on_any_ticket, "it_finishes"),
    _planted(ticket_kept_for_ever, "tickets_are_forgotten"),
    _planted(ticket_logged, "secrets_stay_secret"),
    _planted(refusal_repeats_the_ticket, "secrets_stay_secret"),
    _planted(
        update_accepted_from_a_stranger,
        "only_a_parent_changes_an_identity",
        "one_request_one_certificate",
    ),
    _planted(parent_that_comes_back_is_not_asked, "it_finishes"),
    _planted(approval_not_seen, "it_finishes"),
    _planted(errand_forgotten_after_pending, "it_finishes"),
    _planted(failed_signature_wedges_the_request, "it_finishes"),
    _planted(failed_commit_wedges_signing, "it_finishes"),
    _planted(renewal_without_the_old_certificate, "no_certificate_without_decision"),
    _planted(signature_ordered_twice_differently, "no_certificate_without_decision"),
    _planted(failed_commit_believed, "durable_before_spoken"),
    _planted(
        transaction_kept_in_part,
        *("durable_before_spoken", "no_bug_shows", "it_finishes"),
    ),
    _planted(liars_certificate_accepted, "a_certificate_fits"),
    _planted(successes_count_as_failures, "nobody_pays_for_success"),
    _planted(failures_are_not_counted, "a_refusal_has_its_reason"),
    _planted(
        waiters_forgotten_at_a_reload,
        *("no_answer_is_cut_off", "it_finishes", "a_waiting_daemon_is_held"),
    ),
    _planted(wrong_ticket_declines_the_request, "it_finishes"),
    _planted(ticket_signs_a_reserved_name, "reserved_names_need_a_person"),
    _planted(ticket_signs_a_revoked_key, "nobody_gets_what_is_not_due"),
    _planted(
        up_to_date_certificate_signed_again,
        *("nobody_gets_what_is_not_due", "nothing_to_do_is_left_alone", "it_finishes"),
    ),
    _planted(refusal_with_a_ca, "a_refusal_carries_no_ca"),
    _planted(one_stranger_takes_all_waiting, "a_refusal_has_its_reason"),
    _planted(serial_of_another_request_given, "no_bug_shows", "it_finishes"),
    _planted(new_certificate_never_confirmed, "it_finishes"),
)


def found(planted: Planted, *, most: int = SEEDS_MAX) -> Report | None:
    """Return the first history that shows a bug which is planted already."""
    for seed in range(most):
        report = play(Script.drawn(seed), traced=False)
        if planted.promises & {each.promise for each in report.violations}:
            return report
    return None
