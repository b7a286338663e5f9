"""One node: its links, its messages, and the tables of the protocol."""

from __future__ import annotations

import pytest
from tests.habits.world import (
    CALL,
    DOWN,
    NOW,
    OTHER,
    PEER,
    TICKET,
    UP,
    FakeAuthority,
    fingerprint,
    identity,
    later,
    master,
    root,
    satellite,
    self_signed,
    signed,
)

from icefloe.cluster.zones import Relation
from icefloe.doors import MonotonicTime
from icefloe.enrollment.events import LinkId
from icefloe.habits import (
    HABITS,
    AfterPending,
    CloseAt,
    CloseCut,
    CloseFlushed,
    Dial,
    Effect,
    HabitualAgent,
    HabitualNode,
    Identity,
    InstallIdentity,
    Notify,
    Reply,
    ReplyError,
    habits_of,
)
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    UPDATE_CERTIFICATE,
    CertificateResult,
    RequestCertificate,
    UpdateCertificate,
)

CA = root(since_days=-400)
NEW = self_signed("agent1")
VERSIONS = list(HABITS)


def closing(version: str, link: LinkId) -> Effect:
    """Return how a release closes a link."""
    drops = habits_of(version).close_drops_queue
    return CloseCut(link) if drops else CloseFlushed(link)


def ask(
    node: HabitualNode, link: LinkId = DOWN, *, ticket: str = TICKET
) -> list[Effect]:
    """Ask as `pki request` does: with an id, for what TLS has shown."""
    return node.on_request(
        link,
        call=CALL,
        params=RequestCertificate(ticket=ticket),
        presented=NEW,
        now=NOW,
    )


def result_in(effects: list[Effect]) -> CertificateResult:
    """Return the one answer among effects."""
    (reply,) = (effect for effect in effects if isinstance(effect, Reply))
    return CertificateResult.parse(reply.result)


@pytest.mark.parametrize("version", VERSIONS)
class TestAPendingOutcome:
    """Protocol 6.9, for an anonymous requester at a satellite."""

    def test_is_stored_and_forwarded_without_an_id_before_anything_else(
        self, version: str
    ) -> None:
        node = satellite(version)
        node.on_member_up(UP, name="master1", relation=Relation.PARENT)
        node.on_anonymous_up(DOWN, now=NOW)
        first = ask(node)[0]
        assert first == Notify(
            UP,
            REQUEST_CERTIFICATE,
            {"cert_request": NEW, "ticket": TICKET},
            ts=NOW.wall,
        )
        assert [request.fingerprint for request in node.requests.waiting()] == [
            fingerprint(NEW)
        ]

    def test_is_answered_and_the_link_treated_as_the_release_does(
        self, version: str
    ) -> None:
        node = satellite(version)
        assert node.on_anonymous_up(DOWN, now=NOW) == [
            CloseAt(DOWN, MonotonicTime(NOW.mono + 10.0))
        ]
        effects = ask(node)
        match habits_of(version).after_pending:
            case AfterPending.CUT:
                assert effects == [CloseCut(DOWN)]
            case AfterPending.REPLY_THEN_CLOSE:
                assert effects[1:] == [CloseFlushed(DOWN)]
            case AfterPending.REPLY_AND_STAY:
                assert len(effects) == 1
        if effects != [CloseCut(DOWN)]:
            assert result_in(effects) == CertificateResult(
                status_code=2,
                ca=CA,
                error="The request is pending: it waits for approval.",
                fingerprint_request=fingerprint(NEW),
            )

    def test_of_a_member_is_answered_and_the_link_stays(self, version: str) -> None:
        node = satellite(version)
        node.on_member_up(DOWN, name="agent1", relation=Relation.CHILD)
        effects = ask(node)
        assert result_in(effects).status_code == 2
        assert len(effects) == 1

    def test_without_an_id_is_not_answered_but_the_link_is_treated_alike(
        self, version: str
    ) -> None:
        node = satellite(version)
        node.on_anonymous_up(DOWN, now=NOW)
        effects = node.on_request(
            DOWN, call=None, params=RequestCertificate(), presented=NEW, now=NOW
        )
        stays = habits_of(version).after_pending is AfterPending.REPLY_AND_STAY
        assert effects == ([] if stays else [closing(version, DOWN)])

    def test_is_the_same_at_a_signer_without_a_ticket(self, version: str) -> None:
        """Also in 2.14.4, contrary to its changelog (checked by running)."""
        node = master(version)
        node.on_anonymous_up(DOWN, now=NOW)
        effects = ask(node, ticket="")
        cut = habits_of(version).after_pending is AfterPending.CUT
        assert (effects == [CloseCut(DOWN)]) == cut


