"""Reading the parameters of a message without believing anything about them.

Each function takes one key out of an object that a peer sent.  The rules are the same
for all messages: a missing key and a null are the same, text must be text, a number
may be written as integer or float (real nodes send `21306` and `21306.0` alike), a
boolean is no number.  An error names the key and never the value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from icefloe.wire.errors import MessageError, Reason

INTEGER_MAX: Final = 2**53 - 1
"""Largest integer that survives a real node, whose numbers are doubles."""

ICEFLOE: Final = "icefloe"
"""The key under which Icefloe nodes tell each other more than Icinga's protocol has."""


def as_object(params: object) -> Mapping[str, object]:
    """Return `params` as an object.

    Raises:
        MessageError: `PARAMS_MISSING` for None, else `PARAMS_NOT_AN_OBJECT`.
    """
    if params is None:
        raise MessageError(Reason.PARAMS_MISSING)
    if not isinstance(params, dict):
        raise MessageError(Reason.PARAMS_NOT_AN_OBJECT)
    return params


def text(params: Mapping[str, object], key: str) -> str:
    """Return a text, empty if it is absent.

    Raises:
        MessageError: It is something else.
    """
    value = params.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MessageError(
            Reason.FIELD_WRONG_TYPE, field=key, detail=f"{key} must be text"
        )
    return value


def required_text(params: Mapping[str, object], key: str) -> str:
    """Return a text that is not empty.

    Raises:
        MessageError: It is absent, empty or something else.
    """
    value = text(params, key)
    if not value:
        raise MessageError(Reason.FIELD_MISSING, field=key, detail=key)
    return value


def number(params: Mapping[str, object], key: str) -> float | None:
    """Return a finite number, None if it is absent.

    Raises:
        MessageError: It is something else or no double can hold it.
    """
    value = params.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        detail = f"{key} must be a number"
        raise MessageError(Reason.FIELD_WRONG_TYPE, field=key, detail=detail)
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise MessageError(Reason.FIELD_OUT_OF_RANGE, field=key, detail=key)
    return result


def required_number(params: Mapping[str, object], key: str) -> float:
    """Return a finite number.

    Raises:
        MessageError: It is absent, something else, or no double can hold it.
    """
    value = number(params, key)
    if value is None:
        raise MessageError(Reason.FIELD_MISSING, field=key, detail=key)
    return value


def natural(params: Mapping[str, object], key: str) -> int | None:
    """Return an integer from 0 to `INTEGER_MAX`, None if it is absent.

    Raises:
        MessageError: It is something else, has a fraction or is out of range.
    """
    value = number(params, key)
    if value is None:
        return None
    if not value.is_integer() or not 0 <= value <= INTEGER_MAX:
        raise MessageError(Reason.FIELD_OUT_OF_RANGE, field=key, detail=key)
    return int(value)


def facts(params: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return Icefloe's own facts, None if there are none.

    They are extra: whatever is wrong with them, the rest of the message is good.
    """
    value = params.get(ICEFLOE)
    return value if isinstance(value, dict) else None


def fact_text(known: Mapping[str, object] | None, key: str) -> str | None:
    """Return one of Icefloe's facts if it is a text that is not empty, else None."""
    value = (known or {}).get(key)
    return value if value and isinstance(value, str) else None


def fact_seconds(known: Mapping[str, object] | None, key: str) -> float | None:
    """Return one of Icefloe's facts if it is a number of seconds from 0, else None."""
    try:
        value = number(known or {}, key)
    except MessageError:
        return None
    return value if value is not None and value >= 0 else None


def fact_list(known: Mapping[str, object] | None, key: str) -> tuple[object, ...]:
    """Return one of Icefloe's facts if it is an array, else an empty tuple."""
    value = (known or {}).get(key)
    return tuple(value) if isinstance(value, list | tuple) else ()
