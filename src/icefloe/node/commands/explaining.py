"""What a node knows about the requests for one name, and what they wait for.

For `icefloe enrollment explain CN`, on any node on the way: the signer, a relay, an
agent, or a gateway's data directory.  The ledger is read beside a running daemon and
nothing is changed.  Tickets are not read out, only whether there was one.

A ledger knows who brought a request and what was done with it, here and, as far as they
told, by the nodes above.  It does not keep which parent was asked last, so all parents
of the configuration are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from icefloe.config.layout import NodeDirectories
from icefloe.config.loading import load, load_constants
from icefloe.enrollment.ledger import Ledger
from icefloe.enrollment.model import (
    SETTLED_STATES,
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    DecisionRecord,
    HopRecord,
    Origin,
    RequestRecord,
    RequestState,
)
from icefloe.enrollment.problems import (
    PROBLEMS,
    Code,
    Problem,
    fill,
    problem_of,
)
from icefloe.enrollment.reasons import Reason, reason_in_note
from icefloe.enrollment.requester import Came
from icefloe.errors import IcefloeError
from icefloe.node.gateway.home import GatewayHome
from icefloe.storage.authority import has_authority
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.lock import LockError, is_held

__all__ = [
    "HOW_IT_CAME",
    "Explained",
    "Explanation",
    "Here",
    "NextCommand",
    "explain",
    "facts_of",
    "where_we_are",
]

SHOWN_DIGITS: Final = 16
"""Of a fingerprint: eight are enough for `ca sign`, sixteen are surely one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """The node whose ledger is read.

    Attributes:
        node_name: Its name; "" when its configuration does not tell.
        role: "signer", "relay", "agent" or "gateway".
        parents: Names of its parents' endpoints, or a gateway's upstreams.
        daemon_runs: Whether a daemon runs on it; None when that cannot be seen.
    """

    node_name: str
    role: str
    parents: tuple[str, ...]
    daemon_runs: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCommand:
    """What to run next, and on which node.

    Attributes:
        node: The node's name.
        command: The whole command.
    """

    node: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One request, explained.

    Attributes:
        request: As the ledger has it.
        attempts: The earliest asked first.  They hold secrets: show none of it whole.
        hops: What nodes did with it, in order.
        decision: Who decided; None while nobody has.
        certificate: What was issued; None without.
        problem: What it waits for, or how it ended.
        hop: The node that this is about.
        next_step: What to do.
        commands: What to run, in this order.
    """

    request: RequestRecord
    attempts: Sequence[AttemptRecord] = field(repr=False)
    hops: Sequence[HopRecord]
    decision: DecisionRecord | None
    certificate: CertificateRecord | None
    problem: Problem
    hop: str
    next_step: str
    commands: tuple[NextCommand, ...]

    @property
    def fingerprint(self) -> str:
        """Names the request: that of the certificate presented last."""
        return self.attempts[-1].fingerprint if self.attempts else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that this node knows about a name.

    Attributes:
        cn: The name.
        here: Whose knowledge it is.
        requests: The oldest first; empty when none ever came here.
        is_own: The name is this node's own.
    """

    cn: str
    here: Here
    requests: tuple[Explained, ...]
    is_own: bool


def explain(directories: NodeDirectories, cn: str) -> Explanation:
    """Read what a node's ledger has about a name.

    Args:
        directories: The node's, or a gateway's.
        cn: The common name.

    Raises:
        LedgerUnavailableError: There is a ledger and it cannot be read.
        IcefloeError: The gateway's directory cannot be read.
    """
    here = where_we_are(directories)
    found: tuple[Explained, ...] = ()
    if directories.ledger.exists():
        with SQLiteLedger.open(directories.ledger, create=False) as ledger:
            found = tuple(
                _explained(ledger, request, here)
                for request in ledger.requests()
                if request.cn == cn
            )
    if found and here.role == "agent":
        here = replace(here, role="relay")  # what others ask here, it hands on
    return Explanation(
        cn=cn, here=here, requests=found, is_own=bool(cn) and cn == here.node_name
    )


def where_we_are(directories: NodeDirectories) -> Here:
    """Say which node these directories are, as far as they tell.

    Raises:
        IcefloeError: It is a gateway's directory and cannot be read.
    """
    runs: bool | None = None
    with suppress(LockError):
        runs = is_held(directories.lock)
    if (directories.own_dir / "gateway.json").exists():
        home = GatewayHome.open(directories.data_dir, name="", machine_name="")
        return Here(
            node_name=home.name,
            role="gateway",
            parents=tuple(home.met),
            daemon_runs=runs,
        )
    name, role, parents = "", "relay", tuple[str, ...]()
    # A ledger can be explained although the configuration is being mended.
    with suppress(IcefloeError):
        name = load_constants(directories.config_dir, directories.data_dir).node_name
    with suppress(IcefloeError):
        tree = load(directories.config_dir, directories.data_dir).zones
        parents = tree.parent_zone.endpoints if tree.parent_zone is not None else ()
        below = {zone.parent for zone in tree.zones.values()}
        role = "relay" if tree.local_zone.name in below else "agent"
    if has_authority(directories):
        role = "signer"
    return Here(node_name=name, role=role, parents=parents, daemon_runs=runs)


