"""The events that wait for the core: a flood of strangers delays nobody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icefloe.cluster.peer import Peer, Standing
from icefloe.enrollment import events as ev
from icefloe.enrollment.event_queue import EventQueue
from icefloe.wire.catalogue import RequestCertificate

MEMBER = Peer(standing=Standing.MEMBER, common_name="s1")
STRANGER = Peer(standing=Standing.ANONYMOUS, common_name=None)


def asked(link: int, number: object = 0) -> ev.CertificateAsked:
    return ev.CertificateAsked(ev.LinkId(link), ev.CallId(number), RequestCertificate())


def test_a_members_event_passes_a_flood() -> None:
    queue = EventQueue()
    queue.append(ev.LinkUp(ev.LinkId(1), STRANGER))
    for number in range(1000):
        queue.append(asked(1, number))
    queue.append(ev.LinkUp(ev.LinkId(2), MEMBER))
    queue.append(asked(2))
    queue.append(ev.TicketChecked("a", valid=True))
    batch = queue.take(8)
    assert batch[:3] == [
        ev.LinkUp(ev.LinkId(2), MEMBER),
        asked(2),
        ev.TicketChecked("a", valid=True),
    ]
    assert batch[3] == ev.LinkUp(ev.LinkId(1), STRANGER)
    assert len(batch) == 8
    assert len(queue) == 1004 - 8


def test_a_gateways_parent_speaks_before_a_crowd_of_strangers() -> None:
    """By its certificate it is a stranger, but it was asked."""
    queue = EventQueue()
    for link in range(10, 1010):
        peer = Peer(
            standing=Standing.ANONYMOUS, common_name=None, address=f"10.0.{link}:1"
        )
        queue.append(ev.LinkUp(ev.LinkId(link), peer))
    queue.append(ev.LinkUp(ev.LinkId(1), STRANGER, upstream=True))
    answer = ev.ParentFailed(ev.LinkId(1), "c", "no")
    queue.append(answer)
    assert answer in queue.take(8)


def test_each_source_of_strangers_has_its_turn() -> None:
    queue = EventQueue()
    flood = Peer(standing=Standing.ANONYMOUS, common_name=None, address="10.0.0.1:1")
    good = Peer(standing=Standing.ANONYMOUS, common_name=None, address="10.0.0.2:1")
    for link in range(1, 10):
        queue.append(ev.LinkUp(ev.LinkId(link), flood))
        for number in range(100):
            queue.append(asked(link, number))
    queue.append(ev.LinkUp(ev.LinkId(20), good))
    queue.append(asked(20))
    taken = queue.take(8)
    assert asked(20) in taken
    assert taken.index(asked(20)) <= 3


def test_visitors_that_are_left_out_leave_nothing_behind() -> None:
    queue = EventQueue()
    for link in range(1000):
        queue.append(ev.LinkUp(ev.LinkId(link), STRANGER))
        queue.append(ev.LinkDown(ev.LinkId(link)))
        queue.replace([])
    for link in range(1000):
        queue.append(ev.LinkUp(ev.LinkId(link), STRANGER))
        queue.append(ev.LinkDown(ev.LinkId(link)))
        queue.take(2)
    queue.take(1)
    assert len(queue._lines) == 0


def test_strangers_have_a_quarter_of_a_batch_whatever_members_send() -> None:
    queue = EventQueue()
    queue.append(ev.LinkUp(ev.LinkId(2), MEMBER))
    for number in range(1000):
        queue.append(asked(2, number))
        queue.append(asked(1, number))
    batch = queue.take(128)
    askings = [e.link for e in batch if isinstance(e, ev.CertificateAsked)]
    assert askings.count(ev.LinkId(1)) == 32


def test_the_beginning_of_a_life_is_taken_first() -> None:
    queue = EventQueue()
    queue.append(ev.Started())
    queue.append(ev.LinkUp(ev.LinkId(1), STRANGER))
    assert queue.take(1) == [ev.Started()]


def test_what_is_put_back_comes_first_again_even_a_members_end() -> None:
    queue = EventQueue()
    queue.append(ev.LinkUp(ev.LinkId(2), MEMBER))
    queue.append(asked(2, 1))
    queue.append(ev.LinkDown(ev.LinkId(2)))
    taken = queue.take(2)
    queue.put_back(queue.take(1))
    queue.put_back(taken)
    assert queue.take(9) == [
        ev.LinkUp(ev.LinkId(2), MEMBER),
        asked(2, 1),
        ev.LinkDown(ev.LinkId(2)),
    ]
    assert list(queue) == []


def test_only_what_is_kept_waits_on() -> None:
    queue = EventQueue()
    queue.append(ev.LinkUp(ev.LinkId(2), MEMBER))
    queue.append(asked(2))
    queue.append(asked(1))
    queue.replace([e for e in queue if isinstance(e, ev.LinkUp)])
    assert list(queue) == [ev.LinkUp(ev.LinkId(2), MEMBER)]


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(["ask", "take", "back", "end"])),
        max_size=80,
    )
)
def test_the_events_of_a_connection_keep_their_order(
    moves: list[tuple[int, str]],
) -> None:
    """Links 1 and 2 are members; failing batches put a part back."""
    queue = EventQueue()
    sent: dict[int, list[ev.Event]] = {n: [] for n in range(1, 5)}
    heard: dict[int, list[ev.Event]] = {n: [] for n in range(1, 5)}

    def send(link: int, event: ev.Event) -> None:
        sent[link].append(event)
        queue.append(event)

    for link in sent:
        send(link, ev.LinkUp(ev.LinkId(link), MEMBER if link < 3 else STRANGER))
    for number, (link, move) in enumerate(moves):
        if move == "ask" and not isinstance(sent[link][-1], ev.LinkDown):
            send(link, asked(link, number))
        elif move == "end" and not isinstance(sent[link][-1], ev.LinkDown):
            send(link, ev.LinkDown(ev.LinkId(link)))
        elif move in {"take", "back"}:
            taken = queue.take(link + 3)
            kept = taken[link:] if move == "back" else []
            for event in taken[: len(taken) - len(kept)]:
                assert isinstance(event, ev.LinkUp | ev.LinkDown | ev.CertificateAsked)
                heard[event.link].append(event)
            queue.put_back(kept)
    while batch := queue.take(7):
        for event in batch:
            assert isinstance(event, ev.LinkUp | ev.LinkDown | ev.CertificateAsked)
            heard[event.link].append(event)
    assert heard == sent
