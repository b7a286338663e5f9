"""Asking a parent: every end of it is an `AskResult`, and none is a hang."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.node.fake_parent import (
    Asked,
    Behaviour,
    FakeParent,
    chats_first,
    cuts,
    fails,
    fake_parent,
    issue,
    pends,
    refuses,
    says,
    sends,
    signs,
    stays_silent,
)
from tests.node.tls.material import DAY, Authority, Node, key_pem, pem, self_signed

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.problems import Code, problem_of_result
from icefloe.enrollment.requester import AskResult, Came, Ended, Parent, Requester
from icefloe.node.acceptance import Applicant
from icefloe.node.client import (
    Asking,
    FetchFailed,
    Heard,
    Waiting,
    ask,
    enroll,
    fetch_certificate,
)
from icefloe.pki.certificates import fingerprint, key_id, load_pem, to_pem
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.identity import NodeIdentity
from icefloe.wire import netstring
from icefloe.wire.catalogue import HELLO
from icefloe.wire.jsonrpc import Notification

TIMEOUT = 10.0


class Clock:
    """The real one, for it has to agree with what OpenSSL and asyncio see."""

    def now(self) -> Now:
        return Now(wall=WallTime(time.time()), mono=MonotonicTime(time.monotonic()))


class Entropy:
    def bytes(self, count: int) -> bytes:
        return b"\x17" * count

    def uniform(self, low: float, high: float) -> float:
        del high
        return low


def identity_of(node: Node, ca: Authority | None = None) -> NodeIdentity:
    return NodeIdentity(
        key_pem=key_pem(node.key),
        certificate=node.certificate,
        certificate_pem=pem(node.certificate),
        ca_pem=None if ca is None else pem(ca.certificate),
    )


def newcomer(parent: FakeParent, **changes: Any) -> Applicant:
    applicant = Applicant(
        identity=identity_of(self_signed("agent1")), pins=(parent.certificate,)
    )
    return replace(applicant, **changes)


def asked_of(
    parent: FakeParent, applicant: Applicant | None = None, timeout_s: float = TIMEOUT
) -> AskResult:
    """Ask once and return what came."""
    return asyncio.run(
        ask(
            Parent("127.0.0.1", parent.port),
            applicant=applicant or newcomer(parent),
            timeout_s=timeout_s,
            clock=Clock(),
            entropy=Entropy(),
        )
    )


def answered(behaviour: Behaviour, **options: Any) -> AskResult:
    with fake_parent(behaviour, **options) as parent:
        return asked_of(parent)


# --- Answers --------------------------------------------------------------------------


def test_a_signed_certificate_is_taken_with_its_ca() -> None:
    with fake_parent(signs) as parent:
        applicant = newcomer(parent)
        result = asked_of(parent, applicant)
    assert result.came is Came.SIGNED
    assert key_id(load_pem(result.certificate)) == applicant.identity.key_id
    assert load_pem(result.ca) == parent.ca.certificate


def test_the_ticket_goes_along_and_nothing_shows_it() -> None:
    with fake_parent(signs) as parent:
        applicant = newcomer(parent, ticket="secret-ticket")
        asked_of(parent, applicant)
        assert parent.asked[0].ticket == "secret-ticket"
    assert "secret-ticket" not in repr(applicant)


def test_the_requester_introduces_itself_before_it_asks() -> None:
    with fake_parent(signs) as parent:
        asked_of(parent)
    hello, request = parent.heard
    assert isinstance(hello, Notification)
    assert hello.method == HELLO
    assert isinstance(hello.params, dict)
    assert hello.params["icefloe"]
    assert request is parent.asked[0].request


def test_the_presented_certificate_is_the_request() -> None:
    with fake_parent(signs) as parent:
        applicant = newcomer(parent)
        asked_of(parent, applicant)
    assert parent.asked[0].presented == applicant.identity.certificate


def test_a_pending_answer_brings_the_ca_and_what_the_parent_says() -> None:
    result = answered(pends)
    assert result.came is Came.PENDING
    assert result.detail == "Certificate request is pending."
    assert result.ca
    assert not result.icefloe


def test_a_status_that_nobody_knows_counts_as_pending() -> None:
    assert answered(says(status_code=7, error="so so")).came is Came.PENDING


def test_a_refusal_carries_the_facts_of_an_icefloe_node() -> None:
    result = answered(
        lambda asked: refuses(asked, hop="master1", reason="wrong-ticket")
    )
    assert result.came is Came.REFUSED
    assert result.facts == {"hop": "master1", "reason": "wrong-ticket"}
    assert result.icefloe
    assert not result.temporary


def test_a_refusal_for_now_is_temporary() -> None:
    result = answered(lambda asked: refuses(asked, reason="limit", retry_after=3))
    assert result.came is Came.REFUSED
    assert result.temporary


def test_the_ca_of_a_real_refusal_is_left_alone() -> None:
    result = answered(lambda asked: refuses(asked, ca=True))
    assert result.came is Came.REFUSED
    assert not result.ca


@pytest.mark.parametrize(
    "words, reason",
    [
        ("Invalid ticket for CN 'agent1'.", "wrong-ticket"),
        ("Ticket for CN agent1 declined by administrator.", "declined"),
        ("So so.", None),
    ],
)
def test_the_words_of_a_real_refusal_tell_its_reason(
    words: str, reason: str | None
) -> None:
    result = answered(says(status_code=1, error=words))
    assert result.came is Came.REFUSED
    assert result.facts.get("reason") == reason
    assert not result.icefloe


def test_nothing_to_do_is_told_from_a_refusal_by_an_icefloe_reason() -> None:
    result = answered(lambda asked: refuses(asked, reason="nothing-to-do"))
    assert result.came is Came.NOTHING_TO_DO


def test_nothing_to_do_is_told_from_a_refusal_of_a_real_node() -> None:
    """It sends neither CA nor fingerprint, and only about a signed certificate."""
    with fake_parent(refuses) as parent:
        assert asked_of(parent).came is Came.REFUSED
        member = identity_of(parent.ca.issue("agent1"), parent.ca)
        assert asked_of(parent, newcomer(parent, identity=member)).came is (
            Came.NOTHING_TO_DO
        )


def test_what_is_not_the_answer_is_passed_over() -> None:
    assert answered(chats_first(signs)).came is Came.SIGNED


def test_a_parents_hello_shows_what_it_is() -> None:
    assert answered(pends, says_hello=True).icefloe


def test_control_characters_in_a_parents_words_are_replaced() -> None:
    result = answered(says(status_code=1, error="no\x1b[2J\nway"))
    assert result.detail == "no\ufffd[2J way"


# --- No answer ------------------------------------------------------------------------


def test_a_close_without_an_answer_is_a_cut() -> None:
    result = answered(cuts)
    assert result.came is Came.CUT_OFF
    assert "closed the connection" in result.detail


def test_a_cut_still_brings_the_ca_that_the_handshake_showed() -> None:
    with fake_parent(cuts) as parent:
        assert load_pem(asked_of(parent).ca) == parent.ca.certificate


def test_a_cut_brings_no_ca_when_the_handshake_showed_none() -> None:
    assert answered(cuts, sends_ca=False).ca == ""


def test_a_silent_parent_is_given_up_and_closed_in_order() -> None:
    with fake_parent(stays_silent) as parent:
        started = time.monotonic()
        result = asked_of(parent, timeout_s=0.5)
        assert time.monotonic() - started < TIMEOUT
    assert result.came is Came.CUT_OFF
    assert "no answer" in result.detail
    assert parent.closed_in_order == 1


def test_an_answered_connection_is_closed_in_order() -> None:
    with fake_parent(says(status_code=1, error="no")) as parent:
        asked_of(parent)
    assert parent.closed_in_order == 1


def test_a_top_level_error_is_not_an_answer() -> None:
    result = answered(fails)
    assert result.came is Came.INVALID
    assert "handler exception" in result.detail


@pytest.mark.parametrize(
    "data",
    [b"garbage", b"5:abcde,", b"999999999:x", netstring.encode(b"[1,2]")],
    ids=["no netstring", "no JSON", "too long", "no object"],
)
def test_bytes_that_are_no_message_are_not_an_answer(data: bytes) -> None:
    result = answered(sends(data))
    assert result.came is Came.INVALID
    assert "no message" in result.detail


@pytest.mark.parametrize(
    "result",
    [{}, {"status_code": 0}, {"status_code": "x"}, {"cert": 5}, {"status_code": 2.5}],
    ids=str,
)
def test_a_result_without_its_fields_is_not_an_answer(result: dict[str, Any]) -> None:
    assert answered(says(**result)).came is Came.INVALID


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = asyncio.run(
        ask(
            Parent("127.0.0.1", port),
            applicant=Applicant(identity=identity_of(self_signed())),
            timeout_s=TIMEOUT,
            clock=Clock(),
            entropy=Entropy(),
        )
    )
    assert result.came is Came.UNREACHABLE
    assert str(port) in result.detail


def test_a_peer_that_never_shakes_hands_is_unreachable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        result = asyncio.run(
            ask(
                Parent("127.0.0.1", server.getsockname()[1]),
                applicant=Applicant(identity=identity_of(self_signed())),
                timeout_s=0.3,
                clock=Clock(),
                entropy=Entropy(),
            )
        )
    assert result.came is Came.UNREACHABLE
    assert time.monotonic() - started < TIMEOUT


# --- Whom to trust --------------------------------------------------------------------


def test_a_parent_that_is_not_the_pinned_one_never_sees_the_ticket() -> None:
    with fake_parent(signs) as parent:
        pins = (parent.ca.issue("parent1").certificate,)
        result = asked_of(parent, newcomer(parent, pins=pins, ticket="secret"))
    assert result.came is Came.UNTRUSTED
    assert "pki save-cert" in result.detail
    assert parent.heard == []


def test_one_of_several_pins_is_enough() -> None:
    with fake_parent(signs) as parent:
        pins = (parent.ca.issue("parent2").certificate, parent.certificate)
        assert asked_of(parent, newcomer(parent, pins=pins)).came is Came.SIGNED


def test_a_member_of_the_trusted_ca_with_the_right_name_needs_no_pin() -> None:
    with fake_parent(signs) as parent:
        anchor = TrustAnchor.from_pem(pem(parent.ca.certificate))
        applicant = newcomer(
            parent, pins=(), anchor=anchor, names=frozenset({"parent1"})
        )
        assert asked_of(parent, applicant).came is Came.SIGNED


def test_a_member_of_another_name_never_sees_the_ticket() -> None:
    """Every agent has a certificate of that CA."""
    with fake_parent(signs, name="agent7") as parent:
        anchor = TrustAnchor.from_pem(pem(parent.ca.certificate))
        applicant = newcomer(
            parent, pins=(), anchor=anchor, names=frozenset({"parent1"})
        )
        result = asked_of(parent, applicant)
    assert result.came is Came.UNTRUSTED
    assert "agent7" in result.detail
    assert parent.heard == []


def test_a_stranger_to_the_trusted_ca_never_sees_the_ticket() -> None:
    with fake_parent(signs) as parent:
        anchor = TrustAnchor.from_pem(pem(Authority().certificate))
        result = asked_of(parent, newcomer(parent, pins=(), anchor=anchor))
    assert result.came is Came.UNTRUSTED
    assert parent.heard == []


def test_without_a_pin_or_a_ca_nobody_is_asked() -> None:
    with fake_parent(signs) as parent:
        assert asked_of(parent, newcomer(parent, pins=())).came is Came.UNTRUSTED
    assert parent.heard == []


def test_a_pinned_parent_of_another_ca_than_ours_is_not_asked() -> None:
    with fake_parent(signs) as parent:
        anchor = TrustAnchor.from_pem(pem(Authority().certificate))
        result = asked_of(parent, newcomer(parent, anchor=anchor))
    assert result.came is Came.UNTRUSTED
    assert "ca.crt" in result.detail
    assert "move ca.crt away" in result.detail
    assert parent.heard == []


def test_a_pinned_parent_that_waits_for_its_own_certificate_is_asked() -> None:
    with fake_parent(
        lambda asked: pends(asked, ca=False), node=self_signed("parent1")
    ) as parent:
        result = asked_of(parent)
    assert result.came is Came.PENDING
    assert result.ca == ""


def test_a_ca_that_did_not_issue_the_pinned_certificate_is_not_believed() -> None:
    other = Authority()
    result = answered(lambda asked: signs(asked, by=other))
    assert result.came is Came.INVALID
    assert not result.ca


def test_a_pending_answer_with_a_foreign_ca_is_not_believed() -> None:
    foreign = to_pem(Authority().certificate)
    result = answered(says(status_code=2, error="wait", ca=foreign))
    assert result.came is Came.INVALID
    assert not result.ca


@pytest.mark.parametrize("status", [0, 2])
def test_a_ca_in_front_of_the_parents_own_is_not_believed(status: int) -> None:
    """Only the first certificate is installed, so only the first one counts."""
    evil = Authority()

    def plants(asked: Asked) -> None:
        asked.answer(
            status_code=status,
            cert=to_pem(issue(evil, asked.presented)) if status == 0 else "",
            error="" if status == 0 else "wait",
            ca=to_pem(evil.certificate) + to_pem(asked.parent.ca.certificate),
            fingerprint_request=fingerprint(asked.presented),
        )
        asked.close()

    result = answered(plants)
    assert result.came is Came.INVALID
    assert not result.ca


def test_a_renewed_ca_of_the_same_key_is_believed() -> None:
    with fake_parent() as parent:
        renewed = to_pem(parent.ca.renewed())

        def signs_under_renewed(asked: Any) -> None:
            cert = to_pem(issue(parent.ca, asked.presented))
            asked.answer(status_code=0, cert=cert, ca=renewed)

        parent.behaviours = [signs_under_renewed]
        anchor = TrustAnchor.from_pem(pem(parent.ca.certificate))
        result = asked_of(parent, newcomer(parent, anchor=anchor))
    assert result.came is Came.SIGNED
    assert result.ca == renewed


# --- What is installed ----------------------------------------------------------------


def lies_with(make: Any) -> Behaviour:
    """Answer "signed" with a certificate that is not what was asked for."""

    def behave(asked: Any) -> None:
        asked.answer(
            status_code=0,
            cert=to_pem(make(asked)),
            ca=to_pem(asked.parent.ca.certificate),
        )

    return behave


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda asked: asked.parent.ca.issue("agent1").certificate, "another key"),
        (lambda asked: issue(asked.parent.ca, asked.presented, "other"), "other"),
        (lambda asked: issue(Authority(), asked.presented), "signature"),
        (lambda asked: asked.presented, "issued by"),
        (lambda asked: asked.parent.ca.certificate, "another key"),
    ],
    ids=["another key", "another name", "another CA", "the request itself", "the CA"],
)
def test_a_certificate_that_is_not_ours_is_not_taken(make: Any, why: str) -> None:
    result = answered(lies_with(make))
    assert result.came is Came.INVALID
    assert why in result.detail
    assert not result.certificate


def test_a_certificate_that_cannot_be_read_is_not_taken() -> None:
    assert answered(says(status_code=0, cert="no PEM")).came is Came.INVALID


def test_a_certificate_without_any_ca_is_not_taken() -> None:
    def behave(asked: Any) -> None:
        asked.answer(
            status_code=0, cert=to_pem(issue(asked.parent.ca, asked.presented))
        )

    result = answered(behave)
    assert result.came is Came.INVALID
    assert "without its CA" in result.detail


# --- Asking until it is decided -------------------------------------------------------


def enrolled(
    parents: list[FakeParent] | list[Parent],
    applicant: Applicant,
    wait: float = TIMEOUT,
) -> tuple[Ended, list[Asking | Heard | Waiting]]:
    clock, told = Clock(), list[Asking | Heard | Waiting]()
    whom = [
        each if isinstance(each, Parent) else Parent("127.0.0.1", each.port)
        for each in parents
    ]
    requester = Requester(whom, now=clock.now(), wait=wait)
    ended = asyncio.run(
        enroll(
            requester,
            applicant=applicant,
            clock=clock,
            entropy=Entropy(),
            progress=told.append,
        )
    )
    return ended, told


def test_a_cut_and_a_pending_answer_are_asked_again_with_the_same_key() -> None:
    with fake_parent(cuts, pends, signs) as parent:
        ended, told = enrolled([parent], newcomer(parent))
    assert ended.outcome.came is Came.SIGNED
    assert ended.asks == 3
    assert len({asked.presented for asked in parent.asked}) == 1
    came = [event.result.came for event in told if isinstance(event, Heard)]
    assert came == [Came.CUT_OFF, Came.PENDING, Came.SIGNED]
    assert sum(isinstance(event, Asking) for event in told) == 3
    assert any(isinstance(event, Waiting) for event in told)


def test_a_refusal_ends_it_at_once() -> None:
    with fake_parent(refuses) as parent:
        ended, _ = enrolled([parent], newcomer(parent))
    assert ended.outcome.came is Came.REFUSED
    assert len(parent.asked) == 1


def test_without_waiting_the_first_pending_answer_ends_it() -> None:
    with fake_parent(pends) as parent:
        ended, _ = enrolled([parent], newcomer(parent), wait=0.0)
    assert ended.outcome.came is Came.PENDING
    assert len(parent.asked) == 1


def test_the_second_parent_is_asked_when_the_first_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        down = Parent("127.0.0.1", server.getsockname()[1])
    with fake_parent(signs) as parent:
        up = Parent("127.0.0.1", parent.port)
        ended, _ = enrolled([down, up], newcomer(parent))
    assert ended.outcome.came is Came.SIGNED
    assert ended.parent == up


# --- Fetching a certificate -----------------------------------------------------------


def test_the_certificate_of_a_peer_is_fetched_with_its_chain() -> None:
    with fake_parent() as parent:
        fetched = asyncio.run(fetch_certificate("127.0.0.1", parent.port))
    assert fetched.leaf == parent.certificate
    assert fetched.chain == (parent.ca.certificate,)
    assert parent.heard == []
    assert parent.closed_in_order == 1


def test_fetching_from_nobody_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(FetchFailed, match=str(port)):
        asyncio.run(fetch_certificate("127.0.0.1", port))


@pytest.fixture
def plain_server() -> Iterator[int]:
    """Return the port of somebody who does not speak TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP\r\n")
                connection.settimeout(TIMEOUT)
                while connection.recv(1024):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(TIMEOUT)


