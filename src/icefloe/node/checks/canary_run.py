"""A canary: a throw-away identity is enrolled, and each step is timed.

The key is made for one run, stays in memory and is gone with the process.  What is
asked, verified and repeated is what `pki request` does (`icefloe.node.client`,
`enrollment.requester`); what it means is `canary_verdict`'s affair.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from icefloe.doors import Clock, Entropy, MonotonicTime
from icefloe.enrollment.problems import Code
from icefloe.enrollment.requester import (
    AskParent,
    AskResult,
    Came,
    Ended,
    Parent,
    Pause,
    Requester,
)
from icefloe.errors import IcefloeError
from icefloe.node.acceptance import Applicant
from icefloe.node.client import (
    FetchFailed,
    Watch,
    ask,
    code_of_failure,
    fetch_certificate,
)
from icefloe.node.errors import TransportError
from icefloe.pki.canaries import CANARY_PREFIX
from icefloe.pki.certificates import fingerprint, is_self_issued, to_pem
from icefloe.pki.names import COMMON_NAME_BYTES_MAX, check_common_name
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.identity import NodeIdentity
from icefloe.storage.keys import encode_private_key, generate_key
from icefloe.storage.newcomer import make_request_certificate

__all__ = [
    "Attempt",
    "CanaryPlan",
    "CanaryProblem",
    "CanaryRun",
    "Steps",
    "anchor_by_fingerprint",
    "canary_name",
    "run_canary",
]

_HOST_CHARACTERS_MAX: Final = 24
_PATH_DIGITS: Final = 8
_ODD: Final = re.compile(r"[^a-z0-9-]+")

_ENDS_IT: Final = frozenset({Came.UNREACHABLE, Came.UNTRUSTED, Came.INVALID})
"""An agent would go on trying; a canary has found out what it was sent for."""


class CanaryProblem(IcefloeError):
    """A canary cannot be sent; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlan:
    """What to enroll, where, and how long it may take.

    Attributes:
        parent: Where to ask.
        cn: The canary's name.
        ticket: For that name.
        anchor: The CA that everything has to be from; or its fingerprint (hex SHA-256
            of the DER, lower case), by which it is taken from what the parent shows.
        pins: Certificates of which the parent has to show one; empty: it has to have
            one of the CA, and one of `names`.
        names: Names that the parent may have; empty allows any member of the CA.
        seconds_max: For the whole run.
    """

    parent: Parent
    cn: str
    ticket: str = field(repr=False)
    anchor: TrustAnchor | str = field(repr=False)
    pins: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    names: frozenset[str] = frozenset()
    seconds_max: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """When one attempt came how far: seconds since the run began; None: it did not.

    Attributes:
        began: it began.
        connected: TCP stood.
        secured: TLS stood.
        asked: the request was sent.
        heard: the answer was there, or the connection's end.
    """

    began: float
    connected: float | None = None
    secured: float | None = None
    asked: float | None = None
    heard: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One connection and what came of it.

    Attributes:
        result: What came.
        steps: When.
        version: The parent's Icinga version as its Hello tells it; 0: unknown.
        gave_up: It came to nothing because our time was over.
    """

    result: AskResult
    steps: Steps
    version: int = 0
    gave_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRun:
    """What happened.

    Attributes:
        cn: The canary's name.
        parent: Where it was asked.
        attempts: One or more, in order.
        seconds: From the first connection to the end.
    """

    cn: str
    parent: Parent
    attempts: tuple[Attempt, ...]
    seconds: float

    @property
    def last(self) -> Attempt:
        """What it ended with: the last attempt that heard something."""
        heard = [each for each in self.attempts if not each.gave_up]
        return heard[-1] if heard else self.attempts[-1]


def canary_name(parent: Parent, host: str) -> str:
    """Return the canary's name for a path: the same at every run.

    So a ticket can be kept for it, and a list of requests shows one name for one path.

    Args:
        parent: Where it goes.
        host: The name of the machine that checks.
    """
    path = f"{host}/{parent.host}/{parent.port}"
    digits = hashlib.sha256(path.encode()).hexdigest()[:_PATH_DIGITS]
    label = _ODD.sub("-", host.lower().partition(".")[0])[:_HOST_CHARACTERS_MAX]
    words = f"{label.strip('-')}-{digits}".strip("-")
    name = f"{CANARY_PREFIX}{words}"
    assert len(name) <= COMMON_NAME_BYTES_MAX, "a label and some digits"
    return check_common_name(name)


async def anchor_by_fingerprint(parent: Parent, digits: str) -> TrustAnchor | None:
    """Fetch what a parent shows in TLS, and take the CA of that fingerprint from it.

    Args:
        parent: Where to look; it is told nothing.
        digits: Hex SHA-256 of the CA certificate's DER, lower case.

    Returns:
        None when it shows no such CA.

    Raises:
        FetchFailed: Nobody is there, or what it shows cannot be read.
    """
    shown = await fetch_certificate(parent.host, parent.port)
    for each in shown.chain:
        if is_self_issued(each) and fingerprint(each) == digits:
            return TrustAnchor.from_pem(to_pem(each))
    return None


async def run_canary(plan: CanaryPlan, *, clock: Clock, entropy: Entropy) -> CanaryRun:
    """Enroll it: ask until it is signed or refused, or the time is over.

    Raises:
        IcefloeError: It cannot be tried, such as for a name that is none.
    """
    loop = asyncio.get_running_loop()
    # Before anything is done: looking for the CA is a part of the run, too.
    began, now = loop.time(), clock.now()
    ends = MonotonicTime(now.mono + plan.seconds_max)
    anchor = plan.anchor
    if isinstance(anchor, str):
        shown = await _shown_anchor(plan, anchor)
        if isinstance(shown, AskResult):
            return _not_sent(plan, shown, seconds=loop.time() - began)
        anchor = shown
    applicant = _applicant(plan, anchor, clock=clock, entropy=entropy)
    attempts: list[Attempt] = []
    requester = Requester(
        [plan.parent],
        now=now,
        wait=plan.seconds_max,
        answer_deadline=plan.seconds_max,
    )
    while True:
        match requester.next_step(clock.now()):
            case Ended():
                break
            case Pause(until):
                await asyncio.sleep(max(0.0, until - clock.now().mono))
            case AskParent(parent, _):
                watch, start = Watch(), loop.time()
                result = await ask(
                    parent,
                    applicant=applicant,
                    # Rounded, for it is told to people; up, or an attempt that our
                    # end cuts short would seem to have failed before it.
                    timeout_s=max(0.1, math.ceil((ends - clock.now().mono) * 10) / 10),
                    clock=clock,
                    entropy=entropy,
                    watch=watch,
                )
                steps = _steps(watch, start=start, end=loop.time(), zero=began)
                attempts.append(
                    Attempt(
                        result=result,
                        steps=steps,
                        version=watch.version,
                        # Cut short by our own end, it has not proved unreachable.
                        gave_up=watch.gave_up
                        or (
                            result.came is Came.UNREACHABLE and clock.now().mono >= ends
                        ),
                    )
                )
                if result.came in _ENDS_IT:
                    break
                requester.report(result, clock.now(), entropy)
    return CanaryRun(
        cn=plan.cn,
        parent=plan.parent,
        attempts=tuple(attempts),
        seconds=loop.time() - began,
    )


async def _shown_anchor(plan: CanaryPlan, digits: str) -> TrustAnchor | AskResult:
    """Return the CA of a fingerprint as the parent shows it; else why there is none."""
    try:
        async with asyncio.timeout(plan.seconds_max):
            shown = await anchor_by_fingerprint(plan.parent, digits)
    except TimeoutError:
        words = f"it showed no certificate in {plan.seconds_max:.0f} s"
        return AskResult(Came.UNREACHABLE, words, code=Code.UNREACHABLE)
    except FetchFailed as error:
        cause = error.__cause__
        code: str = Code.UNREACHABLE
        if isinstance(cause, TransportError):
            code = code_of_failure(cause)
        return AskResult(Came.UNREACHABLE, str(error), code=code)
    if shown is not None:
        return shown
    words = f"{plan.parent} shows no CA certificate with the given fingerprint"
    return AskResult(Came.UNTRUSTED, words, code=Code.TRUST_MISMATCH)


def _not_sent(plan: CanaryPlan, result: AskResult, *, seconds: float) -> CanaryRun:
    """Return a run that ended before anything was asked."""
    attempt = Attempt(result=result, steps=Steps(began=0.0))
    return CanaryRun(
        cn=plan.cn, parent=plan.parent, attempts=(attempt,), seconds=seconds
    )


def _applicant(
    plan: CanaryPlan, anchor: TrustAnchor, *, clock: Clock, entropy: Entropy
) -> Applicant:
    key = generate_key()
    at = clock.now().wall
    certificate = make_request_certificate(plan.cn, key, entropy=entropy, at=at)
    identity = NodeIdentity(
        key_pem=encode_private_key(key),
        certificate=certificate,
        certificate_pem=to_pem(certificate).encode(),
        ca_pem=anchor.pem.encode(),
    )
    return Applicant(
        identity=identity,
        ticket=plan.ticket,
        pins=plan.pins,
        names=plan.names,
        anchor=anchor,
    )


def _steps(watch: Watch, *, start: float, end: float, zero: float) -> Steps:
    def since(at: float | None) -> float | None:
        return None if at is None else max(0.0, at - zero)

    ended = end if watch.asked is not None else None
    return Steps(
        began=max(0.0, start - zero),
        connected=since(watch.connected),
        secured=since(watch.secured),
        asked=since(watch.asked),
        heard=since(watch.heard if watch.heard is not None else ended),
    )
