"""What `pki request` and `node setup` say about an enrollment.

A refusal is told with the node that refused, its reason and what to do next; "pending"
with what it waits for.  The parent's own words come first and are never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from icefloe.cli.output import Output
from icefloe.cli.problem_words import Case, case_of_outcome, case_of_result, fact
from icefloe.enrollment.reasons import NEED_RESERVED, OF_THE_NODE
from icefloe.enrollment.requester import AskResult, Came, Parent
from icefloe.node.client import Asking, Heard, Waiting
from icefloe.node.commands.enrolling import Outcome
from icefloe.pki.certificates import fingerprint, serial_hex

_SECONDS_MAX: Final = 1e11

_FAILURES: Final = {
    Came.CUT_OFF: "No answer from {parent}",
    Came.UNREACHABLE: "Cannot reach {parent}",
    Came.UNTRUSTED: "Not asked",
    Came.INVALID: "The answer of {parent} was not accepted",
}


@dataclass(slots=True)
class EnrollmentTeller:
    """Tells how an enrollment goes, without saying the same thing twice.

    Attributes:
        output: Where to.
        cn: The node's name.
        ticket_given: Whether a ticket goes along.
    """

    output: Output
    cn: str
    ticket_given: bool
    _heard: dict[Parent, AskResult] = field(default_factory=dict, init=False)
    _told: dict[Parent, tuple[Came, str]] = field(default_factory=dict, init=False)

    def progress(self, event: Asking | Heard | Waiting) -> None:
        """Tell one step of it, when it is news.

        What ends it is told by the others.
        """
        match event:
            case Asking(parent, number):
                self._tell_news()
                text = f"Requesting a signed certificate from {parent}."
                if number == 1:
                    self.output.information(text)
                else:
                    self.output.debug(f"{text} (ask {number})")
            case Heard(parent, result):
                self._heard[parent] = result
            case Waiting(seconds):
                self._tell_news()
                self.output.debug(f"Asking again in {seconds:.1f} s.")

    def _tell_news(self) -> None:
        for parent, result in self._heard.items():
            news = (result.came, result.detail)
            if self._told.get(parent) != news:
                self._told[parent] = news
                self.output.information(
                    f"{parent}: {result.came.value}: {result.detail}"
                )

    def tell_way(self, result: AskResult) -> None:
        """Tell which nodes did what, as far as they said."""
        way = _way(result.facts)
        if way:
            self.output.information(f"The way of the request: {way}.")

    def tell_pending(self, outcome: Outcome) -> None:
        """Tell what it waits for."""
        result, parent = outcome.ended.outcome, outcome.ended.parent
        if result.came is Came.CUT_OFF:
            self._tell_unanswered(outcome)
            return
        case = case_of_outcome(outcome)
        says = result.detail or f"The certificate request for '{self.cn}' is kept."
        self.output.information("!!!!!!")
        self.output.information(f"!!! {says}")
        self.output.information("!!!!!!")
        if case.reason in OF_THE_NODE:
            self.output.information(
                f"PENDING. Waits for {case.hop}, reason: {case.reason}."
            )
            self.output.information(f"Next: {case.next_step}")
            return
        name = fingerprint(outcome.identity.certificate)
        reserved = "--reserved " if case.reason in NEED_RESERVED else ""
        self.output.information(
            f"PENDING. To approve it, run on the signer: ca sign {reserved}{name}"
        )
        self.output.information(f"Waits at {case.where}, reason: {case.problem.code}.")
        self.output.information(f"Next: {case.next_step}")
        if result.icefloe:
            return
        check = ": if this stays pending, check the ticket on the signer."
        self.output.information(
            f"{parent} is an Icinga 2 node, which cannot pass a refusal on"
            + (check if self.ticket_given else ".")
        )

    def _tell_unanswered(self, outcome: Outcome) -> None:
        """Tell that nobody knows whether the request arrived."""
        parent = outcome.ended.parent
        self.output.information("!!!!!!")
        self.output.information(
            f"!!! {parent} ended every connection without an answer. It may have the "
            "request, as Icinga 2.14.4 has when it cuts its answer off, or not."
        )
        self.output.information("!!!!!!")
        self.output.information(
            "PENDING, perhaps: this node is configured, and its daemon goes on asking."
            " If it stays so, look at the log of that parent."
        )
        step = case_of_outcome(outcome).next_step
        self.output.information(f"Next: {step}")

    def tell_failure(self, outcome: Outcome) -> None:
        """Tell why there is no certificate, and what to do."""
        result = outcome.ended.outcome
        case = case_of_outcome(outcome)
        if result.came is Came.REFUSED:
            self.output.critical(f"!!! {result.detail}")
            # The code is a reason of its own where the parent gave words alone.
            reason = case.reason or case.problem.code
            self.output.critical(f"Refused by {case.hop}, reason: {reason}.")
            self._tell_next(case)
            return
        if result.came is Came.NOTHING_TO_DO:
            self.output.critical(f"!!! {result.detail}")
            self.output.critical(f"Told by {case.hop}.")
            self._tell_next(case)
            return
        for parent, heard in self._heard.items():
            begin = _FAILURES.get(heard.came, "{parent}").format(parent=parent)
            self.output.critical(f"{begin}: {heard.detail}")
            self._tell_next(case_of_result(heard, parent, cn=self.cn))
        asks = outcome.ended.asks
        self.output.critical(
            f"No certificate for CN '{self.cn}' after {asks} "
            f"{'attempt' if asks == 1 else 'attempts'}. The key stays: run this "
            "command again."
        )

    def _tell_next(self, case: Case) -> None:
        """Tell the next step, when, and where there is more about it."""
        self.output.critical(f"Next: {case.next_step}")
        if case.hop != case.parent:
            self.output.critical(f"{case.parent} was asked.")
        if case.retry_after is not None:
            self.output.critical(f"Not before {case.retry_after:.0f} s from now.")
        code = case.problem.code
        self.output.critical(f"More: icefloe enrollment problems {code}")


def outcome_facts(outcome: Outcome) -> dict[str, object]:
    """Return an outcome for `--json`."""
    result = outcome.ended.outcome
    certificate = outcome.identity.certificate
    return {
        "outcome": result.came.name.lower(),
        **case_of_outcome(outcome).facts(),
        "parent": str(outcome.ended.parent),
        "asks": outcome.ended.asks,
        "hops": result.facts.get("hops", []),
        "common_name": outcome.identity.node_name,
        "fingerprint": fingerprint(certificate),
        "serial": serial_hex(certificate),
        "wrote_ca": outcome.wrote_ca,
        "wrote_certificate": outcome.wrote_certificate,
    }


def _way(facts: Mapping[str, object]) -> str:
    """Word the hops: `sat1 received, forwarded (0.01 s) -> master1 signed (0.05 s)`."""
    hops = facts.get("hops")
    steps: list[str] = []
    start: float | None = None
    for hop in hops if isinstance(hops, list) else []:
        if not isinstance(hop, dict):
            continue
        node, did = fact(hop, "node"), fact(hop, "did")
        at = hop.get("at")
        if not node or not did:
            continue
        after = ""
        # From any node on the way: a number of any size.
        if isinstance(at, int | float) and abs(at) < _SECONDS_MAX:
            start = at if start is None else start
            after = f" ({at - start:.2f} s)"
        steps.append(f"{node} {did}{after}")
    return " -> ".join(steps)
