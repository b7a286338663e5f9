"""What a fault proxy does to a connection, and to which one.

A fault is written `KIND[:WAY][@BYTE][=AMOUNT]`:

    cut:down@700      close in order once 700 bytes have come down
    reset@0           break the connection as soon as there is one
    half-close:up@90  end one direction in order, let the other one go on
    black-hole:down   swallow a direction; the connection stays
    stall@300=15      stop for 15 s, then go on as if nothing had been
    delay:up=0.2      hold every piece back for 0.2 s
    throttle=2000     2000 bytes a second at most
    refuse            take no connection at all

`up` is from who connects to where the proxy leads, `down` the other direction; without
either it holds for each direction by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from random import Random
from typing import Final, Protocol, Self

from icefloe.lab.errors import LabError


class FaultInvalid(LabError):
    """A fault is not written as one."""


@unique
class Way(StrEnum):
    """A direction."""

    UP = "up"
    DOWN = "down"


@unique
class FaultKind(StrEnum):
    """What can be done to a connection."""

    CUT = "cut"
    RESET = "reset"
    HALF_CLOSE = "half-close"
    BLACK_HOLE = "black-hole"
    STALL = "stall"
    DELAY = "delay"
    THROTTLE = "throttle"
    REFUSE = "refuse"


AMOUNTS: Final = {
    FaultKind.STALL: "seconds",
    FaultKind.DELAY: "seconds",
    FaultKind.THROTTLE: "bytes a second",
}
"""The kinds that need an amount, and its unit."""

SECONDS_MAX: Final = 86_400.0
BYTE_MAX: Final = 1 << 40
_FORM: Final = re.compile(
    r"(?P<kind>[a-z-]+)(:(?P<way>up|down))?(@(?P<at>\d{1,13}))?"
    r"(=(?P<amount>\d{1,9}(\.\d{1,6})?))?"
)
_SHARE_DEFAULT: Final = 0.5
_STALL_SECONDS: Final = (0.1, 4.0)
_DELAY_SECONDS: Final = (0.01, 0.3)
_RATES: Final = (1_000, 50_000)
_BYTES: Final = (0, 6_000)
"""A first enrollment is some 5 KB in each direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing done to one connection.

    Attributes:
        kind: What.
        way: To which direction; None for each of them.
        at: After how many bytes of the direction.
        amount: Seconds (stall, delay) or bytes a second (throttle).
    """

    kind: FaultKind
    way: Way | None = None
    at: int = 0
    amount: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `KIND[:WAY][@BYTE][=AMOUNT]`.

        Raises:
            FaultInvalid: It is none, or its amount is missing or makes no sense.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None or found["kind"] not in set(FaultKind):
            kinds = ", ".join(FaultKind)
            raise FaultInvalid(
                f"'{text[:60]}' is no fault: KIND[:up|:down][@BYTE][=AMOUNT], where "
                f"KIND is one of {kinds}"
            )
        kind = FaultKind(found["kind"])
        amount = float(found["amount"] or 0.0)
        unit = AMOUNTS.get(kind)
        if unit is None and found["amount"] is not None:
            raise FaultInvalid(f"'{text[:60]}': {kind} takes no amount")
        if unit is not None and not amount > 0:
            raise FaultInvalid(f"'{text[:60]}': {kind} needs an amount: ={unit}")
        if unit == "seconds" and amount > SECONDS_MAX:
            raise FaultInvalid(f"'{text[:60]}': more than {SECONDS_MAX:g} s")
        return cls(
            kind=kind,
            way=None if found["way"] is None else Way(found["way"]),
            at=min(int(found["at"] or 0), BYTE_MAX),
            amount=amount,
        )

    def __str__(self) -> str:
        way = "" if self.way is None else f":{self.way}"
        at = f"@{self.at}" if self.at else ""
        amount = f"={self.amount:g}" if self.amount else ""
        return f"{self.kind}{way}{at}{amount}"

    def concerns(self, way: Way) -> bool:
        """Whether it is done to this direction."""
        return self.way is None or self.way is way


class FaultSource(Protocol):
    """Says what is done to which connection."""

    def faults_for(self, number: int) -> Sequence[Fault]:
        """Return the faults of the connection with this number, counted from 1."""
        ...


@dataclass(frozen=True, slots=True)
class EveryConnection:
    """The same for all; without faults a plain proxy."""

    faults: tuple[Fault, ...] = ()

    def faults_for(self, number: int) -> Sequence[Fault]:
        """Return the same for every number."""
        del number
        return self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededFaults:
    """A fault for some connections, by chance; the same seed, the same faults.

    Attributes:
        seed: Makes the choice.
        share: How many of the connections get a fault, 0 to 1.
        kinds: What they may get.
    """

    seed: int
    share: float = _SHARE_DEFAULT
    kinds: tuple[FaultKind, ...] = tuple(FaultKind)

    def faults_for(self, number: int) -> Sequence[Fault]:
        """Draw for one connection."""
        chance = Random(f"{self.seed}/{number}")  # noqa: S311 - an experiment, no secret
        if chance.random() >= self.share:
            return ()
        kind = chance.choice(self.kinds)
        amount = 0.0
        if kind is FaultKind.STALL:
            amount = round(chance.uniform(*_STALL_SECONDS), 2)
        elif kind is FaultKind.DELAY:
            amount = round(chance.uniform(*_DELAY_SECONDS), 2)
        elif kind is FaultKind.THROTTLE:
            amount = float(chance.randint(*_RATES))
        way = chance.choice((Way.UP, Way.DOWN))
        return (Fault(kind=kind, way=way, at=chance.randint(*_BYTES), amount=amount),)
