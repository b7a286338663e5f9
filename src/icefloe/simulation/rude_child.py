"""A rude child: a member in a zone below that says what no child should.

It has a valid certificate and an Endpoint, so that what it sends is a member's: requests
for other people's keys with wrong tickets, two calls with one id, certificates that
nobody asked it for, answers to calls that nobody made, and bytes that mean nothing.  It
must not get anybody refused, signed or served a wrong certificate, and it must not cost
anybody else their answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from icefloe.pki.certificates import fingerprint
from icefloe.simulation.identities import (
    Identity,
    authority,
    self_signed_identity,
    signed_identity,
)
from icefloe.simulation.network import End, Face
from icefloe.simulation.requesters import Requesting
from icefloe.simulation.world import World, wrong_ticket
from icefloe.wire.catalogue import (
    HELLO,
    REQUEST_CERTIFICATE,
    SET_LOG_POSITION,
    UPDATE_CERTIFICATE,
    CertificateResult,
    RequestCertificate,
    UpdateCertificate,
)
from icefloe.wire.jsonrpc import (
    encode_notification,
    encode_request,
    encode_response,
)
from icefloe.wire.netstring import encode

KEY_NUMBER: Final = 190
PAUSE_SECONDS_MAX: Final = 3.0
VISIT_SECONDS_MAX: Final = 12.0

Victim = tuple[str, int]
"""Somebody's name and the number of their key."""


class RudeChild(Requesting):
    """Visits its parents and is rude, until the faults stop; then it is gone."""

    def __init__(
        self,
        world: World,
        *,
        name: str,
        parents: Sequence[str],
        victims: Sequence[Victim],
    ) -> None:
        """Stand ready.

        Args:
            world: where.
            name: its endpoint's name.
            parents: nodes to visit.
            victims: in whose name it asks.
        """
        self.name = name
        self._world = world
        self._parents = list(parents)
        self._victims = list(victims)
        self._number = 0
        self.identity = signed_identity(name, KEY_NUMBER)

    def begin(self) -> None:
        """Visit a parent."""
        if self.began_at is None:
            self.began_at = self._world.timeline.seconds
        if not self._world.faults.active:
            self.finished = True
            self.ended = "gone"
            self.finished_at = self._world.timeline.seconds
            return
        self.asks += 1
        parent = self._world.chance.choice(self._parents)
        face = Face(self.identity.der)
        self._world.network.dial(self.name, parent, face, self._dialled)

    def _dialled(self, end: End | None, face: Face) -> None:
        del face
        if end is None:
            self._world.timeline.after(PAUSE_SECONDS_MAX, self.begin)
            return
        _Visit(self, self._world, end)

    def gone(self) -> None:
        """A visit is over."""
        pause = self._world.chance.uniform(0.1, PAUSE_SECONDS_MAX)
        self._world.timeline.after(pause, self.begin)

    def next_number(self) -> int:
        """Count what it says."""
        self._number += 1
        return self._number

    def victim(self) -> Identity:
        """Choose somebody in whose name to speak."""
        return self_signed_identity(*self._world.chance.choice(self._victims))

    # -- manners: the payloads to send ----------------------------------------------------

    def ask_for_others(self) -> list[bytes]:
        """Ask for somebody else's key, with a wrong ticket or without one."""
        return [self._ask(f"rude-{self.next_number()}")]

    def give_one_id_twice(self) -> list[bytes]:
        """Make two calls with one id."""
        call = f"rude-{self.next_number()}"
        return [self._ask(call), self._ask(call)]

    def ask_without_id(self) -> list[bytes]:
        """Ask for somebody else's key as a relay of Icinga's does."""
        return [encode_notification(REQUEST_CERTIFICATE, self._params())]

    def push(self) -> list[bytes]:
        """Push a certificate that nobody asked for, the best a forger could have."""
        victim = self.victim()
        forged = signed_identity(victim.cn, victim.key_number, variant=8)
        update = UpdateCertificate(
            cert=forged.pem,
            ca=authority().anchor.pem,
            fingerprint_request=fingerprint(victim.certificate),
        )
        return [encode_notification(UPDATE_CERTIFICATE, update.to_params())]

    def answer(self) -> list[bytes]:
        """Answer calls that nobody made of it."""
        victim = self.victim()
        forged = signed_identity(victim.cn, victim.key_number, variant=8)
        result = CertificateResult(
            status_code=0,
            cert=forged.pem,
            ca=authority().anchor.pem,
            error="",
            fingerprint_request=fingerprint(victim.certificate),
        ).to_params()
        return [encode_response(call, result) for call in ("own.1", "x.1", 1, None)]

    def send_bad_params(self) -> list[bytes]:
        """Ask with parameters of a wrong form."""
        call = self.next_number()
        return [
            encode_request(REQUEST_CERTIFICATE, {"ticket": ["a"]}, f"bad-{call}"),
            encode_request(REQUEST_CERTIFICATE, {"cert_request": "x"}, f"worse-{call}"),
            encode_request(UPDATE_CERTIFICATE, {"cert": 1}, f"worst-{call}"),
            encode_notification(REQUEST_CERTIFICATE, []),
        ]

    def talk_nonsense(self) -> list[bytes]:
        """Send messages that a member may send, with a content that means nothing."""
        return [
            encode_notification(HELLO, {"version": [], "icefloe": 5}),
            encode_notification(SET_LOG_POSITION, {"log_position": 1e300}),
            encode_notification("event::CheckResult", {"cr": None}, ts=9e9),
            encode_request("no::SuchMethod", None, f"none-{self.next_number()}"),
        ]

    def _ask(self, call: str) -> bytes:
        return encode_request(REQUEST_CERTIFICATE, self._params(), call)

    def _params(self) -> dict[str, object]:
        victim = self.victim()
        chance = self._world.chance
        ticket = wrong_ticket(victim.cn, chance.randrange(5))
        return RequestCertificate(
            ticket=ticket if chance.random() < 0.7 else "", cert_request=victim.pem
        ).to_params()


