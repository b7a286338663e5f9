"""A new certificate is confirmed by connecting, or the older one is put back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.enrollment.playbook import (
    DAY,
    START,
    Bench,
    asks,
    issued_certificate,
    none_of,
    only,
    relay,
    request_certificate,
    signed_result,
    signer,
)

from icefloe.cluster.zones import Endpoint, Zone, ZoneTree
from icefloe.doors import WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.commands import Level
from icefloe.enrollment.confirming import CONFIRMED_AFTER_SECONDS
from icefloe.enrollment.own import REST_ROLLED_BACK
from icefloe.enrollment.settings import OwnIdentity, RefusedCertificate
from icefloe.pki.certificates import fingerprint, to_pem
from icefloe.pki.trust import CLOCKS_APART_SECONDS_MAX

OLD = issued_certificate("s1", 40, serial=800, days_left=20)
NEW = issued_certificate("s1", 40, serial=900)
OTHER = issued_certificate("s1", 40, serial=901)
DUE = issued_certificate("s1", 40, serial=801, days_left=1)
# As an Icinga signer dates it: from this second.
YOUNG = issued_certificate("s1", 40, serial=902, days_old=0)


def unconfirmed(*, older: object = OLD, **changes: object) -> Bench:
    own = OwnIdentity(certificate=NEW, unconfirmed=True, older=older)  # type: ignore[arg-type]
    return relay(own=own, **changes)


def came_and_went(
    bench: Bench, name: str = "m1", *, seconds: float = 10.0
) -> list[cmd.Command]:
    """A parent's connection begins, and ends as that of a stranger does."""
    link = bench.parent(name)
    bench.pass_time(seconds)
    return bench.tell(ev.LinkEnding(link)) + bench.tell(ev.LinkDown(link))


def stays(bench: Bench, link: ev.LinkId, *, seconds: float = 21) -> list[cmd.Command]:
    """A parent's connection lasts, and its heartbeat comes."""
    return bench.pass_time(seconds) + bench.tell(ev.ParentStays(link))


def refused(bench: Bench, name: str = "m1") -> list[cmd.Command]:
    return bench.tell(ev.DialFailed(name, refused=True, detail="alert unknown ca"))


def away(bench: Bench, name: str = "m1") -> list[cmd.Command]:
    return bench.tell(ev.DialFailed(name, refused=False, detail="no route"))


def status_of(bench: Bench) -> object:
    told = [c.status for c in bench.said if isinstance(c, cmd.TellOwnStatus)]
    return told[-1].state, told[-1].code


def test_a_parent_that_is_heard_late_confirms_the_certificate() -> None:
    bench = unconfirmed()
    parent = bench.parent()
    assert none_of(cmd.ConfirmIdentity, bench.pass_time(600))
    assert status_of(bench) == ("unconfirmed", "unconfirmed")
    ordered = only(cmd.ConfirmIdentity, bench.tell(ev.ParentStays(parent)))
    assert ordered.fingerprint == fingerprint(NEW)
    assert status_of(bench) == ("healthy", "")


@pytest.mark.parametrize("detail", ["", "the peer says: unknown ca"])
def test_an_end_that_is_seen_late_confirms_nothing(detail: str) -> None:
    """We stood still: the parent had closed after 10 s."""
    bench = unconfirmed()
    for _ in range(3):
        link = bench.parent()
        bench.pass_time(CONFIRMED_AFTER_SECONDS)
        bench.tell(ev.LinkEnding(link, detail=detail))
        bench.tell(ev.LinkDown(link))
    assert none_of(cmd.ConfirmIdentity, bench.said)
    assert none_of(cmd.RollBackIdentity, bench.said) == (not detail)


def test_what_was_heard_before_the_end_counts() -> None:
    bench = unconfirmed()
    link = bench.parent()
    only(cmd.ConfirmIdentity, bench.tell(ev.ParentStays(link)))
    assert none_of(cmd.RollBackIdentity, bench.tell(ev.LinkEnding(link)))


