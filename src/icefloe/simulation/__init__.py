"""The production core behind simulated doors: one seed, one history.

What runs here is what runs in the daemon: `EnrollmentCore`, `Session`, `Connections`,
`DialPacer`, `Requester`, the zone tree, the translation between messages and events.
Only the doors are other ones: clock, entropy, network, ledger, workers.  One seed makes
the cluster, those who ask, the load and the faults, and the same seed makes the same
history again, line by line.

    simulate(7)              one seed: what happened, and which promises were broken
    run_seeds(range(1000))   many
    icefloe lab simulate --seeds 1000

`docs/simulator.md` says what there is, and what is not modelled.  Where to read: `running` puts a world together; `process` is one life of a node and
`machine` what survives it; `network` carries bytes and loses them; `requesters` are
those who want certificates; `promises` judges every step; `faults` is what goes wrong.
"""

from __future__ import annotations

from icefloe.simulation.faults import CrashPoint, FaultPlan
from icefloe.simulation.report import PromiseBroken, Report, Summary, Violation
from icefloe.simulation.running import run_seeds, simulate

__all__ = [
    "CrashPoint",
    "FaultPlan",
    "PromiseBroken",
    "Report",
    "Summary",
    "Violation",
    "run_seeds",
    "simulate",
]
