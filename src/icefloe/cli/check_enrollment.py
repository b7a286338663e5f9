"""`icefloe check enrollment`: a canary through a real path."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from icefloe.cli.check_plugin import (
    PluginJSON,
    VerboseOption,
    finish,
    unknown_for_errors,
)
from icefloe.cli.invocation import Invocation, invocation
from icefloe.cli.setting import become_owner
from icefloe.config.host import fully_qualified_name
from icefloe.enrollment.requester import Parent
from icefloe.node.checks.canary_cap import CanaryMemory
from icefloe.node.checks.canary_run import (
    CanaryPlan,
    CanaryProblem,
    canary_name,
    run_canary,
)
from icefloe.node.checks.canary_verdict import NAME, CanaryThresholds, canary_outcome
from icefloe.node.checks.plugin import Outcome, Range
from icefloe.node.commands.enrolling import (
    TICKET_VARIABLE,
    choose_ticket,
    load_pins,
    parse_parent,
)
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.resolvers import run_with_resolvers
from icefloe.pki.canaries import CANARY_PREFIX
from icefloe.pki.names import check_common_name
from icefloe.pki.tickets import ticket as ticket_of
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import read_file

STATE_DIRECTORY: Final = "icefloe-canary"
"""Below the data directory, which the user of Icinga's checks may write to."""

_SALT_BYTES_MAX: Final = 4096
_DIGITS: Final = 64
_RUN_SECONDS_MIN: Final = 0.1
"""What is left for a run, however long this machine's own name took to find."""

_Via = Annotated[
    str,
    typer.Option(
        "--via",
        metavar="HOST[,PORT]",
        help="The node to enroll through: satellite, master or gateway.",
        show_default=False,
    ),
]
_Name = Annotated[
    str | None,
    typer.Option(
        metavar="SUFFIX",
        help=f"The canary's name is {CANARY_PREFIX}SUFFIX [from this host and --via].",
    ),
]
_ShowName = Annotated[
    bool, typer.Option("--show-name", help="Print the canary's name, and end.")
]
_TicketFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help=f"Holds the ticket for that name; - is standard input "
        f"[else: {TICKET_VARIABLE}].",
    ),
]
_SaltFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Holds the ticket salt instead. It can sign any name: on a master only.",
    ),
]
_CA = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="The cluster's ca.crt [this node's]."),
]
_Fingerprint = Annotated[
    str | None,
    typer.Option(
        metavar="SHA256", help="Its fingerprint instead, when no file is at hand."
    ),
]
_Trusted = Annotated[
    list[Path] | None,
    typer.Option(
        "--trustedcert",
        metavar="FILE",
        help="What --via has to show ('pki save-cert'), for a gateway whose own "
        "certificate nobody signed; repeatable.",
    ),
]
_ParentName = Annotated[
    str | None,
    typer.Option(metavar="CN", help="The name that --via has to have [any member's]."),
]
_Warning = Annotated[
    str, typer.Option("-w", "--warning", metavar="RANGE", help="Seconds until signed.")
]
_Critical = Annotated[
    str, typer.Option("-c", "--critical", metavar="RANGE", help="Seconds until signed.")
]
_Timeout = Annotated[
    float,
    typer.Option(
        "-t",
        "--timeout",
        metavar="SECONDS",
        min=1.0,
        max=600.0,
        help="What is not signed by then is CRITICAL.",
    ),
]
_FirstConnection = Annotated[
    bool,
    typer.Option(
        "--first-connection",
        help="WARNING when the first connection brings no certificate; Icefloe "
        "brings it, no Icinga satellite does.",
    ),
]
_Interval = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.0,
        help="At most one run in so long for this path; else the last result is "
        "given again. 0: no bound.",
    ),
]
_StateDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help=f"Where the last run is remembered [DataDir/{STATE_DIRECTORY}].",
    ),
]