def test_a_connection_that_showed_another_certificate_confirms_nothing() -> None:
    bench = unconfirmed()
    link = bench.parent()
    bench.core.reconfigure(
        replace(bench.settings, own=OwnIdentity(certificate=OTHER, unconfirmed=True)),
        bench.now,
    )
    assert none_of(cmd.ConfirmIdentity, stays(bench, link))


def test_it_is_confirmed_once() -> None:
    bench = unconfirmed()
    stays(bench, bench.parent())
    second = bench.parent("m2")
    assert none_of(cmd.ConfirmIdentity, stays(bench, second))
    bench.core.reconfigure(bench.settings, bench.now)
    assert none_of(cmd.ConfirmIdentity, stays(bench, second))


def test_two_connections_in_a_row_that_end_early_put_the_older_one_back() -> None:
    bench = unconfirmed()
    assert none_of(cmd.RollBackIdentity, came_and_went(bench))
    ordered = came_and_went(bench)
    assert "m1 does not accept it" in only(cmd.RollBackIdentity, ordered).reason
    errors = [c for c in ordered if isinstance(c, cmd.Log) and c.level is Level.ERROR]
    assert errors[-1].fields["parent"] == "m1"


def test_it_is_rolled_back_once() -> None:
    bench = unconfirmed()
    came_and_went(bench)
    came_and_went(bench)
    assert none_of(cmd.RollBackIdentity, came_and_went(bench) + refused(bench))


def test_an_order_names_the_certificate_it_is_about() -> None:
    bench = unconfirmed()
    refused(bench)
    ordered = only(cmd.RollBackIdentity, refused(bench))
    assert ordered.fingerprint == fingerprint(NEW)


def test_two_refusals_in_tls_put_the_older_one_back() -> None:
    bench = unconfirmed()
    assert none_of(cmd.RollBackIdentity, refused(bench))
    assert "unknown ca" in only(cmd.RollBackIdentity, refused(bench)).reason


def young() -> Bench:
    return relay(own=OwnIdentity(certificate=YOUNG, unconfirmed=True, older=DUE))


def reads(bench: Bench, own: OwnIdentity) -> None:
    """The shell has carried out an order."""
    bench.core.reconfigure(replace(bench.settings, own=own), bench.now)


def put_back_young() -> Bench:
    """A certificate of this second was refused, and the older one is in use again."""
    bench = young()
    came_and_went(bench)
    order = only(cmd.RollBackIdentity, came_and_went(bench))
    at = bench.now.wall
    refused = RefusedCertificate(order.fingerprint, at, order.reason)
    reads(bench, OwnIdentity(DUE, refused=refused))
    return bench


def test_what_a_parent_s_clock_says_has_not_begun_is_tried_again_when_it_has() -> None:
    """Seed 9972: the parent's clock was half a minute behind its signer's.

    An hour later the next one would have been refused just so.
    """
    bench = put_back_young()
    bench.parent()
    wait = YOUNG.not_valid_before_utc.timestamp() + CLOCKS_APART_SECONDS_MAX
    wait -= bench.now.wall
    assert none_of(cmd.InstallIdentity, bench.pass_time(wait - 1))
    assert status_of(bench) == ("rolled-back", "rolled-back")
    order = only(cmd.InstallIdentity, bench.pass_time(1))
    assert order.certificate == to_pem(YOUNG)
    # Once: what is refused when it has begun by all clocks, is for an hour.
    own = OwnIdentity(certificate=YOUNG, unconfirmed=True, older=DUE)
    reads(bench, own)
    came_and_went(bench)
    only(cmd.RollBackIdentity, came_and_went(bench))
    reads(bench, OwnIdentity(DUE))
    assert none_of(cmd.InstallIdentity, bench.pass_time(REST_ROLLED_BACK - 1))


def test_a_young_certificate_is_not_tried_again_over_a_newer_one() -> None:
    bench = put_back_young()
    own = OwnIdentity(certificate=NEW, unconfirmed=True, older=DUE)
    reads(bench, own)
    assert none_of(cmd.InstallIdentity, bench.pass_time(2 * CLOCKS_APART_SECONDS_MAX))


