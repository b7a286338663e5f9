"""Rude nodes: a parent that lies, refuses, is late or silent while faults last.

A rude node has a seat in the tree, a valid certificate, and otherwise the habits of a
real release; it may hold the CA key.  For each request it draws one of `MANNERS`.  What
it must never achieve beside our nodes: that a certificate is installed, handed out or
recorded that is not the right one, that something grows without bound, or that
somebody is not served once it behaves.  What it can do, as any parent can: refuse, and
say nothing.

Its lies are the best there are: what it hands out is signed by the true CA, for another
name or another key, or was valid once.  A right certificate under another serial number
is no lie: only who holds the CA key can make one, and then it is a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from cryptography import x509

from icefloe.enrollment.model import ticket_digest
from icefloe.habits import Effect
from icefloe.pki.certificates import common_name, fingerprint, to_pem
from icefloe.pki.errors import PKIError
from icefloe.simulation.habitual import HabitualLife, HabitualMachine
from icefloe.simulation.habitual_link import HabitualLinkOnTimeline
from icefloe.simulation.identities import (
    authority,
    false_certificate,
    read_der,
    read_pem,
)
from icefloe.wire.catalogue import (
    HELLO,
    REQUEST_CERTIFICATE,
    SET_LOG_POSITION,
    UPDATE_CERTIFICATE,
    CertificateResult,
    RequestCertificate,
    UpdateCertificate,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import (
    Message,
    Notification,
    Request,
    encode_empty_response,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
)

LIES: Final = ("other-key", "other-name", "other-ca", "expired")
"""What is wrong with a certificate that is handed out; see `false_certificate`."""

LATE_SECONDS_MAX: Final = 40.0
DISORDER_SECONDS_MAX: Final = 2.0

_BYTES: Final = (b'5:{"a":', b"99999999999999:", b"GET / HTTP/1.0\r\n\r\n", b"3:abc,")
_MESSAGES: Final = (
    encode_notification("no::SuchMethod", {"a": [1, 2, 3]}),
    encode_notification(HELLO, {"version": "new", "capabilities": []}),
    encode_notification(SET_LOG_POSITION, {"log_position": "never"}),
    encode_notification(UPDATE_CERTIFICATE, {"cert": 5}),
    encode_notification(UPDATE_CERTIFICATE, None),
    encode_request(REQUEST_CERTIFICATE, {"ticket": {"a": 1}}, "bogus"),
    encode_request(REQUEST_CERTIFICATE, {"cert_request": "no certificate"}, [1]),
    encode_response("nobody asked", {"status_code": 0}),
    encode_response(None, 5),
    encode_empty_response("own.1"),
    b'{"jsonrpc":"2.0","id":"own.1","result":{"status_code":1e400}}',
)


class RudeMachine(HabitualMachine):
    """A rude node over all its lives."""

    def make_life(self) -> HabitualLife:
        """Return a new life."""
        return RudeLife(self, self.world)


class RudeLife(HabitualLife):
    """One life of a rude node: polite again when the faults stop."""

    def link_message(self, link: HabitualLinkOnTimeline, message: Message) -> None:
        """Take a message; a request for a certificate is treated as it pleases."""
        asks = (
            isinstance(message, Request | Notification)
            and message.method == REQUEST_CERTIFICATE
        )
        if not asks or not self.world.faults.active:
            super().link_message(link, message)
            return
        assert isinstance(message, Request | Notification)
        manner = self.world.chance.choice(tuple(MANNERS))
        self.world.counts[f"rude.{manner}"] += 1
        self.world.note(self.machine.name, f"is rude: {manner}")
        MANNERS[manner](self, link, message)

    # -- manners ------------------------------------------------------------------------

    def be_polite(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Do what the release does."""
        super().link_message(link, message)

    def be_silent(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Answer nothing, and forward nothing."""

    def be_late(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Do it all, after a while."""
        effects = self.effects_of(link, message)
        self._later(LATE_SECONDS_MAX, effects)

    def do_it_twice(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Say everything twice."""
        effects = self.effects_of(link, message)
        self.carry_out([*effects, *effects])

    def be_out_of_order(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Do each thing some time, in any order."""
        for effect in self.effects_of(link, message):
            self._later(DISORDER_SECONDS_MAX, [effect])

    def refuse(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Refuse without a reason."""
        self._answer(link, message, CertificateResult(status_code=1, error="No."))

    def refuse_the_ticket(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Say of any ticket, and of none, that it is wrong."""
        asked = self._asked(link, message)
        if asked is None:
            return
        ticket = RequestCertificate.parse(message.params).ticket
        told = (fingerprint(asked), ticket_digest(ticket))
        self.world.promises.lies_about_tickets.add(told)
        error = f"Invalid ticket for CN '{common_name(asked)}'."
        self._answer(link, message, CertificateResult(status_code=1, error=error))

    def lie(
        self,
        link: HabitualLinkOnTimeline,
        message: Request | Notification,
        *,
        what: str,
    ) -> None:
        """Hand out a certificate that is not the right one."""
        asked = self._asked(link, message)
        if asked is not None:
            false = to_pem(false_certificate(asked, what))
            self._hand_out(link, message, false, fingerprint(asked))

    def name_another_fingerprint(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Hand out a false certificate for a request that nobody made."""
        asked = self._asked(link, message)
        if asked is not None:
            lie = self.world.chance.choice(LIES)
            false = to_pem(false_certificate(asked, lie))
            self._hand_out(link, message, false, "ab" * 32)

    def hand_out_rubbish(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Say that it is signed, with something that is no certificate."""
        rubbish = self.world.chance.choice(("rubbish", "", authority(2).anchor.pem))
        asked = self._asked(link, message)
        if asked is not None:
            self._hand_out(link, message, rubbish, fingerprint(asked))

    def push_unasked(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Push the peer a false certificate of its own, then be polite."""
        shown = link.peer.certificate
        if shown is not None:
            own = read_der(shown)
            false = false_certificate(own, self.world.chance.choice(LIES))
            update = UpdateCertificate(
                cert=to_pem(false),
                ca=authority(2).anchor.pem,
                fingerprint_request=fingerprint(own),
            )
            link.send(encode_notification(UPDATE_CERTIFICATE, update.to_params()))
        self.be_polite(link, message)

    def answer_another_call(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Answer calls that nobody made with a false certificate, then be polite."""
        asked = self._asked(link, message)
        if asked is not None:
            false = false_certificate(asked, self.world.chance.choice(LIES))
            result = CertificateResult(
                status_code=0,
                cert=to_pem(false),
                ca=authority(2).anchor.pem,
                error="",
                fingerprint_request=fingerprint(asked),
            )
            for call in ("nobody", "own.1", "own.77", 5, None):
                link.send(encode_response(call, result.to_params()))
        self.be_polite(link, message)

    def answer_an_error(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Answer as after an exception."""
        if isinstance(message, Request):
            link.send(encode_error(message.id, "Error: something went wrong."))

    def talk_nonsense(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Send messages that mean nothing, then be polite."""
        link.send(self.world.chance.choice(_MESSAGES))
        self.be_polite(link, message)

    def send_rubbish(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Send bytes that are no message."""
        del message
        link.send_raw(self.world.chance.choice(_BYTES))

    def hang_up(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> None:
        """Take the request, and close without a word."""
        self.effects_of(link, message)
        link.close_cut()

    # -- inside ---------------------------------------------------------------------------

    def _later(self, most: float, effects: list[Effect]) -> None:
        def act() -> None:
            self.enter(lambda: self.carry_out(effects))

        self.world.timeline.after(self.world.chance.uniform(0.0, most), act)

    def _asked(
        self, link: HabitualLinkOnTimeline, message: Request | Notification
    ) -> x509.Certificate | None:
        try:
            params = RequestCertificate.parse(message.params)
            if params.cert_request:
                return read_pem(params.cert_request)
        except (MessageError, PKIError):
            return None
        shown = link.peer.certificate
        return None if shown is None else read_der(shown)

    def _answer(
        self,
        link: HabitualLinkOnTimeline,
        message: Request | Notification,
        result: CertificateResult,
    ) -> None:
        if isinstance(message, Request):
            link.send(encode_response(message.id, result.to_params()))

    def _hand_out(
        self,
        link: HabitualLinkOnTimeline,
        message: Request | Notification,
        certificate: str,
        about: str,
    ) -> None:
        result = CertificateResult(
            status_code=0,
            cert=certificate,
            ca=self.world.chance.choice((authority(1), authority(2))).anchor.pem,
            error="",
            fingerprint_request=about,
        )
        self._answer(link, message, result)
        link.send(encode_notification(UPDATE_CERTIFICATE, result.to_params()))


_Manner = Callable[[RudeLife, HabitualLinkOnTimeline, Request | Notification], None]

MANNERS: Final[Mapping[str, _Manner]] = MappingProxyType(
    {
        "polite": RudeLife.be_polite,
        "silent": RudeLife.be_silent,
        "late": RudeLife.be_late,
        "twice": RudeLife.do_it_twice,
        "out-of-order": RudeLife.be_out_of_order,
        "refuses": RudeLife.refuse,
        "refuses-the-ticket": RudeLife.refuse_the_ticket,
        **{f"lies-{what}": partial(RudeLife.lie, what=what) for what in LIES},
        "lies-unknown-fingerprint": RudeLife.name_another_fingerprint,
        "lies-rubbish": RudeLife.hand_out_rubbish,
        "pushes-unasked": RudeLife.push_unasked,
        "answers-unknown-call": RudeLife.answer_another_call,
        "answers-error": RudeLife.answer_an_error,
        "bogus-message": RudeLife.talk_nonsense,
        "bogus-bytes": RudeLife.send_rubbish,
        "hangs-up": RudeLife.hang_up,
    }
)
"""What a rude parent does with one request, by name."""
