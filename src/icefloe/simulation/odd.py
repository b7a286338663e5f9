"""Requesters that ask for what cannot be had, and hear why.

Each asks in one odd way over a connection of its own.  Where nothing goes wrong it must
hear the reason that is due: a refusal without its reason helps nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from icefloe.enrollment.reasons import Reason
from icefloe.pki.certificates import common_name
from icefloe.simulation.daemons import Visitor
from icefloe.simulation.identities import (
    REVOKED_KEY_NUMBER,
    Identity,
    authority,
    self_signed_identity,
    signed_identity,
)
from icefloe.simulation.link import Link
from icefloe.simulation.network import Face
from icefloe.simulation.world import World, right_ticket, wrong_ticket
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    CertificateResult,
    RequestCertificate,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Response

VISITS_MAX: Final = 8
PATIENCE_SECONDS: Final = 30.0
GUESSES: Final = 66
"""More wrong tickets than one address may bring in a minute."""

GUESSED_NAMES: Final = 22
AT_ONCE: Final = 7
"""Fewer than may wait on one connection, so that each is looked at."""

TOO_MANY_AT_ONCE: Final = 12
KEYS: Final = 21
"""One more than a day's certificates for one name."""

BESIDE: Final = 21
"""With these it is more right tickets than wrong ones are heard in a minute."""

