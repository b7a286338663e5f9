"""Whether nothing was lost and nothing was done twice: judged from outside.

From files, ledgers and logs only, when all daemons have ended; not one line of the
judged code is asked for its opinion, but for what reads and verifies a certificate.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from icefloe.doors import WallTime
from icefloe.lab.chaos_agents import Applicant
from icefloe.lab.chaos_stage import MARK
from icefloe.pki.certificates import load_der, load_pem, serial_hex
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import TrustAnchor, verify_issued

COMPLAINTS_MAX: Final = 50
OURS: Final = frozenset({"master1", "sat1"})
"""The names of the stage itself."""

_SETTLED: Final = ("issued", "answered", "delivered", "confirmed")


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """What a ledger says, as rows.

    Attributes:
        who: Whose it is.
        checks: What SQLite's own checks found, but for "ok".
        requests: Id, common name and state of each request.
        certificates: Request, serial, bytes and surplus of each certificate.
        intents: Serial by request.
        decided: Requests with a decision.
        open_attempts: Requests with an attempt that waits.
        tickets_kept: Names whose ticket is kept though they are settled.
    """

    who: str
    checks: tuple[str, ...]
    requests: tuple[tuple[str, str, str], ...]
    certificates: tuple[tuple[str, str, bytes, int], ...]
    intents: dict[str, str]
    decided: frozenset[str]
    open_attempts: frozenset[str]
    tickets_kept: frozenset[str]

    @classmethod
    def read(cls, who: str, path: Path) -> LedgerFacts:
        """Read a ledger that nobody uses now."""
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
        ) as db:

            def rows(query: str) -> tuple[Any, ...]:
                return tuple(db.execute(query).fetchall())

            found = [row[0] for row in rows("PRAGMA integrity_check")]
            found += [str(row) for row in rows("PRAGMA foreign_key_check")]
            return cls(
                who=who,
                checks=tuple(each for each in found if each != "ok"),
                requests=rows("SELECT request_id, cn, state FROM requests"),
                certificates=rows(
                    "SELECT request_id, serial, certificate, surplus FROM certificates"
                ),
                intents=dict(rows("SELECT request_id, serial FROM intents")),
                decided=frozenset(
                    row[0] for row in rows("SELECT request_id FROM decisions")
                ),
                open_attempts=frozenset(
                    row[0]
                    for row in rows(
                        "SELECT request_id FROM attempts"
                        " WHERE state IN ('received', 'forwarded', 'pending')"
                    )
                ),
                tickets_kept=frozenset(
                    row[0]
                    for row in rows(
                        "SELECT requests.cn FROM attempts JOIN requests"
                        " USING (request_id) WHERE ticket <> '' AND request_id IN"
                        " (SELECT request_id FROM certificates)"
                    )
                ),
            )

    def complaints(self) -> Iterator[str]:
        """Name what must not be in any ledger."""
        for found in self.checks:
            yield f"{self.who}: SQLite's check says: {found}"
        for request, cn, state in self.requests:
            if state not in _SETTLED:
                yield f"{self.who}: the request of {cn} is left {state}"
            elif request in self.open_attempts:
                yield f"{self.who}: an attempt of {cn} is left open"
        for cn in self.tickets_kept:
            yield f"{self.who}: keeps the ticket of {cn}, which is settled"
        yield from self._doubled()

    def _doubled(self) -> Iterator[str]:
        names = {request: cn for request, cn, _ in self.requests}
        of_request = Counter(request for request, _, _, _ in self.certificates)
        of_name = Counter(cn for _, cn, _ in self.requests)
        for request, count in of_request.items():
            if count > 1:
                yield f"{self.who}: {names.get(request)} has {count} certificates"
        for cn, count in of_name.items():
            if count > 1:
                yield f"{self.who}: {cn} has {count} requests"
        for _, serial, der, surplus in self.certificates:
            if surplus:
                yield f"{self.who}: {serial} is surplus"
            if serial_hex(load_der(der)).lower() != serial:
                yield f"{self.who}: {serial} is not the number of its certificate"

    def signer_complaints(self) -> Iterator[str]:
        """Name what must not be in a signer's ledger: orphans."""
        signed = {request: serial for request, serial, _, _ in self.certificates}
        for request, cn, _ in self.requests:
            if request in signed and request not in self.decided:
                yield f"{self.who}: {cn} has a certificate and no decision"
            if request in signed and self.intents.get(request) != signed[request]:
                yield f"{self.who}: {cn} has a certificate and another intent, or none"
            if request in self.intents and request not in signed:
                yield f"{self.who}: {cn} has an intent and no certificate"

    def bytes_of(self) -> dict[str, bytes]:
        """Return each request's certificate."""
        return {request: der for request, _, der, _ in self.certificates}


def agents_complaints(
    applicants: Iterable[Applicant], *, trust: TrustAnchor, at: WallTime
) -> Iterator[str]:
    """Judge what the agents have in their hands."""
    for each in applicants:
        if not each.is_signed:
            yield f"{each.name}: not signed after {each.tries} tries"
            continue
        try:
            verify_issued(
                load_pem(each.certificate),
                cn=each.name,
                key_id=each.key_id,
                anchor=trust,
                at=at,
            )
            if load_pem(each.ca) != trust.ca:
                yield f"{each.name}: was given another CA"
        except PKIError as error:
            yield f"{each.name}: {error.public}"


def ledgers_complaints(
    applicants: Sequence[Applicant],
    *,
    signer: LedgerFacts | None,
    relay: LedgerFacts | None,
) -> Iterator[str]:
    """Compare the ledgers with each other, and with what the agents have."""
    for facts in (signer, relay):
        if facts is None:
            continue
        yield from facts.complaints()
        known = {serial: load_der(der) for _, serial, der, _ in facts.certificates}
        for each in applicants:
            if not each.is_signed:
                continue
            certificate = load_pem(each.certificate)
            if known.get(serial_hex(certificate).lower()) != certificate:
                yield f"{facts.who}: does not know the certificate of {each.name}"
        names = {each.name for each in applicants}
        for cn in sorted({cn for _, cn, _ in facts.requests} - names - OURS):
            yield f"{facts.who}: knows {cn}, who never asked"
    if signer is not None:
        yield from signer.signer_complaints()
    if signer is not None and relay is not None:
        theirs = signer.bytes_of()
        for request, der in relay.bytes_of().items():
            if theirs.get(request) != der:
                yield f"relay and signer disagree about request {request[:8]}"


def log_complaints(who: str, events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Name internal errors that a daemon has logged."""
    for event in events:
        if "exception" in event:
            what = str(event.get("event"))
            last = str(event["exception"]).strip().splitlines()[-1:]
            yield f"{who}: logged an internal error: {what}: {''.join(last)}"


def left_over(mark: str) -> list[str]:
    """Name the processes of a run that are still there."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                words = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                found.append(
                    f"{directory.name}: {words.decode(errors='replace')[:120]}"
                )
        except OSError:
            continue
    return found


def first_few(complaints: Iterable[str]) -> list[str]:
    """Return different complaints, not too many of them."""
    found = list(dict.fromkeys(complaints))
    if len(found) > COMPLAINTS_MAX:
        more = len(found) - COMPLAINTS_MAX
        return [*found[:COMPLAINTS_MAX], f"and {more} more"]
    return found