@pytest.mark.parametrize("version", VERSIONS)
class TestOtherOutcomes:
    """Identical in all releases; the link lives until its 10 s are over."""

    def test_signed_is_answered_and_delivered_and_nothing_is_stored(
        self, version: str
    ) -> None:
        node = master(version)
        node.on_anonymous_up(DOWN, now=NOW)
        reply, update = ask(node)
        assert isinstance(reply, Reply)
        assert isinstance(update, Notify)
        assert (update.link, update.method, update.ts) == (
            DOWN,
            UPDATE_CERTIFICATE,
            None,
        )
        assert update.params == reply.result
        result = result_in([reply])
        assert (result.status_code, result.ca, result.error) == (0, CA, "")
        assert result.fingerprint_request == fingerprint(NEW)
        assert node.requests.get(fingerprint(NEW)) is None

    def test_signed_without_an_id_is_only_delivered(self, version: str) -> None:
        node = master(version)
        node.on_member_up(DOWN, name="satellite1", relation=Relation.CHILD)
        (update,) = node.on_request(
            DOWN,
            call=None,
            params=RequestCertificate(ticket=TICKET, cert_request=NEW),
            presented=signed("satellite1", key_number=20),
            now=NOW,
        )
        assert isinstance(update, Notify)
        assert update.method == UPDATE_CERTIFICATE

    def test_a_wrong_ticket_is_refused_with_the_root(self, version: str) -> None:
        node = master(version)
        node.on_anonymous_up(DOWN, now=NOW)
        (reply,) = ask(node, ticket="wrong")
        result = result_in([reply])
        assert (result.status_code, result.ca) == (1, CA)
        assert result.fingerprint_request == fingerprint(NEW)
        assert node.requests.get(fingerprint(NEW)) is None

    def test_a_wrong_ticket_without_an_id_is_silence(self, version: str) -> None:
        """The reason why no refusal travels through a satellite."""
        node = master(version)
        node.on_member_up(DOWN, name="satellite1", relation=Relation.CHILD)
        effects = node.on_request(
            DOWN,
            call=None,
            params=RequestCertificate(ticket="wrong", cert_request=NEW),
            presented="",
            now=NOW,
        )
        assert effects == []

    def test_nothing_to_do_carries_no_root(self, version: str) -> None:
        node = master(version)
        node.on_member_up(DOWN, name="agent1", relation=Relation.CHILD)
        (reply,) = node.on_request(
            DOWN,
            call=CALL,
            params=RequestCertificate(),
            presented=signed("agent1"),
            now=NOW,
        )
        result = result_in([reply])
        assert (result.status_code, result.ca, result.fingerprint_request) == (
            1,
            "",
            "",
        )

    def test_no_certificate_carries_no_root(self, version: str) -> None:
        node = master(version)
        node.on_anonymous_up(DOWN, now=NOW)
        effects = node.on_request(
            DOWN, call=CALL, params=RequestCertificate(), presented="", now=NOW
        )
        result = result_in(effects)
        assert (result.status_code, result.ca) == (1, "")

    def test_removed_carries_the_root(self, version: str) -> None:
        node = master(version)
        node.on_member_up(DOWN, name="satellite1", relation=Relation.CHILD)
        ask(node, ticket="")
        assert node.requests.remove(fingerprint(NEW))
        (reply,) = ask(node)
        result = result_in([reply])
        assert (result.status_code, result.ca) == (1, CA)

    def test_a_request_that_cannot_be_read_is_an_exception(self, version: str) -> None:
        node = satellite(version)
        node.on_anonymous_up(DOWN, now=NOW)
        params = RequestCertificate(cert_request="rubbish")
        (reply,) = node.on_request(
            DOWN, call=CALL, params=params, presented=NEW, now=NOW
        )
        assert isinstance(reply, ReplyError)
        assert (
            node.on_request(DOWN, call=None, params=params, presented=NEW, now=NOW)
            == []
        )

    def test_a_signer_that_cannot_sign_answers_with_an_exception(
        self, version: str
    ) -> None:
        node = master(version, FakeAuthority(is_broken=True))
        node.on_anonymous_up(DOWN, now=NOW)
        assert ask(node) == [ReplyError(DOWN, CALL, "Error: no key")]


