"""One line of a preflight, see `preflight`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What: `name`, `configuration`, `files`, `disk`, `identity`, `daemon`,
            `listen`, `dns`, `port`, `tls`, `trust` or `clock`.
        ok: True: it is as it has to be.  False: the set-up would fail, or leave a node
            that does not work.  None: it works, but somebody should know.
        detail: What was found, one line.
        code: A code of `enrollment.problems` when `ok` is False; may be "" else.
        fix: What to do about it; "" when there is nothing to do.
    """

    name: str
    ok: bool | None
    detail: str
    code: str = ""
    fix: str = ""
