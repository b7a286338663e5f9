"""The rows of the table in `icefloe.habits.judgement`, with and without a CA key."""

from __future__ import annotations

import pytest
from tests.habits.world import (
    NOW,
    TICKET,
    FakeAuthority,
    fingerprint,
    root,
    self_signed,
    signed,
)

from icefloe.habits import Authority, habits_of
from icefloe.habits.judgement import Asked, Judgement, Verdict, judge
from icefloe.habits.stored import RequestStore, StoredRequest
from icefloe.pki import certificates

CA = root(since_days=-400)
NEW = self_signed("agent1")


def judged(
    pem: str,
    *,
    ticket: str = "",
    old_root: str = "",
    store: RequestStore | None = None,
    authority: Authority | None = None,
    version: str = "2.14.5",
    ca: str = CA,
) -> Judgement:
    asked = Asked(
        certificate=certificates.load_pem(pem) if pem else None,
        ticket=ticket,
        root=old_root,
    )
    return judge(
        asked,
        ca=ca,
        store=store or RequestStore(),
        authority=authority,
        habits=habits_of(version),
        now=NOW.wall,
    )


def stored(*, answer: str = "", is_removed: bool = False) -> RequestStore:
    store = RequestStore()
    request = StoredRequest(
        fingerprint=fingerprint(NEW),
        cert_request=NEW,
        ticket="",
        requestor_ca="",
        written_at=NOW.wall,
    )
    store.put(request)
    if answer:
        store.answer(request.fingerprint, certificate=answer, at=NOW.wall)
    if is_removed:
        store.remove(request.fingerprint)
    return store


@pytest.mark.parametrize("authority", [None, FakeAuthority()])
class TestAtAnyNode:
    def test_nothing_to_sign_is_an_error(self, authority: Authority | None) -> None:
        verdict = judged("", authority=authority)
        assert verdict == Judgement(verdict=Verdict.NO_CERTIFICATE)

    def test_a_current_certificate_needs_nothing(
        self, authority: Authority | None
    ) -> None:
        verdict = judged(signed("agent1"), ticket=TICKET, authority=authority)
        assert verdict == Judgement(verdict=Verdict.NOTHING_TO_DO)

    def test_a_stored_answer_is_given_out_to_anyone(
        self, authority: Authority | None
    ) -> None:
        verdict = judged(
            NEW, ticket="wrong", store=stored(answer="CERT"), authority=authority
        )
        assert verdict == Judgement(
            verdict=Verdict.SIGNED, fingerprint=fingerprint(NEW), certificate="CERT"
        )

    def test_a_removed_request_is_refused_even_with_a_ticket(
        self, authority: Authority | None
    ) -> None:
        verdict = judged(
            NEW, ticket=TICKET, store=stored(is_removed=True), authority=authority
        )
        assert verdict == Judgement(
            verdict=Verdict.REMOVED, fingerprint=fingerprint(NEW)
        )

    def test_a_stored_request_hides_that_it_was_removed_before(
        self, authority: Authority | None
    ) -> None:
        store = stored(is_removed=True)
        for request in stored().waiting():
            store.put(request)
        verdict = judged(NEW, store=store, authority=authority)
        assert verdict.verdict is Verdict.PENDING


@pytest.mark.parametrize("ticket", ["", TICKET, "wrong"])
def test_without_a_key_everything_else_is_pending(ticket: str) -> None:
    verdict = judged(NEW, ticket=ticket)
    assert verdict == Judgement(verdict=Verdict.PENDING, fingerprint=fingerprint(NEW))


def test_without_a_key_a_renewal_is_pending_too() -> None:
    assert judged(signed("agent1", days=29)).verdict is Verdict.PENDING


def test_a_signer_refuses_a_wrong_ticket() -> None:
    verdict = judged(NEW, ticket="wrong", authority=FakeAuthority())
    assert verdict == Judgement(
        verdict=Verdict.BAD_TICKET, fingerprint=fingerprint(NEW)
    )


def test_a_signer_lets_a_request_without_a_ticket_wait() -> None:
    assert judged(NEW, authority=FakeAuthority()).verdict is Verdict.PENDING


def test_a_signer_without_a_salt_lets_every_ticket_wait() -> None:
    verdict = judged(NEW, ticket=TICKET, authority=FakeAuthority(has_salt=False))
    assert verdict.verdict is Verdict.PENDING


def test_a_signer_signs_anew_for_a_valid_ticket_each_time() -> None:
    authority = FakeAuthority()
    serials = set()
    for _ask in range(2):
        verdict = judged(NEW, ticket=TICKET, authority=authority)
        assert verdict.verdict is Verdict.SIGNED
        assert verdict.fingerprint == fingerprint(NEW)
        serials.add(certificates.load_pem(verdict.certificate).serial_number)
    assert len(serials) == 2


def test_a_signer_renews_without_a_ticket() -> None:
    due = signed("agent1", days=29)
    verdict = judged(due, authority=FakeAuthority())
    assert verdict.verdict is Verdict.SIGNED
    assert verdict.fingerprint == fingerprint(due)


def test_an_expired_certificate_is_as_good_as_none() -> None:
    """Protocol 6.3: it does not verify, so it becomes pending."""
    expired = signed("agent1", days=-1)
    assert judged(expired, authority=FakeAuthority()).verdict is Verdict.PENDING


class TestANewRoot:
    """A current leaf under an old root gets the new one, where that is known."""

    old = root(days=396, since_days=-400)

    def verdict(self, *, old_root: str, version: str) -> Verdict:
        return judged(signed("agent1"), old_root=old_root, version=version).verdict

    def test_reaches_a_node_whose_root_ends_within_a_year(self) -> None:
        assert self.verdict(old_root=self.old, version="2.14.5") is Verdict.PENDING

    def test_is_not_known_to_2_13_6(self) -> None:
        outcome = self.verdict(old_root=self.old, version="2.13.6")
        assert outcome is Verdict.NOTHING_TO_DO

    @pytest.mark.parametrize("known", ["", "rubbish", CA])
    def test_is_not_sent_without_need(self, known: str) -> None:
        outcome = self.verdict(old_root=known, version="2.14.5")
        assert outcome is Verdict.NOTHING_TO_DO


def test_what_is_judged_does_not_show_its_ticket() -> None:
    asked = Asked(certificate=None, ticket="secret", root="")
    assert "secret" not in repr(asked)
