"""Log events with fields: one line each, on standard error or into a file.

Secrets never reach a log: the parts that hold them have no `repr` of them and
hand over plain fields only.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Protocol, TextIO

import structlog

from icefloe.enrollment.commands import Level


class Logger(Protocol):
    """Where log events go."""

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Write one event; `level` as in the `logging` module."""


def configure(
    *, level: int = Level.INFO, stream: TextIO | None = None, as_json: bool = False
) -> Logger:
    """Make the process's logger.

    Args:
        level: events below it are dropped.
        stream: default standard error.
        as_json: one JSON object a line, for collectors; else words for people.
    """
    target = stream or sys.stderr
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
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(int(level)),
        logger_factory=structlog.PrintLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    # Libraries of ours that use `logging` (asyncio) go the same way.
    logging.basicConfig(level=logging.WARNING, stream=target, force=True)
    logger: Logger = structlog.get_logger()
    return logger
