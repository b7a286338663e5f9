"""`icefloe lab proxy`: a network that fails at chosen bytes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import click
import msgspec
import typer

from icefloe.cli.lab_options import parent_address
from icefloe.cli.options import JSONOption
from icefloe.lab.asking import ParentAddress
from icefloe.lab.processes import cancelled_by_signals
from icefloe.lab.proxy import CONNECTIONS_MAX, FaultProxy, ProxyCounts, ProxyEvent
from icefloe.lab.proxy_faults import (
    EveryConnection,
    Fault,
    FaultKind,
    FaultSource,
    SeededFaults,
)

SHARE_DEFAULT: Final = 0.5

EPILOG: Final = """\b
Faults are written KIND[:up|:down][@BYTE][=AMOUNT]; up is from the client to the server:
  cut:down@700      close in order once 700 bytes have come down
  reset@0           break the connection as soon as there is one
  half-close:up@90  end one direction in order, let the other one go on
  black-hole:down   swallow one direction; the connection stays
  stall@300=15      stop for 15 s, then go on as if nothing had been
  delay:up=0.2      hold every piece back for 0.2 s
  throttle=2000     2000 bytes a second at most
  refuse            take no connection at all

\b
Examples:
  icefloe lab proxy --listen 127.0.0.1,5666 --to master1 --fault cut:down@3000
  icefloe lab proxy --listen 127.0.0.1,5666 --to master1 --seed 7 --share 0.3
Then let agents ask port 5666: icefloe lab storm --parent 127.0.0.1,5666 ..."""


def proxy(
    *,
    to: Annotated[
        str, typer.Option(metavar="HOST[,PORT]", help="Where connections are led.")
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST[,PORT]", help="Where to listen; port 0: any.")
    ] = "127.0.0.1,0",
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="FAULT", help="Do this to every connection; repeatable."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Draw faults by chance instead; the same seed, the same."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help=f"How many connections get one, with --seed [{SHARE_DEFAULT}].",
        ),
    ] = None,
    kind: Annotated[
        list[FaultKind] | None,
        typer.Option(help="Draw only this kind, with --seed; repeatable."),
    ] = None,
    connections: Annotated[
        int, typer.Option(min=1, help="How many at a time; further ones are reset.")
    ] = CONNECTIONS_MAX,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="End by itself after so long.")
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Lead TCP connections on, and do to them what bad networks do.

    Stands between any two: agents and a parent, a satellite and its master. Says each
    thing that it does on standard error, and at the end (Ctrl-C, SIGTERM, --seconds)
    how often. With --json both are on standard output, an object a line.
    """
    plan = _plan(fault or (), seed=seed, share=share, kinds=kind)
    voice = _Voice(as_json=as_json)
    server = parent_address(to)
    if server.port == 0:
        raise click.BadParameter("port 0 leads nowhere", param_hint="'--to'")

    async def run() -> ProxyCounts:
        made = FaultProxy(
            to=server,
            listen=parent_address(listen),
            plan=plan,
            on_event=voice.tell,
            connections_max=connections,
        )
        voice.begin(made.bind(), server)
        try:
            with cancelled_by_signals():
                async with asyncio.timeout(seconds):
                    await made.run()
        except (TimeoutError, asyncio.CancelledError):
            pass  # the end that was asked for
        return made.counts

    voice.end(asyncio.run(run()))


def _plan(
    faults: Sequence[str],
    *,
    seed: int | None,
    share: float | None,
    kinds: Sequence[FaultKind] | None,
) -> FaultSource:
    if seed is None:
        if share is not None or kinds:
            raise click.UsageError("--kind and --share need --seed")
        return EveryConnection(tuple(Fault.parse(each) for each in faults))
    if faults:
        raise click.UsageError("--seed draws the faults: leave out --fault")
    share = SHARE_DEFAULT if share is None else share
    return SeededFaults(seed=seed, share=share, kinds=tuple(kinds or FaultKind))


class _Voice:
    """Says what happens: words on standard error, or JSON on standard output."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def begin(self, listening: ParentAddress, to: ParentAddress) -> None:
        self._say(
            {"event": "listening", "address": str(listening), "to": str(to)},
            f"{listening} leads to {to}",
        )

    def tell(self, event: ProxyEvent) -> None:
        fields = msgspec.to_builtins(event)
        told = {name: value for name, value in fields.items() if value not in {"", 0}}
        if event.event == "ended":
            told |= {"up": event.up, "down": event.down}
        rest = " ".join(
            f"{name}={value}"
            for name, value in told.items()
            if name not in {"seconds", "event", "connection"}
        )
        text = f"{event.seconds:9.3f} s  #{event.connection} {event.event} {rest}"
        self._say(told, text.rstrip())

    def end(self, counts: ProxyCounts) -> None:
        fields = msgspec.to_builtins(counts)
        faults = ", ".join(f"{n} {kind}" for kind, n in counts.faults.items())
        self._say(
            {"event": "summary", **fields},
            f"{counts.connections} connections ({counts.refused} refused,"
            f" {counts.unreachable} led nowhere), {counts.up} bytes up,"
            f" {counts.down} down; faults: {faults or 'none'}",
        )

    def _say(self, told: object, text: str) -> None:
        if self._as_json:
            print(msgspec.json.encode(told).decode(), flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