class _Visit:
    """One connection; the handler of its end."""

    def __init__(self, child: RudeChild, world: World, end: End) -> None:
        self._child = child
        self._world = world
        self._end = end
        self._over = False
        end.start(self)
        end.write(encode(encode_notification(HELLO, {})))
        seconds = world.chance.uniform(0.1, VISIT_SECONDS_MAX)
        world.timeline.after(seconds, self._leave)
        self._later()

    def data_received(self, data: bytes) -> None:
        """It does not listen."""

    def peer_finished(self) -> None:
        """The parent closed."""

    def closed(self, *, clean: bool, reason: str) -> None:
        """The connection is gone."""
        del clean, reason
        if not self._over:
            self._over = True
            self._child.gone()

    def _later(self) -> None:
        pause = self._world.chance.uniform(0.0, PAUSE_SECONDS_MAX)
        self._world.timeline.after(pause, self._speak)

    def _speak(self) -> None:
        if self._over or not self._end.is_open or not self._world.faults.active:
            return
        manner = self._world.chance.choice(tuple(CHILD_MANNERS))
        self._world.counts[f"rude-child.{manner}"] += 1
        self._world.note(self._child.name, f"is rude: {manner}")
        for payload in CHILD_MANNERS[manner](self._child):
            self._end.write(encode(payload))
        self._later()

    def _leave(self) -> None:
        if self._over:
            return
        if self._world.faults.active and self._world.chance.random() < 0.5:
            self._world.counts["rude-child.half-a-frame"] += 1
            self._end.write(b'100:{"jsonrpc"')
        if self._world.chance.random() < 0.5:
            self._end.abort()
        else:
            self._end.start_drain(1.0)


CHILD_MANNERS: Final[Mapping[str, Callable[[RudeChild], list[bytes]]]] = (
    MappingProxyType(
        {
            "asks-for-others": RudeChild.ask_for_others,
            "one-id-twice": RudeChild.give_one_id_twice,
            "asks-without-id": RudeChild.ask_without_id,
            "pushes": RudeChild.push,
            "answers-unknown-call": RudeChild.answer,
            "bad-params": RudeChild.send_bad_params,
            "bogus-message": RudeChild.talk_nonsense,
        }
    )
)
"""What a rude child says, by name; besides, it leaves in the middle of a frame."""