class TestForwarding:
    def test_happens_again_at_each_ask_with_the_newest_ticket(self) -> None:
        node = satellite("2.14.5")
        node.on_member_up(UP, name="master1", relation=Relation.PARENT)
        node.on_anonymous_up(DOWN, now=NOW)
        sent = [ask(node, ticket=ticket)[0] for ticket in ("one", "")]
        assert [
            effect.params["ticket"] for effect in sent if isinstance(effect, Notify)
        ] == ["one", ""]
        assert len(list(node.requests.waiting())) == 1

    def test_ends_once_there_is_an_answer(self) -> None:
        node = satellite("2.14.5")
        node.on_member_up(UP, name="master1", relation=Relation.PARENT)
        node.on_anonymous_up(DOWN, now=NOW)
        ask(node)
        certificate = signed("agent1")
        params = UpdateCertificate(
            cert=certificate, ca="other", fingerprint_request=fingerprint(NEW)
        )
        assert node.on_update(UP, params=params, now=NOW) == []
        reply, update = ask(node)
        result = result_in([reply])
        assert result.cert == certificate
        assert result.ca == CA, "a satellite hands out its own root"
        assert isinstance(update, Notify)
        assert update.method == UPDATE_CERTIFICATE

    def test_carries_the_requesters_root_where_it_is_known(self) -> None:
        old = root(days=396, since_days=-400)
        for version, expected in (("2.14.3", old), ("2.13.6", None)):
            node = satellite(version)
            node.on_member_up(UP, name="master1", relation=Relation.PARENT)
            node.on_member_up(DOWN, name="below", relation=Relation.CHILD)
            params = RequestCertificate(cert_request=NEW, requestor_ca=old)
            (sent,) = node.on_request(
                DOWN, call=None, params=params, presented="", now=NOW
            )
            assert isinstance(sent, Notify)
            assert sent.params.get("requestor_ca") == expected

    def test_takes_the_root_from_tls_when_a_node_asks_for_itself(self) -> None:
        old = root(days=396, since_days=-400)
        node = satellite("2.14.5")
        node.on_member_up(UP, name="master1", relation=Relation.PARENT)
        node.on_member_up(DOWN, name="agent1", relation=Relation.CHILD)
        (sent,) = node.on_request(
            DOWN,
            call=None,
            params=RequestCertificate(),
            presented=signed("agent1"),
            presented_root=old,
            now=NOW,
        )
        assert isinstance(sent, Notify)
        assert sent.params["requestor_ca"] == old