def test_a_young_certificate_without_an_older_one_is_kept() -> None:
    bench = relay(own=OwnIdentity(certificate=YOUNG, unconfirmed=True))
    for _ in range(3):
        came_and_went(bench)
    assert none_of(cmd.RollBackIdentity, bench.said)
    said = bench.pass_time(2 * CLOCKS_APART_SECONDS_MAX)
    assert none_of(cmd.InstallIdentity, said)


def test_a_clock_of_ours_that_is_set_back_does_not_prolong_the_wait() -> None:
    bench = young()
    bench.now = replace(bench.now, wall=WallTime(START - DAY))
    bench.crash()
    came_and_went(bench)
    only(cmd.RollBackIdentity, came_and_went(bench))
    reads(bench, OwnIdentity(DUE))
    bench.now = replace(bench.now, wall=WallTime(START + 60))
    only(cmd.InstallIdentity, bench.pass_time(2 * CLOCKS_APART_SECONDS_MAX))


def test_a_parent_that_is_down_refuses_nobody() -> None:
    bench = unconfirmed()
    for _ in range(50):
        assert none_of(cmd.RollBackIdentity, away(bench))
        bench.pass_time(10)
    assert status_of(bench) == ("unconfirmed", "unconfirmed")
    only(cmd.ConfirmIdentity, stays(bench, bench.parent()))


def test_every_parent_that_can_be_reached_has_to_refuse_it() -> None:
    bench = unconfirmed()
    came_and_went(bench, "m1")
    came_and_went(bench, "m2")
    assert none_of(cmd.RollBackIdentity, came_and_went(bench, "m1"))
    only(cmd.RollBackIdentity, came_and_went(bench, "m2"))


def test_a_parent_that_cannot_be_reached_any_more_is_not_waited_for() -> None:
    bench = unconfirmed()
    came_and_went(bench, "m2")
    came_and_went(bench, "m1")
    came_and_went(bench, "m1")
    only(cmd.RollBackIdentity, away(bench, "m2"))


def test_while_one_parent_may_still_accept_it_nothing_is_put_back() -> None:
    bench = unconfirmed()
    second = bench.parent("m2")
    for _ in range(2):
        assert none_of(cmd.RollBackIdentity, came_and_went(bench, "m1", seconds=2))
    only(cmd.ConfirmIdentity, stays(bench, second))


def test_the_end_of_a_second_connection_is_no_refusal() -> None:
    bench = unconfirmed()
    first = bench.parent()
    bench.pass_time(1)
    second = bench.parent()
    ordered = bench.tell(ev.LinkDown(first))
    assert none_of(cmd.Log, ordered)
    only(cmd.ConfirmIdentity, stays(bench, second))


def test_the_end_of_a_connection_that_showed_the_older_certificate_says_nothing() -> (
    None
):
    bench = unconfirmed()
    shown = fingerprint(OLD)
    parent = unconfirmed()
    peer = parent.core._links[parent.parent()].peer
    for number in (70, 71, 72):
        link = ev.LinkId(number)
        bench.tell(ev.LinkUp(link, peer, upstream=True, shown=shown))
        assert none_of(cmd.ConfirmIdentity, stays(bench, link))
        assert none_of(cmd.RollBackIdentity, bench.tell(ev.LinkDown(link)))


def test_a_node_that_stops_is_not_refused() -> None:
    bench = unconfirmed()
    came_and_went(bench)
    link = bench.parent()
    bench.tell(ev.Stopping())
    assert none_of(cmd.RollBackIdentity, bench.tell(ev.LinkDown(link)))


@pytest.mark.parametrize(
    "older",
    [
        None,
        request_certificate("s1", 40),
        issued_certificate("s1", 40, serial=801, days_left=-1),
        issued_certificate("s1", 40, serial=802, ca_number=1),
        issued_certificate("s2", 40, serial=803),
    ],
    ids=["none", "self-signed", "expired", "of another CA", "of another name"],
)
def test_without_an_older_one_that_works_it_stays_and_is_said_to_be_refused(
    older: object,
) -> None:
    bench = unconfirmed(older=older)
    came_and_went(bench)
    ordered = came_and_went(bench)
    assert none_of(cmd.RollBackIdentity, ordered)
    assert status_of(bench) == ("refused", "certificate-refused")
    assert none_of(cmd.RollBackIdentity, came_and_went(bench))
    # The parents may be mended.
    only(cmd.ConfirmIdentity, stays(bench, bench.parent()))
    assert status_of(bench) == ("healthy", "")


