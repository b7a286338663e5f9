"""What lies in a real node's directory, and in a ledger."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from tests.node.cluster import Authority

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.enrollment.ledger import StoreAttempt, StoreRequest
from icefloe.enrollment.model import (
    AttemptRecord,
    AttemptState,
    Origin,
    RequestRecord,
    RequestState,
)
from icefloe.node.checks.requests_read import (
    RequestsSeen,
    RequestsUnreadable,
    read_requests,
)
from icefloe.pki.certificates import fingerprint, to_pem
from icefloe.pki.profiles import self_signed
from icefloe.storage.keys import generate_key
from icefloe.storage.ledger import SQLiteLedger

AT = 1_700_000_000.0
KEY = generate_key()
CA = Authority()


@pytest.fixture
def node(tmp_path: Path) -> NodeDirectories:
    made = NodeDirectories(config_dir=tmp_path / "etc", data_dir=tmp_path / "data")
    made.data_dir.mkdir()
    return made


def request(cn: str, *, made: float = AT) -> x509.Certificate:
    return self_signed(
        cn,
        KEY,
        serial=int(made) + 1,
        not_before=WallTime(made),
        not_after=WallTime(made + 1e8),
    )


def store(
    node: NodeDirectories,
    certificate: x509.Certificate,
    *,
    answered: bool = False,
    removed: bool = False,
    written: float = AT,
    read: float | None = None,
) -> Path:
    """Write a file as icinga2 does."""
    node.certificate_requests.mkdir(exist_ok=True)
    content = {"cert_request": to_pem(certificate), "ticket": "secret"}
    if answered:
        content["cert_response"] = to_pem(CA.issue("any", KEY))
    ending = "removed" if removed else "json"
    path = node.certificate_requests / f"{fingerprint(certificate)}.{ending}"
    path.write_bytes(msgspec.json.encode(content))
    os.utime(path, (written if read is None else read, written))
    return path


def names(found: RequestsSeen) -> list[str]:
    return [each.cn for each in found.unanswered]


def test_a_node_that_nobody_asked_has_none(node: NodeDirectories) -> None:
    assert read_requests(node) == RequestsSeen(icefloe=False, signs=False)


def test_a_directory_that_is_none_is_told(node: NodeDirectories) -> None:
    with pytest.raises(RequestsUnreadable, match="--data-dir"):
        read_requests(replace(node, data_dir=node.data_dir / "elsewhere"))


def test_a_request_that_is_asked_for_again_and_again_is_as_old_as_it_is(
    node: NodeDirectories,
) -> None:
    """Each ask writes the file anew; the certificate was made once."""
    store(node, request("web1", made=AT - 9000), written=AT)
    store(node, request("web2", made=AT - 60), written=AT)
    found = read_requests(node)
    assert names(found) == ["web1", "web2"]
    assert [each.since for each in found.unanswered] == [AT - 9000, AT - 60]


@pytest.mark.parametrize(
    "made, waits_since",
    [(0.0, AT - 7 * 86_400), (AT - 6 * 86_400, AT - 6 * 86_400), (AT + 9e6, AT)],
)
def test_a_stranger_chooses_no_age_beyond_a_week(
    node: NodeDirectories, made: float, waits_since: float
) -> None:
    """The date is in the certificate that he made."""
    store(node, request("web1", made=made), written=AT)
    assert read_requests(node).unanswered[0].since == waits_since


def test_a_renewal_waits_since_it_was_asked(node: NodeDirectories) -> None:
    store(node, CA.issue("web1", KEY), written=AT)
    assert read_requests(node).unanswered[0].since == AT


def test_an_answer_lies_until_the_file_is_read(node: NodeDirectories) -> None:
    path = store(node, request("web1"), answered=True, written=AT)
    store(node, request("web2"), answered=True, written=AT, read=AT + 5)
    for _ in range(2):  # looking leaves no mark
        found = read_requests(node)
        assert found.fetching_is_known
        assert [each.cn for each in found.unfetched] == ["web1"]
        assert (found.answered, found.unanswered) == (2, ())
    assert path.stat().st_atime == AT


def test_where_reading_is_not_noted_nothing_is_said_of_it(
    node: NodeDirectories, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(node, request("web1"), answered=True)
    real = os.statvfs(node.data_dir)
    noatime = os.statvfs_result([*real[:8], os.ST_NOATIME, real[9]])
    monkeypatch.setattr(os, "statvfs", lambda _: noatime)
    found = read_requests(node)
    assert (found.fetching_is_known, found.unfetched) == (False, ())


def test_canaries_and_declined_ones_do_not_lie_about(node: NodeDirectories) -> None:
    store(node, request("icefloe-canary-mon1"))
    store(node, request("web1"), removed=True)
    both = request("web2")
    store(node, both, removed=True)
    store(node, both)
    found = read_requests(node)
    assert (names(found), found.canaries, found.removed) == (["web2"], 1, 1)


def test_what_cannot_be_understood_is_named_without_its_content(
    node: NodeDirectories,
) -> None:
    path = store(node, request("web1"))
    path.write_text('{"ticket": "secret", ')
    (node.certificate_requests / f"{'a' * 64}.json.tmp.Xy12").write_text("half")
    found = read_requests(node)
    assert len(found.broken) == 1
    assert path.name in found.broken[0]
    assert "secret" not in repr(found)


def test_a_link_is_not_followed(node: NodeDirectories, tmp_path: Path) -> None:
    path = store(node, request("web1"))
    target = tmp_path / "other"
    path.rename(target)
    path.symlink_to(target)
    with pytest.raises(RequestsUnreadable):
        read_requests(node)


def test_a_signer_is_known_by_its_key(node: NodeDirectories) -> None:
    node.ca_dir.mkdir()
    node.ca_key.write_text("key")
    assert read_requests(node).signs is True


def test_a_ledger_tells_the_same_of_an_icefloe_node(node: NodeDirectories) -> None:
    store(node, request("in a file"))  # the daemon has imported it
    states = {
        "waits": RequestState.AWAITING_APPROVAL,
        "went-up": RequestState.FORWARDED,
        "lies": RequestState.ANSWERED,
        "was-fetched": RequestState.DELIVERED,
        "is-used": RequestState.CONFIRMED,
        "declined": RequestState.REMOVED,
        "icefloe-canary-mon1": RequestState.FORWARDED,
    }
    with SQLiteLedger.open(node.ledger) as ledger:
        ledger.begin()
        for number, (cn, state) in enumerate(states.items()):
            ledger.apply([StoreRequest(record(cn, state, number)), attempt(cn)])
        ledger.commit()
    found = read_requests(node)
    assert found.icefloe
    assert names(found) == ["waits", "went-up"]
    assert [each.cn for each in found.unfetched] == ["lies"]
    assert found.unfetched[0].since == AT + 100
    assert found.unanswered[0].since == AT
    assert found.unanswered[0].fingerprint == "f-waits"
    assert found.canaries == 1


def test_what_goes_no_further_here_is_not_told_as_unfetched(
    node: NodeDirectories,
) -> None:
    """A relay keeps its connection; what is signed by hand, and our own, has none."""
    with SQLiteLedger.open(node.ledger) as ledger:
        ledger.begin()
        for cn in ("by-hand", "relayed", "self"):
            ledger.apply([StoreRequest(record(cn, RequestState.ISSUED, 0))])
        relayed = replace(attempt("relayed").record, origin=Origin.RELAYED, via="sat1")
        own = replace(attempt("self").record, via="self")
        ledger.apply([StoreAttempt(relayed), StoreAttempt(own)])
        ledger.commit()
    assert read_requests(node).unfetched == ()


def test_whom_everybody_refused_nobody_keeps_waiting(node: NodeDirectories) -> None:
    states = {
        "wrong-ticket": RequestState.RECEIVED,
        "refused-above": RequestState.FORWARDED,
        "asked-again": RequestState.RECEIVED,
    }
    with SQLiteLedger.open(node.ledger) as ledger:
        ledger.begin()
        for number, (cn, state) in enumerate(states.items()):
            refused = replace(attempt(cn).record, state=AttemptState.REFUSED)
            ledger.apply(
                [StoreRequest(record(cn, state, number)), StoreAttempt(refused)]
            )
        again = replace(attempt("asked-again").record, attempt_id="another")
        ledger.apply([StoreAttempt(again)])
        ledger.commit()
    assert names(read_requests(node)) == ["asked-again"]


def test_a_directory_in_place_of_a_file_hides_no_other(node: NodeDirectories) -> None:
    store(node, request("web1"))
    (node.certificate_requests / f"{'a' * 64}.json").mkdir()
    found = read_requests(node)
    assert (names(found), len(found.broken)) == (["web1"], 1)


def test_a_name_that_is_no_text_can_be_told(node: NodeDirectories) -> None:
    store(node, request("web1"))
    (node.certificate_requests / os.fsdecode(b"\xff\x1b[31m.json")).touch()
    (broken,) = read_requests(node).broken
    assert broken.isprintable()
    msgspec.json.encode(broken)


def test_what_a_stranger_stored_beside_a_request_is_not_kept(
    node: NodeDirectories,
) -> None:
    node.certificate_requests.mkdir()
    for number in range(40):
        certificate = request("web1", made=AT + number)
        path = node.certificate_requests / f"{fingerprint(certificate)}.json"
        stored = {"cert_request": to_pem(certificate), "ticket": "x" * 1_000_000}
        path.write_bytes(msgspec.json.encode(stored))
    tracemalloc.start()
    try:
        assert len(read_requests(node).unanswered) == 40
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def record(cn: str, state: RequestState, number: int) -> RequestRecord:
    return RequestRecord(
        request_id=cn,
        cn=cn,
        key_id=cn,
        renews="",
        state=state,
        created_at=WallTime(AT + number),
        updated_at=WallTime(AT + 100),
    )


def attempt(cn: str) -> StoreAttempt:
    return StoreAttempt(
        AttemptRecord(
            attempt_id=cn,
            request_id=cn,
            fingerprint=f"f-{cn}",
            certificate=b"",
            ticket="",
            ticket_digest="",
            requestor_ca="",
            origin=Origin.DIRECT,
            via="192.0.2.1",
            state=AttemptState.FORWARDED,
            asked_at=WallTime(AT),
        )
    )
