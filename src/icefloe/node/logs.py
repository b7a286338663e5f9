"""Log events with fields: one line each, on standard error or into a file.

Secrets never reach a log: the parts that hold them have no `repr` of them and
hand over plain fields only.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, Protocol, TextIO

import structlog

from icefloe.enrollment.commands import Level
from icefloe.node.doors import RealClock
from icefloe.node.log_gate import LogGate


class Logger(Protocol):
    """Where log events go."""

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Write one event; `level` as in the `logging` module."""


def configure(
    *, level: int = Level.INFO, stream: TextIO | None = None, as_json: bool = False
) -> Logger:
    """Make the process's logger.

    What strangers cause passes a `LogGate`. When nothing can be written (the disk of
    a redirected standard error is full), events are lost and the node goes on.

    Args:
        level: events below it are dropped.
        stream: default standard error.
        as_json: one JSON object a line, for collectors; else words for people.
    """
    target: Any = _Unfailing(stream or sys.stderr)
    renderer: Any
    if as_json:
        renderer = structlog.processors.JSONRenderer(sort_keys=True)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=target.isatty(), pad_event_to=0, sort_keys=False
        )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            structlog.processors.format_exc_info,
            *([] if as_json else [_escaped]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(int(level)),
        logger_factory=structlog.PrintLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    # Libraries of ours that use `logging` (asyncio) go the same way.
    logging.basicConfig(level=logging.WARNING, stream=target, force=True)
    return LogGate(structlog.get_logger(), clock=RealClock())


def _escaped(_log: object, _method: str, fields: Any) -> Any:
    """Escape what a terminal would act on: some of it comes from peers.

    The renderer quotes text with blanks in it and prints other text as it is.  A
    stack of ours keeps its lines.
    """
    return {
        name: ascii(value)[1:-1]
        if isinstance(value, str) and name != "exception" and not value.isprintable()
        else value
        for name, value in fields.items()
    }


class _Unfailing:
    """A text stream that loses what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()
