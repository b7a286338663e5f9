"""What a run of chaos comes to: one value, said as a table or as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import msgspec
from rich.table import Table

from icefloe.lab.chaos import Chaos
from icefloe.lab.figures import Spread, counted, counts_text, seconds_text
from icefloe.lab.screen import fields_table

NOTES_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosReport:
    """The figures of one run.

    Attributes:
        seed: What made the blows.
        signer: What stood in the signer's seat.
        relay: What stood in the relay's.
        blows: How many fell.
        kinds: The same, by trouble and target.
        missed: Blows that found nobody.
        agents: All agents, by kind.
        signed: Of those, with a certificate.
        tries: Connections, commands and starts of daemons altogether.
        starts: How often each daemon was started.
        to_certificate: Seconds from an agent's beginning to its certificate.
        notes: What agents met on their way, counted; the first few.
        seconds: How long the blows went on.
        settled_seconds: From the last blow until everybody was signed.
        complaints: What is wrong; none is how it has to be.
        directory: Where files and logs were left; empty if they are gone.
    """

    seed: int
    signer: str
    relay: str
    blows: int
    kinds: dict[str, int]
    missed: int
    agents: dict[str, int]
    signed: int
    tries: int
    starts: dict[str, int]
    to_certificate: Spread | None
    notes: dict[str, int]
    seconds: float
    settled_seconds: float
    complaints: list[str]
    directory: str

    @classmethod
    def of(cls, happened: Chaos) -> ChaosReport:
        """Sum a run up."""
        agents = happened.applicants
        signed = [each for each in agents if each.is_signed]
        notes = counted(
            note.replace(each.name, "NAME") for each in agents for note in each.notes
        )
        return cls(
            seed=happened.plan.seed,
            signer=happened.plan.signer,
            relay=happened.plan.relay,
            blows=sum(happened.blows.values()),
            kinds=dict(happened.blows.most_common()),
            missed=happened.missed,
            agents=dict(Counter(each.kind for each in agents)),
            signed=len(signed),
            tries=sum(each.tries for each in agents),
            starts=happened.starts,
            to_certificate=Spread.of([each.seconds for each in signed]),
            notes=dict(list(notes.items())[:NOTES_MAX]),
            seconds=happened.seconds,
            settled_seconds=round(happened.settled_seconds, 3),
            complaints=happened.complaints,
            directory=str(happened.directory or ""),
        )

    def to_json(self) -> str:
        """Return the figures as a JSON object, on several lines."""
        return msgspec.json.format(msgspec.json.encode(self)).decode()

    def table(self) -> Table:
        """Return the figures for people."""
        spread = self.to_certificate
        took = (
            "none was signed"
            if spread is None
            else f"p50 {seconds_text(spread.p50)}, p99 {seconds_text(spread.p99)},"
            f" longest {seconds_text(spread.longest)}"
        )
        rows = [
            ("blows", f"{self.blows} in {seconds_text(self.seconds)}"),
            ("of those", counts_text(self.kinds)),
            ("found nobody", str(self.missed)),
            ("agents", counts_text(self.agents)),
            ("signed", f"{self.signed}, in {self.tries} tries"),
            ("to a certificate", took),
            ("all signed", f"{seconds_text(self.settled_seconds)} after the last blow"),
            ("started", counts_text(self.starts)),
        ]
        rows += [("on their way", f"{note} ({n} x)") for note, n in self.notes.items()]
        rows += [("complaint", each) for each in self.complaints]
        verdict = "complaints" if self.complaints else "nothing lost, nothing twice"
        rows.append(("verdict", verdict))
        if self.directory:
            rows.append(("files and logs", self.directory))
        title = f"chaos with seed {self.seed}: {self.relay} below {self.signer}"
        return fields_table(rows, title=title)