def _explained(ledger: Ledger, request: RequestRecord, here: Here) -> Explained:
    attempts = tuple(ledger.attempts(request.request_id))
    problem, hop = _waits_for(request, attempts, here)
    known = {"hop": hop, "parent": hop, "cn": request.cn}
    if attempts:
        known["fingerprint"] = attempts[-1].fingerprint[:SHOWN_DIGITS]
    return Explained(
        request=request,
        attempts=attempts,
        hops=tuple(ledger.hops(request.request_id)),
        decision=ledger.decision(request.request_id),
        certificate=ledger.certificate(request.request_id),
        problem=problem,
        hop=hop,
        next_step=fill(problem.next_step, **known),
        commands=_commands(problem, here, request, known),
    )


# --- What it waits for ----------------------------------------------------------------


def _waits_for(
    request: RequestRecord, attempts: Sequence[AttemptRecord], here: Here
) -> tuple[Problem, str]:
    """Return what a request waits for, or how it ended, and the node it is about."""
    own = here.node_name or "this node"
    state = request.state
    if state in SETTLED_STATES:
        return PROBLEMS[Code.SIGNED], own
    if state is RequestState.REMOVED:
        return PROBLEMS[Reason.DECLINED.value], own
    refused = _refusal_of(attempts)
    if refused is not None:
        return refused
    if state is RequestState.AWAITING_APPROVAL:
        # `ca sign` needs no daemon.
        return PROBLEMS[reason_in_note(request.note).value], own
    if here.daemon_runs is False:
        return PROBLEMS[Code.DAEMON_NOT_RUNNING], own
    if here.role == "signer":
        # It is decided, or its ticket is being compared: the daemon is at it.
        decided = state in {RequestState.DECIDED, RequestState.INTENDED}
        code = Reason.SIGNER_FAULT.value if decided else Code.PENDING
        return PROBLEMS[code], own
    if state is RequestState.FORWARDED:
        above = ", ".join(here.parents) or "the parent"
        return PROBLEMS[Reason.PARENT_PENDING.value], above
    return PROBLEMS[Reason.PARENT_UNREACHABLE.value], own


def _refusal_of(attempts: Sequence[AttemptRecord]) -> tuple[Problem, str] | None:
    """Return the last refusal, when no attempt is still open."""
    if not attempts or any(a.state is not AttemptState.REFUSED for a in attempts):
        return None
    refusal = attempts[-1].refusal
    if refusal is None:
        return None
    return problem_of(Came.REFUSED, refusal.reason), refusal.hop


def _commands(
    problem: Problem, here: Here, request: RequestRecord, known: dict[str, str]
) -> tuple[NextCommand, ...]:
    """Say what to run, and where."""
    own = here.node_name or "this node"
    if request.state in SETTLED_STATES:
        if request.state is RequestState.CONFIRMED:
            return ()
        return (NextCommand(node=request.cn, command="icefloe enrollment status"),)
    if problem.code == Reason.PARENT_PENDING.value:
        command = f"icefloe enrollment explain {request.cn}"
        nodes = here.parents or ("the parent",)
        return tuple(NextCommand(node=node, command=command) for node in nodes)
    commands = []
    for each in problem.commands:
        place, mark, command = each.partition("$ ")
        node = fill(place, **known) if mark else own
        command = fill(command if mark else each, **known)
        if node != own or not command.startswith("icefloe enrollment explain "):
            commands.append(NextCommand(node=node, command=command))
    return tuple(commands)


# --- As plain values ------------------------------------------------------------------


def facts_of(explanation: Explanation) -> dict[str, object]:
    """Return an explanation for `--json`: no ticket, no certificate, no key."""
    here = explanation.here
    return {
        "common_name": explanation.cn,
        "node": here.node_name or None,
        "role": here.role,
        "parents": list(here.parents),
        "daemon_runs": here.daemon_runs,
        "requests": [_request_facts(each) for each in explanation.requests],
    }


def _request_facts(each: Explained) -> dict[str, object]:
    request, decision, certificate = each.request, each.decision, each.certificate
    return {
        "request": request.request_id,
        "fingerprint": each.fingerprint or None,
        "state": request.state.value,
        "note": request.note,
        "renews": request.renews or None,
        "created_at": request.created_at,
        "updated_at": request.updated_at,
        "attempts": [_attempt_facts(attempt) for attempt in each.attempts],
        "hops": [{"node": h.node, "did": h.did, "at": h.at} for h in each.hops],
        "decision": None
        if decision is None
        else {"kind": decision.kind.value, "actor": decision.actor, "at": decision.at},
        "certificate": None
        if certificate is None
        else {
            "serial": certificate.serial,
            "source": certificate.source,
            "at": certificate.at,
        },
        "code": each.problem.code,
        "hop": each.hop,
        "next": each.next_step,
        "commands": [{"node": c.node, "command": c.command} for c in each.commands],
    }


def _attempt_facts(attempt: AttemptRecord) -> dict[str, object]:
    refusal = attempt.refusal
    return {
        "fingerprint": attempt.fingerprint,
        "came": attempt.origin.value,
        "from": attempt.via,
        "asked_at": attempt.asked_at,
        "with_ticket": bool(attempt.ticket_digest),
        "state": attempt.state.value,
        "said": None
        if refusal is None
        else {
            "hop": refusal.hop,
            "reason": refusal.reason,
            "text": refusal.text,
            "retry_after": refusal.retry_after,
        },
    }


HOW_IT_CAME: Final = {
    Origin.DIRECT: "asked here itself, from",
    Origin.RELAYED: "forwarded by",
    Origin.POSTED: "posted by a stranger, from",
}
"""Before `AttemptRecord.via`."""
