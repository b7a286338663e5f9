"""The states of a session and the table of its moves.

    NEW ----------> AWAITING ----------> OPEN ----------> FINISHING ----------> CLOSED
     |  (listener)      |  (first byte                        ^
     |                  |   is a digit)                       |
     |                  +-------------------------------------+
     |  (dialler)           (HTTP, time-out, drain)
     +-------------------------------> OPEN

A connection meets this table through signals, most of which are facts from outside:
bytes came, a deadline passed, the owner wants to drain.  `FINISHING` is the drain: the
transport flushes and closes while the session discards whatever still comes in.
From every state a lost connection leads to `CLOSED`.

What is absent from the table cannot happen, or is a bug of the caller
(`SessionMisused`): nothing that a peer does leads there.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Role(enum.Enum):
    """Which side of the connection we are."""

    DIALLER = "dialler"
    LISTENER = "listener"


class State(enum.Enum):
    """Where a session stands."""

    NEW = "new"
    AWAITING = "awaiting"
    OPEN = "open"
    FINISHING = "finishing"
    CLOSED = "closed"


class Signal(enum.Enum):
    """What can happen to a session."""

    # From its owner.
    START_DIALLER = "start-dialler"
    START_LISTENER = "start-listener"
    SEND = "send"
    DRAIN = "drain"
    # From the transport.
    FIRST_DIGIT = "first-digit"
    FIRST_OTHER = "first-other"
    BYTES = "bytes"
    PEER_FINISHED = "peer-finished"
    LOST = "lost"
    # From the clock.
    SETUP_DEADLINE = "setup-deadline"
    SILENCE_DEADLINE = "silence-deadline"
    LIFETIME_DEADLINE = "lifetime-deadline"
    HEARTBEAT_DEADLINE = "heartbeat-deadline"
    POSITION_DEADLINE = "position-deadline"
    # From what the bytes turned out to be.
    PEER_FAULT = "peer-fault"
    FLOODED = "flooded"


class Action(enum.Enum):
    """What a session does about it."""

    NOTHING = "nothing"
    GREET = "greet"
    REFUSE_HTTP = "refuse-http"
    HANDLE = "handle"
    DISCARD = "discard"
    TRANSMIT = "transmit"
    REFUSE_SEND = "refuse-send"
    BEAT = "beat"
    ACKNOWLEDGE = "acknowledge"
    FINISH = "finish"
    FINISH_BRIEFLY = "finish-briefly"
    END = "end"
    ABORT = "abort"


class Move(NamedTuple):
    """One cell of the table: what to do, and where the session stands afterwards."""

    action: Action
    state: State


_NEW, _AWAITING, _OPEN = State.NEW, State.AWAITING, State.OPEN
_FINISHING, _CLOSED = State.FINISHING, State.CLOSED

TRANSITIONS: Final[Mapping[tuple[State, Signal], Move]] = MappingProxyType(
    {
        (_NEW, Signal.START_DIALLER): Move(Action.GREET, _OPEN),
        (_NEW, Signal.START_LISTENER): Move(Action.NOTHING, _AWAITING),
        (_NEW, Signal.SEND): Move(Action.REFUSE_SEND, _NEW),
        (_NEW, Signal.DRAIN): Move(Action.FINISH, _FINISHING),
        (_NEW, Signal.PEER_FINISHED): Move(Action.FINISH, _FINISHING),
        (_NEW, Signal.LOST): Move(Action.END, _CLOSED),
        (_AWAITING, Signal.FIRST_DIGIT): Move(Action.GREET, _OPEN),
        (_AWAITING, Signal.FIRST_OTHER): Move(Action.REFUSE_HTTP, _FINISHING),
        (_AWAITING, Signal.SETUP_DEADLINE): Move(Action.FINISH_BRIEFLY, _FINISHING),
        (_AWAITING, Signal.SEND): Move(Action.REFUSE_SEND, _AWAITING),
        (_AWAITING, Signal.DRAIN): Move(Action.FINISH, _FINISHING),
        (_AWAITING, Signal.PEER_FINISHED): Move(Action.FINISH, _FINISHING),
        (_AWAITING, Signal.LOST): Move(Action.END, _CLOSED),
        (_OPEN, Signal.BYTES): Move(Action.HANDLE, _OPEN),
        (_OPEN, Signal.PEER_FAULT): Move(Action.FINISH_BRIEFLY, _FINISHING),
        (_OPEN, Signal.SEND): Move(Action.TRANSMIT, _OPEN),
        (_OPEN, Signal.HEARTBEAT_DEADLINE): Move(Action.BEAT, _OPEN),
        (_OPEN, Signal.POSITION_DEADLINE): Move(Action.ACKNOWLEDGE, _OPEN),
        (_OPEN, Signal.SILENCE_DEADLINE): Move(Action.FINISH_BRIEFLY, _FINISHING),
        (_OPEN, Signal.LIFETIME_DEADLINE): Move(Action.FINISH, _FINISHING),
        (_OPEN, Signal.DRAIN): Move(Action.FINISH, _FINISHING),
        (_OPEN, Signal.PEER_FINISHED): Move(Action.FINISH, _FINISHING),
        (_OPEN, Signal.LOST): Move(Action.END, _CLOSED),
        (_FINISHING, Signal.BYTES): Move(Action.DISCARD, _FINISHING),
        (_FINISHING, Signal.FLOODED): Move(Action.ABORT, _CLOSED),
        (_FINISHING, Signal.SEND): Move(Action.REFUSE_SEND, _FINISHING),
        (_FINISHING, Signal.DRAIN): Move(Action.NOTHING, _FINISHING),
        (_FINISHING, Signal.PEER_FINISHED): Move(Action.NOTHING, _FINISHING),
        (_FINISHING, Signal.LOST): Move(Action.NOTHING, _CLOSED),
        (_CLOSED, Signal.BYTES): Move(Action.NOTHING, _CLOSED),
        (_CLOSED, Signal.SEND): Move(Action.REFUSE_SEND, _CLOSED),
        (_CLOSED, Signal.DRAIN): Move(Action.NOTHING, _CLOSED),
        (_CLOSED, Signal.PEER_FINISHED): Move(Action.NOTHING, _CLOSED),
        (_CLOSED, Signal.LOST): Move(Action.NOTHING, _CLOSED),
    }
)