def test_fetching_from_a_port_that_speaks_no_tls_says_so(plain_server: int) -> None:
    with pytest.raises(FetchFailed, match="handshake"):
        asyncio.run(fetch_certificate("127.0.0.1", plain_server))


# --- The code of what went wrong ------------------------------------------------------


def asked_at(host: str, port: int) -> AskResult:
    """Ask somebody who is pinned and cannot be had."""
    pin = self_signed("parent1").certificate
    applicant = Applicant(identity=identity_of(self_signed("agent1")), pins=(pin,))
    return asyncio.run(
        ask(
            Parent(host, port),
            applicant=applicant,
            timeout_s=TIMEOUT,
            clock=Clock(),
            entropy=Entropy(),
        )
    )


def test_a_name_without_an_address_has_a_code_of_its_own() -> None:
    result = asked_at("no-such-host.invalid", 5665)
    assert (result.came, result.code) == (Came.UNREACHABLE, Code.NAME_NOT_RESOLVED)


def test_a_closed_port_is_unreachable_although_the_name_resolves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = asked_at("localhost", port)
    assert (result.came, result.code) == (Came.UNREACHABLE, Code.UNREACHABLE)


def test_a_port_that_is_none_is_no_trouble_of_the_name() -> None:
    assert asked_at("localhost", 0).code == Code.UNREACHABLE