def test_where_the_shell_finds_no_older_one_it_is_said_to_be_refused() -> None:
    bench = unconfirmed()
    refused(bench)
    only(cmd.RollBackIdentity, refused(bench))
    bench.core.reconfigure(bench.settings, bench.now)
    bench.pass_time(1)
    assert none_of(cmd.RollBackIdentity, refused(bench) + refused(bench))
    assert status_of(bench) == ("refused", "certificate-refused")


def test_another_life_goes_on_confirming() -> None:
    bench = unconfirmed()
    came_and_went(bench)
    bench.crash()
    only(cmd.ConfirmIdentity, stays(bench, bench.parent()))


def test_a_signer_and_a_node_without_parents_confirm_at_once() -> None:
    own = OwnIdentity(certificate=NEW, unconfirmed=True, older=OLD)
    only(cmd.ConfirmIdentity, signer(own=own).pass_time(1))
    alone = ZoneTree(
        zones=[Zone("s", endpoints=("s1",))],
        endpoints=[Endpoint("s1")],
        node_name="s1",
    )
    only(cmd.ConfirmIdentity, unconfirmed(tree=alone).pass_time(1))


# -- afterwards ---------------------------------------------------------------------------


def rolled_back() -> Bench:
    """A node that is back on its older certificate, which is due."""
    refusal = RefusedCertificate(fingerprint(NEW), WallTime(START), "m1 closed it")
    own = OwnIdentity(
        certificate=issued_certificate("s1", 40, serial=800, days_left=1),
        refused=refusal,
    )
    return relay(own=own)


def test_a_node_that_was_rolled_back_says_so_with_the_days_that_are_left() -> None:
    bench = rolled_back()
    told = only(cmd.TellOwnStatus, bench.said).status
    assert (told.state, told.code) == ("rolled-back", "rolled-back")
    assert "m1 closed it" in told.detail
    assert "1 days" in told.detail


def test_no_parent_is_asked_for_an_hour_after_a_roll_back() -> None:
    bench = rolled_back()
    bench.parent()
    assert none_of(cmd.Ask, bench.pass_time(REST_ROLLED_BACK - 60))
    assert asks(bench.pass_time(2 * REST_ROLLED_BACK))


def test_the_same_certificate_is_not_installed_for_an_hour_and_another_one_is() -> None:
    bench = rolled_back()
    parent = bench.parent()
    assert none_of(cmd.InstallIdentity, bench.update(parent, NEW, request="ab"))
    only(cmd.InstallIdentity, bench.update(parent, OTHER, request="ab"))


def test_after_an_hour_the_same_certificate_is_tried_once_more() -> None:
    bench = rolled_back()
    parent = bench.parent()
    bench.pass_time(REST_ROLLED_BACK + 1)
    only(cmd.InstallIdentity, bench.update(parent, NEW, request="ab"))


def test_a_clock_set_back_does_not_prolong_the_hour() -> None:
    bench = rolled_back()
    parent = bench.parent()
    bench.now = replace(bench.now, wall=WallTime(START - 5 * DAY))
    only(cmd.InstallIdentity, bench.update(parent, NEW, request="ab"))


def test_the_whole_way_from_asking_to_confirmed() -> None:
    own = OwnIdentity(certificate=issued_certificate("s1", 40, days_left=1, serial=1))
    bench = relay(own=own)
    bench.parent()
    bench.answer_ask(asks(bench.said)[0], signed_result(NEW))
    only(cmd.InstallIdentity, bench.said)
    now = OwnIdentity(certificate=NEW, unconfirmed=True, older=own.certificate)
    bench.core.reconfigure(replace(bench.settings, own=now), bench.now)
    only(cmd.ConfirmIdentity, stays(bench, bench.parent()))
