"""Faults that begin at some moment and last for a while: one mechanism for all.

When and where they begin is drawn before the history starts, or given by the plan.  All
are over when the plan's faults are: clocks are set right, disks work, who was stopped
is started.

Clocks.  Durations are measured by another clock, which no step touches; the date counts
where certificates are judged.  They begin `BACKDATE` (5 minutes) before their signer's
date, so clocks that are less than that apart notice nothing.  A node that is further
behind believes neither its peers' newer certificates nor those it is to hand on, and
says so.  A signer that is further ahead signs what nobody believes yet; once its clock
is right it does not believe it either, and signs one that is valid now: that is another
request (the former certificate is no answer), under another serial number.  A real
Icinga relay keeps the early one and gives it out until its time has come, whatever is
signed later: where there is one, signers are at most 200 s ahead.  A step of more than a
week makes every request look abandoned that nobody waits for; whoever wants
it asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from icefloe.simulation.disk import OPERATIONS, Operation
from icefloe.simulation.faults import SPELLS, Spell
from icefloe.simulation.machine import Machine
from icefloe.simulation.world import World

AHEAD_OF_OTHERS_SECONDS_MAX: Final = 200.0
"""Less than `BACKDATE`, by as much as two clocks may differ at the beginning."""

READ_BYTES_A_SECOND: Final = (40.0, 400.0, 4_000.0)
SPELLS_MAX: Final = 40
"""No more of one kind in a history."""

_BETWEEN_TWO: Final = frozenset({"away_every", "one_way_every", "slow_reader_every"})

Pair = tuple[str, str]


class Spells:
    """All spells of one world."""

    def __init__(
        self,
        world: World,
        machines: Sequence[Machine],
        *,
        dials: Iterable[Pair],
        asks: Iterable[Pair],
    ) -> None:
        """Plan them.

        Args:
            world: where.
            machines: our nodes.
            dials: which node dials which one.
            asks: which requester asks which node.
        """
        self._world = world
        self._machines = {machine.name: machine for machine in machines}
        self._dials = sorted(dials)
        nodes = {name for pair in self._dials for name in pair}
        self._others = nodes - self._machines.keys()
        self._pairs = [*self._dials, *sorted(set(asks))]
        self._begin: Mapping[str, Callable[[Spell], None]] = {
            "away_every": self._separate,
            "one_way_every": self._hinder,
            "slow_reader_every": self._slow_down,
            "ledger_fails_every": self._fail_operation,
            "disk_every": self._fail_disk,
            "clock_step_every": self._step_clock,
            "stop_every": self._stop,
            "reload_every": self._reload,
            "restore_every": self._back_up,
        }
        for spell in (*world.faults.plan.spells, *self._drawn()):
            world.timeline.at(spell.at, partial(self._strike, spell))

    # -- drawing ------------------------------------------------------------------------

    def _drawn(self) -> Iterable[Spell]:
        plan, chance = self._world.faults.plan, self._world.chance
        for kind in SPELLS:
            every = getattr(plan, kind)
            at = chance.expovariate(1.0 / every) if every else plan.until
            for _ in range(SPELLS_MAX):
                if at >= plan.until:
                    break
                spell = self._draw(kind, at)
                if spell is not None:
                    seconds = min(spell.seconds, plan.until - at)
                    yield replace(spell, seconds=seconds)
                at += chance.expovariate(1.0 / every)

    def _draw(self, kind: str, at: float) -> Spell | None:
        """Draw what else there is to a spell; None: nobody can have it."""
        plan, chance = self._world.faults.plan, self._world.chance
        names = list(self._machines)
        pairs = self._dials if kind == "away_every" else self._pairs
        if not (pairs if kind in _BETWEEN_TWO else names):
            return None
        who, other, amount, name = "", "", 0.0, ""
        seconds = chance.uniform(0.5, 10.0)
        if kind in _BETWEEN_TWO:
            who, other = chance.choice(pairs)
            if chance.random() < 0.5:
                who, other = other, who
        else:
            who = chance.choice(names)
        if kind == "away_every":
            seconds = chance.uniform(0.5, plan.away_seconds)
        elif kind == "one_way_every":
            seconds = chance.uniform(0.5, plan.one_way_seconds)
        elif kind == "slow_reader_every":
            amount = chance.choice(READ_BYTES_A_SECOND)
            seconds = chance.uniform(0.5, plan.slow_reader_seconds)
        elif kind == "ledger_fails_every":
            name = chance.choice(OPERATIONS)
            seconds = chance.uniform(0.1, plan.ledger_fails_seconds)
        elif kind == "disk_every":
            name = chance.choice(("disk-full", "disk-io-error"))
            seconds = chance.uniform(0.1, plan.disk_seconds)
        elif kind == "clock_step_every":
            most = ahead = plan.clock_step_seconds
            if self._machines[who].ca_key is not None and self._others:
                ahead = min(most, AHEAD_OF_OTHERS_SECONDS_MAX)
            amount = chance.uniform(-most, ahead)
            seconds = chance.uniform(0.5, 60.0)
        return Spell(kind, at, seconds, who, other, amount, name)

    # -- beginning and end ----------------------------------------------------------------

    def _strike(self, spell: Spell) -> None:
        if not self._world.faults.stopped:
            self._begin[spell.kind](spell)

    def _count(self, kind: str, who: str, what: str) -> None:
        self._world.faults.counts[kind] += 1
        self._world.note(who, what)

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        self._world.timeline.after(seconds, action)

    # -- the network ------------------------------------------------------------------------

    def _separate(self, spell: Spell) -> None:
        what = f"{spell.who} and {spell.other} cannot reach each other"
        self._count("separated", "network", what)
        self._world.network.separate(spell.who, spell.other, spell.seconds)

    def _hinder(self, spell: Spell) -> None:
        what = f"nothing comes from {spell.who} to {spell.other}"
        self._count("one-way", "network", what)
        self._world.network.hinder(spell.who, spell.other, spell.seconds)

    def _slow_down(self, spell: Spell) -> None:
        self._count("slow-reader", spell.who, f"reads {spell.amount:.0f} bytes/s")
        self._world.network.slow_down(spell.who, spell.amount, spell.seconds)

    # -- disks --------------------------------------------------------------------------------

    def _fail_operation(self, spell: Spell) -> None:
        operation: Operation = spell.name  # type: ignore[assignment]
        ledger = self._machines[spell.who].ledger
        if ledger.trouble is not None:
            return
        ledger.trouble = operation
        kind = f"ledger-{operation}-fails"
        self._count(kind, spell.who, f"its ledger fails at {operation}")
        self._later(spell.seconds, partial(self._mend, spell.who))

    def _fail_disk(self, spell: Spell) -> None:
        machine = self._machines[spell.who]
        if machine.ledger.trouble is not None:
            return
        machine.ledger.trouble = "full" if spell.name == "disk-full" else "io"
        machine.files.full = True
        self._count(spell.name, spell.who, f"has trouble: {spell.name}")
        self._later(spell.seconds, partial(self._mend, spell.who))

    def _mend(self, who: str) -> None:
        machine = self._machines[who]
        machine.ledger.trouble = None
        machine.files.full = False
        self._world.note(who, "its disk works again")

    # -- clocks ---------------------------------------------------------------------------------

    def _step_clock(self, spell: Spell) -> None:
        clock = self._machines[spell.who].clock
        kind = "clock-forward" if spell.amount > 0 else "clock-backward"
        self._count(kind, spell.who, f"its clock is set by {spell.amount:+.0f} s")
        clock.step(spell.amount)
        self._later(spell.seconds, partial(clock.step, -spell.amount))

    # -- lives ----------------------------------------------------------------------------------

    def _stop(self, spell: Spell) -> None:
        machine = self._machines[spell.who]
        if machine.process is None:
            return
        self._count("stopped", spell.who, "is stopped by its operator")
        machine.stop_for(spell.seconds)

    def _reload(self, spell: Spell) -> None:
        process = self._machines[spell.who].process
        if process is not None:
            self._count("reloaded", spell.who, "reloads")
            process.enter(process.reload)

    def _back_up(self, spell: Spell) -> None:
        """A copy is made now, and is put in place later."""
        machine = self._machines[spell.who]
        if machine.ledger.trouble is not None:
            return
        restore = self._world.promises.back_up(spell.who)
        backup = machine.ledger.back_up()
        self._world.note(spell.who, "its ledger is copied")

        def put_in_place() -> None:
            if machine.ledger.trouble is not None or self._world.faults.stopped:
                return
            self._count("restored", spell.who, "is killed to be restored")
            machine.kill()
            machine.restore(backup)
            restore()
            machine.start_in(1.0)

        self._later(spell.seconds, put_in_place)
