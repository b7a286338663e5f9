from __future__ import annotations

from icefloe.doors import WallTime
from icefloe.habits.stored import RequestStore, StoredRequest

WEEK = 7 * 86400.0


def request(name: str = "aa", *, ticket: str = "t", at: float = 0.0) -> StoredRequest:
    return StoredRequest(
        fingerprint=name,
        cert_request="PEM",
        ticket=ticket,
        requestor_ca="",
        written_at=WallTime(at),
    )


def test_the_latest_ask_wins_ticket_and_all() -> None:
    store = RequestStore()
    store.put(request(ticket="good"))
    store.put(request(ticket=""))
    stored = store.get("aa")
    assert stored is not None
    assert stored.ticket == ""


def test_an_answered_request_does_not_wait_any_more() -> None:
    store = RequestStore()
    store.put(request("bb"))
    store.put(request("aa"))
    assert [stored.fingerprint for stored in store.waiting()] == ["aa", "bb"]
    assert store.answer("aa", certificate="CERT", at=WallTime(1.0))
    assert [stored.fingerprint for stored in store.waiting()] == ["bb"]


def test_an_unknown_request_cannot_be_answered() -> None:
    assert not RequestStore().answer("aa", certificate="CERT", at=WallTime(0.0))


def test_a_removed_request_can_be_restored_and_an_answered_one_not_removed() -> None:
    store = RequestStore()
    store.put(request())
    assert store.remove("aa")
    assert store.is_removed("aa")
    assert store.get("aa") is None
    assert not store.remove("aa")
    assert store.restore("aa")
    assert not store.restore("aa")
    assert store.get("aa") == request()
    store.answer("aa", certificate="CERT", at=WallTime(0.0))
    assert not store.remove("aa")


def test_a_request_not_written_for_seven_days_is_deleted() -> None:
    store = RequestStore()
    store.put(request("old", at=0.0))
    store.put(request("new", at=10.0))
    store.put(request("removed", at=0.0))
    store.remove("removed")
    store.expire(WallTime(WEEK + 5.0))
    assert store.get("old") is None
    assert store.get("new") is not None
    assert store.is_removed("removed")


def test_what_is_sent_upward_has_a_root_only_if_one_is_known() -> None:
    assert request().to_params() == {"ticket": "t", "cert_request": "PEM"}


def test_a_ticket_is_not_shown() -> None:
    assert "secret" not in repr(request(ticket="secret"))
