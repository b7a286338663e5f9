"""Which answers are owed, and what became of them."""

from __future__ import annotations

import pytest

from icefloe.enrollment import commands as cmd
from icefloe.enrollment.answers import parked, refused
from icefloe.enrollment.events import CallId, CertificateAsked, LinkId
from icefloe.enrollment.open_calls import OpenCalls, kind_of
from icefloe.enrollment.unrecorded import ledger_fault
from icefloe.wire.catalogue import RequestCertificate

LINK, OTHER = LinkId(1), LinkId(2)
SIGNED = {"status_code": 0, "cert": "..."}


def asking(link: LinkId = LINK, call: object | None = "x") -> CertificateAsked:
    given = CallId(call) if call is not None else None
    return CertificateAsked(link, given, RequestCertificate())


def answer_to(asked: CertificateAsked, result: dict[str, object]) -> cmd.Answer:
    assert asked.call is not None
    return cmd.Answer(asked.link, asked.call, result)


def test_two_calls_with_one_id_are_two_answers() -> None:
    calls, first, second = OpenCalls(), asking(), asking()
    calls.asked(first)
    calls.asked(second)
    assert len(calls) == 2
    calls.answered(answer_to(first, SIGNED))
    calls.answered(answer_to(first, SIGNED))
    assert calls.all() == [second]
    assert calls.is_owed(LINK)
    calls.answered(answer_to(second, SIGNED))
    assert not calls.is_owed(LINK)
    assert calls.told == {"answered": 2}


def test_who_asks_without_an_id_is_owed_nothing() -> None:
    calls = OpenCalls()
    calls.asked(asking(call=None))
    assert len(calls) == 0


def test_who_went_before_the_answer_is_owed_nothing_and_counted() -> None:
    calls, asked = OpenCalls(), asking()
    calls.asked(asked)
    calls.asked(asking(OTHER))
    calls.gone(LINK)
    assert [each.link for each in calls.all()] == [OTHER]
    assert not calls.is_open(answer_to(asked, SIGNED))
    calls.answered(answer_to(asked, SIGNED))
    assert calls.told == {"gone": 1}


@pytest.mark.parametrize(
    "result, kind",
    [
        (SIGNED, "answered"),
        ({"status_code": 1, "error": "no"}, "answered"),
        (parked("n", "ca", "").to_params(), "parked"),
        ({"status_code": 2}, "parked"),
        (refused(ledger_fault("n")).to_params(), "unrecorded"),
    ],
)
def test_what_an_answer_amounts_to(result: dict[str, object], kind: str) -> None:
    assert kind_of(answer_to(asking(), result)) == kind