def enrollment(
    ctx: typer.Context,
    *,
    via: _Via,
    name: _Name = None,
    show_name: _ShowName = False,
    ticket_file: _TicketFile = None,
    salt_file: _SaltFile = None,
    ca: _CA = None,
    ca_fingerprint: _Fingerprint = None,
    trustedcert: _Trusted = None,
    parent_name: _ParentName = None,
    warning: _Warning = "10",
    critical: _Critical = "20",
    timeout: _Timeout = 30.0,
    first_connection: _FirstConnection = False,
    interval: _Interval = 300.0,
    state_dir: _StateDir = None,
    verbose: VerboseOption = False,
    as_json: PluginJSON = False,
) -> None:
    """Enroll a throw-away identity through a real path, and time each step.

    Tells apart: signed, slow, first answer cut off (Icinga 2.14.4), refused, parent
    unreachable, the satellite's link to the signer down, wrong CA. The key lives in
    memory only. Icefloe nodes forget the canary after 15 minutes; a real Icinga
    satellite keeps its request file for 7 days (docs/checks.md).
    """
    given = invocation(ctx)
    output = given.output
    clock = RealClock()
    ends = clock.now().mono + timeout
    with unknown_for_errors(NAME, output, as_json=as_json):
        parent = parse_parent(via)
        cn = _name(name, parent, seconds_max=timeout)
        if show_name:
            output.result(cn)
            return
        thresholds = CanaryThresholds(
            warning=Range.parse(warning),
            critical=Range.parse(critical),
            first_connection=first_connection,
        )
        plan = CanaryPlan(
            parent=parent,
            cn=cn,
            ticket=_ticket(cn, ticket_file, salt_file, given),
            anchor=_anchor(ca, ca_fingerprint, given),
            pins=load_pins(trustedcert or ()),
            names=frozenset({parent_name} if parent_name else ()),
            seconds_max=max(_RUN_SECONDS_MIN, ends - clock.now().mono),
        )
        where = state_dir or given.directories.data_dir / STATE_DIRECTORY
        if state_dir is None and interval > 0:
            # All that only root may read is read.  The memory lies in a directory of
            # the daemon user, who has to be able to use it the next time.
            become_owner(given)
        memory = CanaryMemory(where, parent, cn, interval)
        finish(
            _held_back_or_run(plan, thresholds, memory),
            output,
            verbose=verbose,
            as_json=as_json,
        )


def _held_back_or_run(
    plan: CanaryPlan, thresholds: CanaryThresholds, memory: CanaryMemory
) -> Outcome:
    clock = RealClock()
    began = clock.now().wall
    last = memory.begin(began)
    if last is not None:
        return last
    try:
        run = run_with_resolvers(run_canary(plan, clock=clock, entropy=RealEntropy()))
    except BaseException:
        memory.forget()
        raise
    outcome = canary_outcome(run, thresholds)
    memory.end(outcome, began)
    return outcome


def _name(suffix: str | None, parent: Parent, *, seconds_max: float) -> str:
    if suffix is not None:
        return check_common_name(CANARY_PREFIX + suffix.removeprefix(CANARY_PREFIX))
    try:
        host = run_with_resolvers(_own_name(seconds_max))
    except TimeoutError:
        raise CanaryProblem(
            "the resolver did not tell this machine's full name in "
            f"{seconds_max:g} s; give --name"
        ) from None
    return canary_name(parent, host)


async def _own_name(seconds_max: float) -> str:
    async with asyncio.timeout(seconds_max):
        return await asyncio.to_thread(fully_qualified_name)


def _ticket(
    cn: str, ticket_file: Path | None, salt_file: Path | None, given: Invocation
) -> str:
    if ticket_file is not None and salt_file is not None:
        raise CanaryProblem("--ticket-file and --salt-file exclude each other")
    if salt_file is not None:
        content = read_file(salt_file, bytes_max=_SALT_BYTES_MAX)
        salt = content.decode(errors="replace").strip()
        if not salt:
            raise CanaryProblem(f"'{salt_file}' holds no salt")
        return ticket_of(cn, salt)
    variable = given.environment.get(TICKET_VARIABLE)
    ticket = choose_ticket(None, ticket_file, variable)
    if not ticket:
        raise CanaryProblem(
            f"there is no ticket for '{cn}'; make one on the signer with 'pki ticket "
            f"--cn {cn}', and give it with --ticket-file or in {TICKET_VARIABLE}"
        )
    return ticket


def _anchor(
    ca: Path | None, ca_fingerprint: str | None, given: Invocation
) -> TrustAnchor | str:
    """Return the CA to expect, or the hex digits of its fingerprint."""
    if ca_fingerprint is not None:
        if ca is not None:
            raise CanaryProblem("--ca and --ca-fingerprint exclude each other")
        digits = re.sub(r"[\s:]", "", ca_fingerprint).lower()
        if len(digits) != _DIGITS or re.search(r"[^0-9a-f]", digits):
            raise CanaryProblem(
                "--ca-fingerprint takes the 64 hex digits of a SHA-256, as 'pki verify "
                "--cert ca.crt' prints them"
            )
        return digits
    path = ca or given.directories.trusted_ca
    return TrustAnchor.from_pem(read_file(path))