def test_who_answers_without_tls_has_a_code_of_its_own(plain_server: int) -> None:
    result = asked_at("127.0.0.1", plain_server)
    assert (result.came, result.code) == (Came.UNREACHABLE, Code.TLS_FAILED)


def test_a_parent_that_is_not_pinned_mismatches() -> None:
    with fake_parent(signs) as parent:
        pins = (self_signed("parent1").certificate,)
        result = asked_of(parent, newcomer(parent, pins=pins))
    assert result.code == Code.TRUST_MISMATCH


def test_without_pin_and_ca_trust_is_missing() -> None:
    with fake_parent(signs) as parent:
        result = asked_of(parent, newcomer(parent, pins=()))
    assert (result.came, result.code) == (Came.UNTRUSTED, Code.TRUST_MISSING)


@pytest.mark.parametrize("apart", [-3, 3], ids=["behind", "ahead"])
def test_a_clock_years_apart_is_told_from_a_certificate_that_is_wrong(
    apart: int,
) -> None:
    class Wrong(Clock):
        def now(self) -> Now:
            real = super().now()
            return replace(real, wall=WallTime(real.wall + apart * 365 * 86_400))

    with fake_parent(signs) as parent:
        result = asyncio.run(
            ask(
                Parent("127.0.0.1", parent.port),
                applicant=newcomer(parent),
                timeout_s=TIMEOUT,
                clock=Wrong(),
                entropy=Entropy(),
            )
        )
    assert (result.came, result.code) == (Came.INVALID, Code.CLOCK_WRONG)
    assert not result.certificate