class TestSessionStart:
    def test_asks_a_parent_for_itself_and_for_all_that_wait(self) -> None:
        node = satellite("2.13.6")
        node.on_anonymous_up(DOWN, now=NOW)
        ask(node)
        assert node.on_member_up(UP, name="master1", relation=Relation.PARENT) == [
            Notify(UP, REQUEST_CERTIFICATE, {"ticket": ""}),
            Notify(UP, REQUEST_CERTIFICATE, {"ticket": TICKET, "cert_request": NEW}),
        ]

    @pytest.mark.parametrize(
        "relation, has_parent, asks",
        [
            (Relation.PARENT, True, True),
            (Relation.SAME_ZONE, True, False),
            (Relation.SAME_ZONE, False, True),
            (Relation.CHILD, True, False),
            (Relation.ANCESTOR, True, False),
        ],
    )
    def test_asks_only_a_parent_or_a_peer_at_the_top(
        self, relation: Relation, *, has_parent: bool, asks: bool
    ) -> None:
        node = HabitualNode(
            "b",
            habits=habits_of("2.14.5"),
            identity=identity("b", ticket="t\n"),
            has_parent=has_parent,
        )
        node.start(NOW)
        effects = node.on_member_up(PEER, name="a", relation=relation)
        expected = [Notify(PEER, REQUEST_CERTIFICATE, {"ticket": "t\n"})]
        assert effects == (expected if asks else [])

    @pytest.mark.parametrize("version", VERSIONS)
    def test_of_an_endpoint_that_is_connected_ends_at_once(self, version: str) -> None:
        node = satellite(version)
        node.on_member_up(UP, name="master1", relation=Relation.PARENT)
        again = node.on_member_up(OTHER, name="master1", relation=Relation.PARENT)
        assert again == [closing(version, OTHER)]
        node.on_link_down(OTHER)
        assert node.tick(later(10)) == [], "the first link still stands"

    @pytest.mark.parametrize("version", VERSIONS)
    def test_of_a_verified_stranger(self, version: str) -> None:
        node = satellite(version)
        effects = node.on_anonymous_up(OTHER, now=NOW, is_verified=True)
        keeps = habits_of(version).keeps_verified_strangers
        assert effects == ([] if keeps else [closing(version, OTHER)])


class TestUpdates:
    """Protocol 6.7."""

    params = UpdateCertificate(
        cert=signed("agent1"), ca=CA, fingerprint_request=fingerprint(NEW)
    )

    def agent(self, version: str) -> HabitualAgent:
        node = HabitualAgent(
            "agent1",
            habits=habits_of(version),
            identity=Identity(certificate=NEW, ca="old", ticket=TICKET),
            dials=["satellite1"],
        )
        assert node.start(NOW) == [Dial("satellite1")]
        return node

    @pytest.mark.parametrize("version", VERSIONS)
    def test_for_us_is_installed_and_all_links_are_closed(self, version: str) -> None:
        node = self.agent(version)
        node.on_member_up(UP, name="satellite1", relation=Relation.PARENT)
        node.on_anonymous_up(DOWN, now=NOW)
        assert node.on_update(UP, params=self.params, now=NOW) == [
            InstallIdentity(certificate=signed("agent1"), ca=CA),
            closing(version, UP),
            closing(version, DOWN),
        ]
        assert node.identity == Identity(certificate=signed("agent1"), ca=CA)
        assert node.on_update(UP, params=self.params, now=NOW) == []
        node.on_link_down(UP)
        assert node.tick(later(9)) == []
        assert node.tick(later(10)) == [Dial("satellite1")]
        assert node.on_member_up(OTHER, name="satellite1", relation=Relation.PARENT)

    @pytest.mark.parametrize(
        "relation",
        [Relation.CHILD, Relation.DESCENDANT, Relation.UNRELATED],
    )
    def test_from_below_is_discarded(self, relation: Relation) -> None:
        node = self.agent("2.13.6")
        node.on_member_up(DOWN, name="below", relation=relation)
        assert node.on_update(DOWN, params=self.params, now=NOW) == []
        assert node.identity.certificate == NEW

    @pytest.mark.parametrize("version", VERSIONS)
    def test_from_an_anonymous_peer_is_taken_until_it_was_fixed(
        self, version: str
    ) -> None:
        """GHSA-vj39-ww8j-vvx5, as it was."""
        node = self.agent(version)
        node.on_anonymous_up(DOWN, now=NOW)
        node.on_update(DOWN, params=self.params, now=NOW)
        is_fixed = habits_of(version).update_needs_member
        assert (node.identity.certificate == NEW) == is_fixed

    def test_that_cannot_be_read_is_discarded(self) -> None:
        node = self.agent("2.13.6")
        node.on_member_up(UP, name="satellite1", relation=Relation.PARENT)
        params = UpdateCertificate(cert="rubbish", ca=CA)
        assert node.on_update(UP, params=params, now=NOW) == []

    def test_for_somebody_unknown_is_discarded(self) -> None:
        node = satellite("2.13.6")
        node.on_member_up(UP, name="master1", relation=Relation.PARENT)
        assert node.on_update(UP, params=self.params, now=NOW) == []
        assert node.requests.get(fingerprint(NEW)) is None


