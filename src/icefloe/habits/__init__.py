"""What each version of Icinga 2 does to a certificate request (no IO).

Peers for the simulator, the lab and the demo: an Icefloe node can be tried against the
behaviour of releases that are not installed.  Nothing of Icefloe's own behaviour is in
here, and nothing here is ever part of a running Icefloe node.

Icinga 2 is one program; its place in the zone tree and the CA key make it an agent, a
satellite or a master.  So there is one machine, `HabitualNode`, and three names for its
seats.  Facts come in, effects come out:

    node = HabitualSatellite("sat1", habits=habits_of("2.14.4"), identity=...)
    node.start(now)                                    -> [Dial("master1")]
    node.on_member_up(link, name=..., relation=...)    -> [Notify(...)]
    node.on_request(link, call=..., params=..., ...)   -> [Notify(...), CloseCut(link)]

Left out, because no certificate depends on it: heartbeats and liveness, log positions
and the replay log, configuration sync (and the short time in which a real node drops
relayed messages to a peer that it syncs), the daily renewal timer, monitoring.

Source: protocol, "Certificate signing protocol" (above all the tables of "Order of
reply, disconnect, certificate" and "What the CLI requester does").
"""

from __future__ import annotations

from icefloe.habits.authority import Authority, IcingaAuthority
from icefloe.habits.cli import Exit, HabitualCLI, Saw, WriteCA, WriteCertificate
from icefloe.habits.dispatch import deliver
from icefloe.habits.effects import (
    CloseAt,
    CloseCut,
    CloseFlushed,
    Dial,
    Effect,
    InstallIdentity,
    Notify,
    Reply,
    ReplyEmpty,
    ReplyError,
)
from icefloe.habits.identity import Identity
from icefloe.habits.node import HabitualNode
from icefloe.habits.seats import HabitualAgent, HabitualMaster, HabitualSatellite
from icefloe.habits.versions import (
    HABITS,
    AfterPending,
    Habits,
    UnknownVersion,
    habits_of,
)

__all__ = [
    "HABITS",
    "AfterPending",
    "Authority",
    "CloseAt",
    "CloseCut",
    "CloseFlushed",
    "Dial",
    "Effect",
    "Exit",
    "Habits",
    "HabitualAgent",
    "HabitualCLI",
    "HabitualMaster",
    "HabitualNode",
    "HabitualSatellite",
    "IcingaAuthority",
    "Identity",
    "InstallIdentity",
    "Notify",
    "Reply",
    "ReplyEmpty",
    "ReplyError",
    "Saw",
    "UnknownVersion",
    "WriteCA",
    "WriteCertificate",
    "deliver",
    "habits_of",
]