def test_a_member_parent_seen_by_a_wrong_clock_is_a_matter_of_the_clock() -> None:
    ca = Authority()
    late = ca.issue("parent1", starts=10 * DAY, ends=20 * DAY)
    with fake_parent(signs, ca=ca, node=late) as parent:
        anchor = TrustAnchor.from_pem(pem(ca.certificate))
        applicant = newcomer(
            parent, pins=(), anchor=anchor, names=frozenset({"parent1"})
        )
        result = asked_of(parent, applicant)
        other = replace(applicant, names=frozenset({"parent2"}))
        named = asked_of(parent, other)
    assert (result.came, result.code) == (Came.UNTRUSTED, Code.CLOCK_WRONG)
    assert named.code == Code.TRUST_MISMATCH, "a name does not depend on the time"


def test_a_certificate_of_another_ca_is_invalid_and_no_matter_of_the_clock() -> None:
    with fake_parent(lambda asked: signs(asked, by=Authority())) as parent:
        result = asked_of(parent)
    assert (result.came, result.code) == (Came.INVALID, Code.INVALID_CERTIFICATE)


@pytest.mark.parametrize(
    "behaviour", [fails, sends(b"no netstring"), says(status_code="odd")]
)
def test_an_answer_that_is_none_has_a_code_of_its_own(behaviour: Behaviour) -> None:
    result = answered(behaviour)
    assert (result.came, result.code) == (Came.INVALID, Code.INVALID_ANSWER)


def test_a_parent_cannot_name_our_code() -> None:
    """`facts` are a peer's words; `code` is ours."""
    result = answered(lambda asked: refuses(asked, reason="disk-full", code="signed"))
    assert result.code == ""
    assert problem_of_result(result).code == "refused-by-parent"
