"""`icefloe lab chaos`: break a real cluster, and see that nothing is lost."""

from __future__ import annotations

import sys
import time
from typing import Final

import click
import typer

from icefloe.cli.app import EXIT_FAILED, EXIT_OK
from icefloe.cli.lab_chaos_options import (
    PRODUCTS,
    BlowsOption,
    ClientsOption,
    CommandsOption,
    DaemonsOption,
    KeepOption,
    RealOption,
    RelayOption,
    SecondsOption,
    SeedOption,
    SignerOption,
    TroubleOption,
)
from icefloe.cli.options import JSONOption
from icefloe.lab.chaos import Chaos, ChaosPlan, run_chaos
from icefloe.lab.chaos_report import ChaosReport
from icefloe.lab.chaos_schedule import UNPRIVILEGED, Blow
from icefloe.lab.screen import bar, console, is_watched
from icefloe.node.doors import RealClock, RealEntropy

_SAY_SECONDS: Final = 10.0
_USUAL: Final = ChaosPlan(seed=0)

EPILOG: Final = """\b
Troubles:
  kill     signal 9 to signer, relay, an agent's command or daemon; started again
  pause    SIGSTOP for up to 14 s          term, hup  SIGTERM, SIGHUP under load
  silence  the network holds back          refuse     ends and refuses connections
  break    resets every connection         noise      cuts, stalls, throttles by chance
  clock    the wall clock steps (needs libfaketime)
  disk     the file system is full (needs root)

\b
Examples:
  icefloe lab chaos --trouble kill --blows 200   # 200 x kill -9 under load
  icefloe lab chaos --seconds 600                # all that needs no privileges
  icefloe lab chaos --seed 4711 --seconds 600    # the same blows again
  icefloe lab chaos --signer icinga2             # Debian's, below it Icefloe"""


def chaos(
    *,
    seed: SeedOption = None,
    blows: BlowsOption = None,
    seconds: SecondsOption = 600.0,
    trouble: TroubleOption = None,
    clients: ClientsOption = _USUAL.clients,
    commands: CommandsOption = _USUAL.commands,
    daemons: DaemonsOption = _USUAL.daemons,
    icinga2s: RealOption = _USUAL.icinga2s,
    signer: SignerOption = _USUAL.signer,
    relay: RelayOption = _USUAL.relay,
    keep: KeepOption = False,
    as_json: JSONOption = False,
) -> None:
    """Enroll agents through a relay while everything is killed, cut and stopped.

    Real daemons on an address of loopback of their own, in a temporary directory. When
    the blows are over every agent has to be signed, once, within four minutes; then
    files, ledgers and logs are judged. Exits with 1 after a complaint, and leaves files
    and logs then.
    """
    for product in (signer, relay):
        if product not in PRODUCTS:
            raise click.UsageError(f"'{product}' is none of {', '.join(PRODUCTS)}")
    entropy = RealEntropy()
    plan = ChaosPlan(
        seed=int.from_bytes(entropy.bytes(4), "big") if seed is None else seed,
        blows=blows,
        seconds=seconds,
        troubles=tuple(trouble or UNPRIVILEGED),
        clients=clients,
        commands=commands,
        daemons=daemons,
        icinga2s=icinga2s,
        signer=signer,
        relay=relay,
        keep=keep,
    )
    print(f"seed {plan.seed}", file=sys.stderr, flush=True)
    with bar(sys.stderr, what="blows", total=blows or 0) as progress:
        voice = _Voice()

        def on_blow(blow: Blow, happened: Chaos) -> None:
            progress.advance()
            voice.tell(blow, happened)

        happened = run_chaos(plan, clock=RealClock(), entropy=entropy, on_blow=on_blow)
    report = ChaosReport.of(happened)
    if as_json:
        print(report.to_json())
    else:
        console(sys.stdout).print(report.table())
    if report.complaints:
        print(f"failed: {again(plan)}", file=sys.stderr)
    raise typer.Exit(EXIT_FAILED if report.complaints else EXIT_OK)


def again(plan: ChaosPlan) -> str:
    """Return the command that makes the same blows."""
    words = [f"icefloe lab chaos --seed {plan.seed} --seconds {plan.seconds:g}"]
    if plan.blows is not None:
        words.append(f"--blows {plan.blows}")
    words += [f"--trouble {each}" for each in plan.troubles]
    for name in ("clients", "commands", "daemons", "icinga2s", "signer", "relay"):
        value = getattr(plan, name)
        if value != getattr(_USUAL, name):
            words.append(f"--{name} {value}")
    return " ".join(words)


class _Voice:
    """Says now and then how far it is, where no bar is drawn."""

    def __init__(self) -> None:
        self._silent = is_watched(sys.stderr)
        self._began = self._said = time.monotonic()

    def tell(self, blow: Blow, happened: Chaos) -> None:
        now = time.monotonic()
        if self._silent or now - self._said < _SAY_SECONDS:
            return
        self._said = now
        signed = sum(each.is_signed for each in happened.applicants)
        print(
            f"{now - self._began:6.0f} s: {blow.number} blows, {signed} agents signed",
            file=sys.stderr,
            flush=True,
        )
