"""What `pki request` and `node setup` say about an enrollment.

A refusal is told with the node that refused, its reason and what to do next; "pending"
with what it waits for.  The parent's own words come first and are never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from icefloe.cli.output import Output
from icefloe.enrollment.reasons import OF_THE_NODE, Reason
from icefloe.enrollment.requester import AskResult, Came, Parent
from icefloe.node.acceptance import tidy
from icefloe.node.client import Asking, Heard, Waiting
from icefloe.node.commands.enrolling import Outcome
from icefloe.pki.certificates import fingerprint, serial_hex

_NAME_CHARACTERS_MAX: Final = 100
_SECONDS_MAX: Final = 1e11

_NEXT_STEPS: Final = {
    Reason.WRONG_TICKET: "Get a ticket for exactly this name on {hop} ('pki ticket "
    "--cn {cn}') and run this command again; the key stays.",
    Reason.DECLINED: "Ask an administrator to restore the request on {hop} ('ca "
    "restore {fingerprint}'), then run this command again.",
    Reason.NO_CERTIFICATE: "Make a key and a certificate with 'pki new-cert' first.",
    Reason.BAD_CERTIFICATE: "Make a new key and certificate with 'pki new-cert', then "
    "run this command again.",
    Reason.BAD_NAME: "Choose another common name.",
    Reason.NO_POSSESSION: "Run this command on the node that has the key.",
    Reason.LIMIT: "Wait a little and run this command again.",
    Reason.SIGNER_FAULT: "Look at the log of {hop}; then run this command again.",
    Reason.LEDGER_FAULT: "Look at the log and the disk of {hop}; then run this command "
    "again.",
    Reason.RESERVED_NAME: "An administrator has to approve it on {hop} ('ca sign "
    "--reserved {fingerprint}').",
}
_NEXT_STEP_ELSE: Final = (
    "Correct what the parent says and run this command again; the key stays."
)

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
            self._tell_unanswered(parent)
            return
        says = result.detail or f"The certificate request for '{self.cn}' is kept."
        name = fingerprint(outcome.identity.certificate)
        self.output.information("!!!!!!")
        self.output.information(f"!!! {says}")
        self.output.information("!!!!!!")
        reason = _fact(result.facts, "reason")
        if reason in OF_THE_NODE:
            hop = _fact(result.facts, "hop") or str(parent)
            self.output.information(f"PENDING. Waits for {hop}, reason: {reason}.")
            step = self._next_step(reason).format(hop=hop)
            self.output.information(f"Next: {step}")
            return
        self.output.information(
            f"PENDING. To approve it, run on the signer: ca sign {name}"
        )
        if result.icefloe:
            return
        check = ": if this stays pending, check the ticket on the signer."
        self.output.information(
            f"{parent} is an Icinga 2 node, which cannot pass a refusal on"
            + (check if self.ticket_given else ".")
        )

    def _tell_unanswered(self, parent: Parent) -> None:
        """Tell that nobody knows whether the request arrived."""
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

    def tell_failure(self, outcome: Outcome) -> None:
        """Tell why there is no certificate, and what to do."""
        result = outcome.ended.outcome
        if result.came is Came.REFUSED:
            self._tell_refusal(outcome)
            return
        if result.came is Came.NOTHING_TO_DO:
            self.output.critical(f"!!! {result.detail}")
            return
        for parent, heard in self._heard.items():
            begin = _FAILURES.get(heard.came, "{parent}").format(parent=parent)
            self.output.critical(f"{begin}: {heard.detail}")
        asks = outcome.ended.asks
        self.output.critical(
            f"No certificate for CN '{self.cn}' after {asks} "
            f"{'attempt' if asks == 1 else 'attempts'}. The key stays: run this "
            "command again."
        )

    def _tell_refusal(self, outcome: Outcome) -> None:
        result, parent = outcome.ended.outcome, outcome.ended.parent
        hop = _fact(result.facts, "hop") or str(parent)
        reason = _fact(result.facts, "reason")
        self.output.critical(f"!!! {result.detail}")
        self.output.critical(
            f"Refused by {hop}" + (f", reason: {reason}." if reason else ".")
        )
        name = fingerprint(outcome.identity.certificate)
        step = self._next_step(reason)
        self.output.critical(
            "Next: " + step.format(hop=hop, cn=self.cn, fingerprint=name)
        )

    def _next_step(self, reason: str) -> str:
        if not reason and self.ticket_given:
            # An Icinga signer has no codes, and hardly another reason.
            return _NEXT_STEPS[Reason.WRONG_TICKET]
        found = (text for code, text in _NEXT_STEPS.items() if code.value == reason)
        return next(found, _NEXT_STEP_ELSE)


def outcome_facts(outcome: Outcome) -> dict[str, object]:
    """Return an outcome for `--json`."""
    result = outcome.ended.outcome
    certificate = outcome.identity.certificate
    return {
        "outcome": result.came.name.lower(),
        "detail": result.detail,
        "parent": str(outcome.ended.parent),
        "asks": outcome.ended.asks,
        "hop": _fact(result.facts, "hop") or None,
        "reason": _fact(result.facts, "reason") or None,
        "hops": result.facts.get("hops", []),
        "common_name": outcome.identity.node_name,
        "fingerprint": fingerprint(certificate),
        "serial": serial_hex(certificate),
        "wrote_ca": outcome.wrote_ca,
        "wrote_certificate": outcome.wrote_certificate,
    }


def _fact(facts: Mapping[str, object], name: str) -> str:
    value = facts.get(name)
    return tidy(value)[:_NAME_CHARACTERS_MAX] if isinstance(value, str) else ""


def _way(facts: Mapping[str, object]) -> str:
    """Word the hops: `sat1 received, forwarded (0.01 s) -> master1 signed (0.05 s)`."""
    hops = facts.get("hops")
    steps: list[str] = []
    start: float | None = None
    for hop in hops if isinstance(hops, list) else []:
        if not isinstance(hop, dict):
            continue
        node, did = _fact(hop, "node"), _fact(hop, "did")
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
