"""Agents that have a name, a key and a self-signed certificate, and want a real one.

All of it is made before any clock starts: what is measured is the parent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from OpenSSL import SSL

from icefloe.doors import Entropy, WallTime
from icefloe.errors import IcefloeError
from icefloe.lab.errors import CrowdInvalid
from icefloe.node.tls.contexts import TLSIdentity, client_context
from icefloe.pki import certificates, profiles, tickets
from icefloe.pki.names import check_common_name
from icefloe.storage.keys import KeyType, encode_private_key, generate_key

AGENTS_MAX = 100_000
"""Each holds a key and a TLS context, some 20 KB."""

MAKING_THREADS = 4
"""PBKDF2 and key generation let other threads run."""

_T = TypeVar("_T")
_R = TypeVar("_R")

_TICKET_BYTES = 20
_SEPARATOR = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An agent to be made: its name, and the ticket it has been given, or none."""

    name: str
    ticket: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent before its first certificate.

    Attributes:
        name: Its common name.
        ticket: What it sends as ticket; may be empty, or wrong on purpose.
        key_id: Of its key.
        key_pem: The key, PEM.
        certificate_pem: Its self-signed certificate, PEM.
        context: TLS as this agent dials; usable for many connections.
    """

    name: str
    ticket: str = field(repr=False)
    key_id: str
    key_pem: bytes = field(repr=False)
    certificate_pem: str = field(repr=False)
    context: SSL.Context = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdPlan:
    """Which agents are to be made.

    Attributes:
        count: How many, where no tickets file names them.
        prefix: What their names begin with; empty for another one each time.
        salt: The salt that makes their tickets; empty for agents without one.
        tickets: The text of a tickets file, in place of count, prefix and salt.
        wrong_tickets: Whether each gets a ticket that is not its own.
        key_type: The type of their keys.
    """

    count: int
    prefix: str = ""
    salt: str = field(default="", repr=False)
    tickets: str | None = field(default=None, repr=False)
    wrong_tickets: bool = False
    key_type: KeyType = KeyType.EC


async def gather_crowd(
    plan: CrowdPlan, *, entropy: Entropy, now: WallTime
) -> list[Agent]:
    """Make the agents of a plan.

    Raises:
        CrowdInvalid: They cannot be made.
    """
    prefix = plan.prefix or f"storm-{entropy.bytes(3).hex()}-"
    if plan.tickets is not None:
        wishes = read_tickets(plan.tickets)
    elif plan.salt and not plan.wrong_tickets:
        names = numbered_names(prefix, plan.count)
        wishes = await with_tickets(names, salt=plan.salt)
    else:
        wishes = [Wish(name=name) for name in numbered_names(prefix, plan.count)]
    if plan.wrong_tickets:
        # Of a ticket's form, so that it takes the signer the full price to refuse it.
        wishes = [
            replace(wish, ticket=entropy.bytes(_TICKET_BYTES).hex()) for wish in wishes
        ]
    return await make_agents(wishes, key_type=plan.key_type, entropy=entropy, now=now)


def numbered_names(prefix: str, count: int) -> list[str]:
    """Return `count` names, alike in length, that begin with `prefix`.

    Raises:
        CrowdInvalid: There are too many, or a node may not have such a name.
    """
    if not 1 <= count <= AGENTS_MAX:
        raise CrowdInvalid(f"from 1 to {AGENTS_MAX} agents can be made, not {count}")
    width = len(str(count))
    return [f"{prefix}{number:0{width}}" for number in range(1, count + 1)]


def read_tickets(text: str) -> list[Wish]:
    """Read a tickets file: a name and its ticket on each line.

    Blank lines and lines that begin with `#` are passed over; the ticket may be
    missing.

    Raises:
        CrowdInvalid: A line has more than two words; it is named by its number only.
    """
    wishes = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = _SEPARATOR.split(line.strip())
        if len(words) > 2:
            raise CrowdInvalid(f"tickets file, line {number}: not `name ticket`")
        wishes.append(Wish(name=words[0], ticket=words[1] if len(words) > 1 else ""))
    return wishes


async def with_tickets(names: Iterable[str], *, salt: str) -> list[Wish]:
    """Give each name the ticket that this salt makes (10 to 20 ms of CPU for each).

    Raises:
        CrowdInvalid: A name or the salt cannot be used.
    """
    return await _in_threads(partial(_with_ticket, salt=salt), names)


async def make_agents(
    wishes: Sequence[Wish],
    *,
    key_type: KeyType = KeyType.EC,
    entropy: Entropy,
    now: WallTime,
) -> list[Agent]:
    """Make keys, self-signed certificates and TLS contexts.

    Raises:
        CrowdInvalid: A name cannot be used, or one is wished for twice.
    """
    names = {wish.name for wish in wishes}
    if len(names) < len(wishes):
        raise CrowdInvalid("a name is wanted twice")
    make = partial(_make_agent, key_type=key_type, entropy=entropy, now=now)
    return await _in_threads(make, wishes)


async def _in_threads(make: Callable[[_T], _R], things: Iterable[_T]) -> list[_R]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(MAKING_THREADS, "icefloe-crowd") as pool:
        made = [loop.run_in_executor(pool, make, thing) for thing in things]
        try:
            return list(await asyncio.gather(*made))
        except IcefloeError as error:
            raise CrowdInvalid(error.public) from error
        finally:
            # Whoever stops here, by an error or by Ctrl-C, waits for nobody's key.
            pool.shutdown(wait=False, cancel_futures=True)


def _with_ticket(name: str, *, salt: str) -> Wish:
    return Wish(name=name, ticket=tickets.ticket(check_common_name(name), salt))


def _make_agent(
    wish: Wish, *, key_type: KeyType, entropy: Entropy, now: WallTime
) -> Agent:
    key = generate_key(key_type)
    certificate = profiles.self_signed(
        check_common_name(wish.name),
        key,
        serial=profiles.serial_from(entropy.bytes(profiles.SERIAL_BYTES)),
        not_before=WallTime(now - profiles.BACKDATE),
        not_after=WallTime(now + profiles.LEAF_LIFETIME),
    )
    pem, key_pem = certificates.to_pem(certificate), encode_private_key(key)
    return Agent(
        name=wish.name,
        ticket=wish.ticket,
        key_id=certificates.key_id(certificate),
        key_pem=key_pem,
        certificate_pem=pem,
        context=client_context(
            TLSIdentity(certificate_pem=pem.encode(), key_pem=key_pem)
        ),
    )