_NONSENSE: Final = (
    "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """What an odd requester does.

    Attributes:
        shown: what it shows in the handshake; None for nothing.
        asks: what it asks, in this order.
        at_once: how many asks it has under way at one time.
        due: the reason it must hear at least once.
        everywhere: also a relay gives the reason; else only a signer that is asked
            itself.
        signs: some of what it asks is to be signed; else a certificate is a bug.
        never: a reason it must never hear, or None.
        stays: it comes back to the same node, where it is counted; else to each in turn.
    """

    shown: Identity | None
    asks: Sequence[RequestCertificate] = field(repr=False)
    at_once: int = 1
    due: Reason
    everywhere: bool = True
    signs: bool = False
    never: Reason | None = None
    stays: bool = False


ODD_KINDS: Final = (
    *("odd-nothing", "odd-garbage", "odd-name", "odd-posted", "odd-signed"),
    *("odd-flood", "odd-guesser", "odd-revoked", "odd-member", "odd-keys"),
)
"""Kinds of odd requesters, of `cast.KINDS`."""


def neighbour(cn: str) -> str:
    """Return the name that an `odd-member` asks for: another agent's."""
    return f"beside-{cn}"


def oddity(kind: str, cn: str, key_number: int) -> Oddity:
    """Make what an odd requester does.

    Args:
        kind: of `ODD_KINDS`.
        cn: its name.
        key_number: its key.
    """
    own = self_signed_identity(cn, key_number)
    ask = RequestCertificate()
    if kind == "odd-nothing":
        return Oddity(shown=None, asks=[ask], due=Reason.NO_CERTIFICATE)
    if kind == "odd-garbage":
        garbage = RequestCertificate(cert_request=_NONSENSE)
        return Oddity(shown=own, asks=[garbage], due=Reason.BAD_CERTIFICATE)
    if kind == "odd-name":
        taken = self_signed_identity(common_name(authority().certificate), key_number)
        return Oddity(shown=taken, asks=[ask], due=Reason.BAD_NAME)
    if kind == "odd-posted":
        other = signed_identity(neighbour(cn), key_number + 300, due=True)
        posted = RequestCertificate(cert_request=other.pem)
        return Oddity(shown=own, asks=[posted], due=Reason.NO_POSSESSION)
    if kind == "odd-signed":
        signed = signed_identity(cn, key_number)
        return Oddity(shown=signed, asks=[ask], due=Reason.NOTHING_TO_DO)
    return _greedy(kind, cn, key_number)


def _greedy(kind: str, cn: str, key_number: int) -> Oddity:
    own = self_signed_identity(cn, key_number)
    if kind == "odd-flood":
        asked = RequestCertificate(ticket=wrong_ticket(cn))
        return Oddity(
            shown=own,
            asks=[asked] * TOO_MANY_AT_ONCE,
            at_once=TOO_MANY_AT_ONCE,
            due=Reason.LIMIT,
        )
    if kind == "odd-guesser":
        names = [f"guess-{number}-{cn}" for number in range(GUESSED_NAMES)]
        victims = [self_signed_identity(name, key_number) for name in names]
        return Oddity(
            shown=own,
            asks=[
                RequestCertificate(
                    ticket=wrong_ticket(each.cn, number), cert_request=each.pem
                )
                for number in range(GUESSES // GUESSED_NAMES)
                for each in victims
            ],
            at_once=AT_ONCE,
            due=Reason.TOO_MANY_WRONG_TICKETS,
            # Each node counts for itself. Whoever is answered all at once has served its
            # connection and comes again; by turns at two nodes, it is slow enough for both.
            stays=True,
        )
    if kind == "odd-revoked":
        return Oddity(
            shown=signed_identity(cn, REVOKED_KEY_NUMBER),
            asks=[RequestCertificate(ticket=right_ticket(cn))],
            due=Reason.REVOKED_KEY,
            everywhere=False,
        )
    if kind == "odd-member":
        other = self_signed_identity(neighbour(cn), key_number + 300)
        asked = RequestCertificate(
            ticket=right_ticket(other.cn), cert_request=other.pem
        )
        return Oddity(
            shown=signed_identity(cn, key_number),
            asks=[asked],
            due=Reason.OUTSIDE_SUBTREE,
            everywhere=False,
        )
    return _site(cn, key_number)


def _site(cn: str, key_number: int) -> Oddity:
    """Make a site that asks for many at once, all with right tickets."""
    asked = [
        *(self_signed_identity(cn, key_number + 30 * n) for n in range(KEYS)),
        *(self_signed_identity(f"beside-{n}-{cn}", key_number) for n in range(BESIDE)),
    ]
    return Oddity(
        shown=asked[0],
        asks=[
            RequestCertificate(ticket=right_ticket(each.cn), cert_request=each.pem)
            for each in asked
        ],
        at_once=AT_ONCE,
        due=Reason.TOO_MANY_CERTIFICATES,
        everywhere=False,
        signs=True,
        never=Reason.TOO_MANY_WRONG_TICKETS,
    )


class OddRequester(Visitor):
    """Asks oddly, listens, and is content with any answer while faults last."""

    def __init__(
        self,
        world: World,
        *,
        name: str,
        oddity: Oddity,
        parents: Sequence[str],
        told: bool,
        ours: bool,
    ) -> None:
        """Stand ready.

        Args:
            world: where.
            name: its address.
            oddity: what it does.
            parents: nodes of ours to ask; without one it goes home.
            told: the reason reaches it where nothing goes wrong.
            ours: every node that may decide about it is ours.
        """
        super().__init__(world, name, parents)
        self._oddity = oddity
        self._told = told and world.faults.plan.is_harmless
        self._ours = ours
        self._heard: set[str] = set()
        self._answers = 0
        self._sent = 0

    def begin(self) -> None:
        """Connect."""
        if not self._parents:
            self._go_home("nobody to ask")
            return
        if self.began_at is None:
            self.began_at = self._world.timeline.seconds
        self.asks += 1
        # What was cut off is asked once more.
        self._sent = self._answers
        shown = self._oddity.shown
        turn = 1 if self._oddity.stays else self.asks
        parent = self._parents[turn % len(self._parents)]
        face = Face(None if shown is None else shown.der)
        self._world.network.dial(self.name, parent, face, self._dialled)

    def link_opened(self, link: Link) -> None:
        """Ask."""
        self._world.timeline.after(PATIENCE_SECONDS, lambda: link.drain("impatient"))
        for _ in range(self._oddity.at_once):
            self._ask(link)

    def link_message(self, link: Link, message: Message) -> None:
        """Hear an answer, and ask the next thing."""
        if not isinstance(message, Response):
            return
        self._answers += 1
        try:
            self._judge(CertificateResult.parse(message.result))
        except MessageError as error:
            self._world.promises.no_bug_shows(self.name, f"was answered: {error}")
        if self._answers == len(self._oddity.asks):
            link.drain("answered")
        else:
            self._ask(link)

    def _judge(self, result: CertificateResult) -> None:
        reason = result.reason or ""
        self._heard.add(reason)
        self._world.reached.heard(reason)
        if not self._ours:
            return
        if result.status_code == 0 and not self._oddity.signs:
            self._world.promises.broken(
                "nobody_gets_what_is_not_due", self.name, "was given a certificate"
            )
        if self._oddity.never is not None and reason == self._oddity.never.value:
            self._world.promises.broken(
                "nobody_pays_for_success", self.name, f"is refused: {reason}"
            )

    def again(self) -> None:
        """Go home, or come once more when not everything was answered."""
        due = self._oddity.due.value
        if due in self._heard or self._answers == len(self._oddity.asks):
            self._go_home("answered")
        elif self.asks >= VISITS_MAX:
            self._go_home("gave up")
        else:
            self._world.timeline.after(2.0, self.begin)

    def _ask(self, link: Link) -> None:
        if self._sent == len(self._oddity.asks):
            return
        params = self._oddity.asks[self._sent]
        self._sent += 1
        call = f"odd-{self._sent}"
        link.step(
            lambda _now: link.session.send_request(
                REQUEST_CERTIFICATE, params.to_params(), call=call
            )
        )

    def _go_home(self, how: str) -> None:
        if self.finished:
            return
        self.finished = True
        self.ended = how
        self.finished_at = self._world.timeline.seconds
        if self._told and self._parents and self._oddity.due.value not in self._heard:
            heard = ", ".join(sorted(self._heard)) or "nothing"
            self._world.promises.broken(
                "a_refusal_has_its_reason",
                self.name,
                f"was not told {self._oddity.due.value}, but {heard}",
            )