class TestLinks:
    def test_nothing_is_taken_on_a_closing_or_unknown_link(self) -> None:
        node = satellite("2.14.4")
        node.on_anonymous_up(DOWN, now=NOW)
        assert ask(node) == [CloseCut(DOWN)]
        assert ask(node) == []
        assert not node.takes(DOWN, None)
        assert not node.takes(OTHER, None)
        node.on_link_down(DOWN)
        node.on_link_down(DOWN)

    def test_an_older_relayed_message_of_a_member_is_dropped(self) -> None:
        node = satellite("2.14.5")
        node.on_member_up(UP, name="master1", relation=Relation.PARENT)
        times = [None, 100.0, 99.0, 100.0, 101.0]
        assert [node.takes(UP, ts) for ts in times] == [True, True, False, True, True]

    def test_the_time_of_a_strangers_message_does_not_count(self) -> None:
        node = satellite("2.14.5")
        node.on_anonymous_up(DOWN, now=NOW)
        assert [node.takes(DOWN, ts) for ts in (100.0, 99.0)] == [True, True]

    def test_a_failed_dial_is_repeated_at_the_next_tick(self) -> None:
        node = satellite("2.14.5")
        assert node.next_tick() == NOW.mono + 10.0
        assert node.tick(later(10)) == []
        node.on_dial_failed("master1")
        assert node.tick(later(20)) == [Dial("master1")]

    def test_a_failed_dial_to_who_connected_meanwhile_changes_nothing(self) -> None:
        node = satellite("2.14.5")
        node.on_member_up(UP, name="master1", relation=Relation.PARENT)
        node.on_dial_failed("master1")
        assert node.tick(later(10)) == []

    def test_a_restart_keeps_the_requests_and_loses_the_links(self) -> None:
        node = satellite("2.14.5")
        node.on_anonymous_up(DOWN, now=NOW)
        ask(node)
        assert node.start(later(3)) == [Dial("master1")]
        assert node.next_tick() == later(13).mono
        assert not node.takes(DOWN, None)
        assert len(list(node.requests.waiting())) == 1

    def test_a_request_is_forgotten_after_seven_days(self) -> None:
        node = satellite("2.14.5")
        node.on_anonymous_up(DOWN, now=NOW)
        ask(node)
        node.tick(later(8 * 86400.0))
        assert list(node.requests.waiting()) == []


class TestApproval:
    def test_is_handed_out_at_the_next_ask_and_not_before(self) -> None:
        node = master("2.14.5")
        node.on_member_up(DOWN, name="satellite1", relation=Relation.CHILD)
        assert result_in(ask(node, ticket="")).status_code == 2
        assert node.approve(fingerprint(NEW), now=NOW)
        answers = [result_in(ask(node, ticket="")) for _ in range(2)]
        assert answers[0].status_code == 0
        assert answers[0] == answers[1], "what was approved is signed once"

    def test_of_an_unknown_request_does_nothing(self) -> None:
        assert not master("2.14.5").approve("aa", now=NOW)
