"""One `icinga2 pki request`: what it came to, told by its files and its words.

icinga2 ends with 0 for a certificate and for a request that is pending; which of the
two tells the certificate's file.  Its other ends have words and no codes.

Source: icinga2 2.13.6, by running it.
"""

import re
from typing import NamedTuple

from ansible_collections.icefloe.icefloe.plugins.module_utils.program import Ran

_WORDS = re.compile(r"!!! (.+)")
_NO_ANSWER = "Could not fetch valid response"
_NO_CONNECTION = "Cannot connect to host"
_TICKET = ("Invalid ticket", "the ticket is not valid for this name")
_DECLINED = "declined"

KILLED = -9
"""SIGKILL: it was given up, since `icinga2 pki request` itself waits for ever."""

FINAL = frozenset({"wrong-ticket", "declined"})
"""Answers that asking again does not change."""


class Came(NamedTuple):
    """What one request came to.

    Attributes:
        code: One of Icefloe's codes; "signed" only says that there is a certificate.
        detail: What was said.
    """

    code: str
    detail: str


def judge(ran: Ran, where: str, *, is_new: bool) -> Came:
    """Say what one run came to.

    Args:
        ran: How it ended.
        where: The parent that was asked.
        is_new: Whether it has written a certificate that is not the request.
    """
    words = " ".join(_WORDS.findall(ran.said)).strip("! ")
    if ran.code == 0:
        if is_new:
            return Came("signed", f"signed by way of {where}")
        return Came("pending", words or f"{where} keeps the request")
    if words:
        return Came(_refusal(words), f"{where} refused: {words}")
    if ran.code == KILLED:
        return Came("cut-off", f"{where} has not answered in time")
    if _NO_ANSWER in ran.said:
        said = f"{where} ended the connection without an answer that can be used"
        return Came("cut-off", said)
    if _NO_CONNECTION in ran.said:
        return Came("unreachable", f"{where} cannot be reached")
    if "certificate" in ran.said.lower() and "match" in ran.said.lower():
        return Came("trust-mismatch", f"{where}: {ran.said}")
    said = f"'icinga2 pki request' ended with {ran.code}: {ran.said}"
    return Came("other-trouble", said)


def _refusal(words: str) -> str:
    if any(each in words for each in _TICKET):
        return "wrong-ticket"
    if _DECLINED in words:
        return "declined"
    return "refused-by-parent"
