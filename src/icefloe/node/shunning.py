"""Shunning: askings that are refused before they reach the core.

What is refused is decided in `enrollment/shunned.py`; here it is answered. A stranger's
connection stays for a few seconds: a flood that has to shake hands again for each
refusal would cost more than the refusals do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from icefloe.doors import Clock
from icefloe.enrollment.answers import refused
from icefloe.enrollment.commands import Level, Shun
from icefloe.enrollment.events import CertificateAsked, LinkId
from icefloe.enrollment.failures import stranger_key
from icefloe.enrollment.shunned import STAYS_SECONDS, Shunned
from icefloe.node.link import Link
from icefloe.node.logs import Logger


class Shunning:
    """Refuses the askings of peers that are over their rate."""

    def __init__(
        self,
        node_name: str,
        *,
        clock: Clock,
        log: Logger,
        leave: Callable[[Link, str], None],
    ) -> None:
        """Refuse nobody.

        Args:
            node_name: who refuses.
            clock: the real one, or a test's.
            log: told of each refusal; keeps most of them back.
            leave: closes a connection once no answer is owed on it.
        """
        self._shunned = Shunned(node_name)
        self._clock = clock
        self._log = log
        self._leave = leave
        self._ending: set[LinkId] = set()

    @property
    def refused(self) -> int:
        """How many askings were refused here."""
        return self._shunned.refused

    def heed(self, command: Shun) -> None:
        """Refuse a peer until it is heard again."""
        self._shunned.heed(command, self._clock.now().mono)

    def is_over_rate(self, source: str) -> bool:
        """Whether a source of strangers is refused at the moment."""
        return self._shunned.is_shunned(stranger_key(source), self._clock.now().mono)

    def refuses(self, link: Link, event: CertificateAsked) -> bool:
        """Answer an asking that is refused; returns whether it was."""
        refusal = self._shunned.refusal(event, link.peer, self._clock.now().mono)
        if refusal is None:
            return False
        self._log.log(
            Level.WARNING,
            "request turned away",
            peer=link.peer.label,
            address=link.peer.address,
            reason=refusal.reason,
            detail=refusal.text,
        )
        call = event.call
        if call is not None:
            result = refused(refusal).to_params()
            link.step(lambda _now: link.session.send_response(result, call=call.value))
        self.end_soon(link)
        return True

    def end_soon(self, link: Link) -> None:
        """Close a stranger's connection, on which a peer was refused, in a moment."""
        if link.peer.is_member or link.link_id in self._ending:
            return
        self._ending.add(link.link_id)
        asyncio.get_running_loop().call_later(STAYS_SECONDS, self._end, link)

    def _end(self, link: Link) -> None:
        self._ending.discard(link.link_id)
        # Another asking on it, without a ticket say, may still wait for its answer.
        self._leave(link, "over-rate")
