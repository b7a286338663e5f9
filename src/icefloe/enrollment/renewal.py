"""When a node's own certificate is renewed, and how loud it is when that fails.

A certificate is due at one moment of its *window*, which begins at two thirds of its
life and ends 30 days before its end.  The moment is drawn from the certificate itself
(serial number and key), so that it is the same after each restart, needs no state, and
the nodes of a roll-out, which were all signed within an hour, come back spread over
months.  A short-lived certificate has the same window in small: the last tenth of its
life, where that is less than 30 days, is left to those who have to help.

Icinga's own rule is one fixed moment, 30 days before the end, for signer and node alike.
So an asking within the window is *early*: a real signer answers "nothing to do", and it
is asked again a day later, which costs nothing, until 30 days before the end.  An
Icefloe signer is told by `icefloe.renew` in the request that this is no mere
reconnecting; see `is_wanted_early`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.enrollment.commands import Level
from icefloe.enrollment.model import serial_text
from icefloe.pki.certificates import is_self_issued, key_id, serial_number
from icefloe.pki.trust import up_to_date
from icefloe.wire import params as read

DAY_SECONDS: Final = 86_400.0

RENEW: Final = "renew"
"""Key in a request's `icefloe` object: the serial number (hex) that is to be renewed
although it need not be yet.  Relays carry it on; real nodes ignore it."""

EARLIEST_SHARE: Final = 0.5
"""No signer renews a certificate in the first half of its life, whatever is asked: who
asks again and again gets two certificates a year, not two a second."""

TAIL_SHARE: Final = 0.1
"""Of a certificate's life: where this is less than `RenewalPolicy.ends_days`, the window
ends so long before the end."""

ALARM_AFTER_SECONDS: Final = DAY_SECONDS
"""A renewal that has not worked a day after it was due is an alarm."""

CRITICAL_SHARE: Final = 7 / 30
"""Of the time from the window's end to the certificate's: 7 days of 30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPolicy:
    """When own certificates are due, and which expired ones a signer renews.

    Attributes:
        begins_percent: of a certificate's life, when its window begins.
        ends_days: before its end, when its window ends.
        renew_expired_days: a signer renews, without a ticket, what expired no longer
            ago than that; 0: nothing.
    """

    begins_percent: int = 66
    ends_days: int = 30
    renew_expired_days: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """When a certificate is to be renewed.

    Attributes:
        begins: the earliest moment.
        due: the certificate's own one.
        closes: the latest one; from then on a failure is an error.
        critical: from then on it is critical.
        ends: the certificate ends.
    """

    begins: WallTime
    due: WallTime
    closes: WallTime
    critical: WallTime
    ends: WallTime


def window_of(certificate: x509.Certificate, policy: RenewalPolicy) -> Window:
    """Return the window of a certificate; its `due` lies evenly spread between both."""
    born = certificate.not_valid_before_utc.timestamp()
    ends = certificate.not_valid_after_utc.timestamp()
    life = max(ends - born, 0.0)
    tail = min(policy.ends_days * DAY_SECONDS, TAIL_SHARE * life)
    closes = ends - tail
    begins = min(born + life * policy.begins_percent / 100, closes)
    return Window(
        begins=WallTime(begins),
        due=WallTime(begins + _share_of(certificate) * (closes - begins)),
        closes=WallTime(closes),
        critical=WallTime(ends - CRITICAL_SHARE * tail),
        ends=WallTime(ends),
    )


def is_due(certificate: x509.Certificate, policy: RenewalPolicy, at: WallTime) -> bool:
    """Whether a node is to ask for its next certificate.

    Also one from before 2017, which Icinga renews however young it is.
    """
    if at >= window_of(certificate, policy).due:
        return True
    long_before_its_end = WallTime(certificate.not_valid_before_utc.timestamp())
    return not up_to_date(certificate, long_before_its_end) and not _is_short(
        certificate
    )


def alarm_level(window: Window, at: WallTime) -> Level | None:
    """How loud it is that a certificate has not been renewed; None: not yet an alarm."""
    if at >= window.critical:
        return Level.CRITICAL
    if at >= window.closes:
        return Level.ERROR
    if at >= window.due + ALARM_AFTER_SECONDS:
        return Level.WARNING
    return None


def asks_again_at(window: Window, at: WallTime) -> WallTime | None:
    """When to come back after "nothing to do"; None: it is time, and no excuse.

    A day later, and at the latest when real signers renew it, too.
    """
    if at >= window.closes:
        return None
    return WallTime(min(at + DAY_SECONDS, window.closes))


def days_left(certificate: x509.Certificate, at: WallTime) -> int:
    """Whole days until a certificate ends; negative when it has ended."""
    ends = certificate.not_valid_after_utc.timestamp()
    return int((ends - at) // DAY_SECONDS)


# -- what travels ----------------------------------------------------------------------


def wish_to_renew(certificate: x509.Certificate) -> Mapping[str, object] | None:
    """Return the `icefloe` object of a request to renew a certificate; None for a first.

    A relay makes it anew from the certificate it forwards: what is said says no more
    than who presents an issued certificate could have said.
    """
    if is_self_issued(certificate):
        return None
    return {RENEW: serial_text(serial_number(certificate))}


def is_wanted_early(
    certificate: x509.Certificate, facts: Mapping[str, object] | None, at: WallTime
) -> bool:
    """Whether a request asks to renew the presented certificate before it must be.

    Args:
        certificate: presented; signed by a CA that is trusted.
        facts: the request's `icefloe` object.
        at: now.

    Returns:
        False in the first half of its life.
    """
    if read.fact_text(facts, RENEW) != serial_text(serial_number(certificate)):
        return False
    born = certificate.not_valid_before_utc.timestamp()
    life = certificate.not_valid_after_utc.timestamp() - born
    return at >= born + EARLIEST_SHARE * life


# -- inside ------------------------------------------------------------------------------


def _share_of(certificate: x509.Certificate) -> float:
    """Return a number from 0 to 1 that follows from a certificate, evenly spread."""
    text = f"{serial_number(certificate):x}/{key_id(certificate)}"
    drawn = hashlib.sha256(text.encode()).digest()[:8]
    return int.from_bytes(drawn, "big") / 2.0**64


def _is_short(certificate: x509.Certificate) -> bool:
    """Whether it never had the 30 days that Icinga wants to be left."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return life.total_seconds() < 30 * DAY_SECONDS
