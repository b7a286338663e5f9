"""Preflight's look at the parents: name, port, TLS, trust and clock of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from icefloe.enrollment.problems import Code
from icefloe.errors import IcefloeError
from icefloe.node.acceptance import Distrust, peer_problem, tidy
from icefloe.node.commands.changes import AgentSetup
from icefloe.node.commands.checks import Check
from icefloe.node.commands.looking import Look, Reached, look_at_all
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import common_names, fingerprint
from icefloe.pki.errors import PKIError
from icefloe.pki.spans import span_text
from icefloe.pki.trust import CLOCKS_APART_SECONDS_MAX, TrustAnchor
from icefloe.storage.identity import IdentityFiles, load_trust_anchor

__all__ = ["check_clock", "check_parents", "short_fingerprint"]

_FINGERPRINT_BYTES_SHOWN: Final = 6
_UNREMARKABLE_SECONDS: Final = 2.0


def check_parents(wanted: AgentSetup, setting: Setting) -> Iterator[Check]:
    """Look at the parents that are to be asked, all at once.

    Yields:
        `dns`, `port`, `tls` and `trust` for each, as far as one comes; `clock` once.
    """
    looks = look_at_all(wanted.parents, clock=setting.clock)
    anchor: TrustAnchor | None = None
    with suppress(IcefloeError):  # the check of the identity says what is wrong
        files = IdentityFiles.of_node(setting.directories.certs, wanted.node.node_name)
        anchor = load_trust_anchor(files)
        if anchor is None and wanted.ca_pem is not None:
            anchor = TrustAnchor.from_pem(wanted.ca_pem)
    for look in looks:
        yield from _way_to(look)
        if look.leaf is not None:
            yield _trust(look, look.leaf, wanted, anchor)
    yield from check_clock(looks)


def _way_to(look: Look) -> Iterator[Check]:
    parent = look.parent
    if look.reached < Reached.ADDRESS:
        yield Check(
            "dns",
            ok=False,
            detail=f"the name {parent.host} does not resolve: {look.problem}",
            code=Code.NAME_NOT_RESOLVED,
            fix="correct the name, or give the parent's address",
        )
        return
    if list(look.addresses) != [parent.host]:
        text = f"{parent.host} is {', '.join(look.addresses)}"
        yield Check("dns", ok=True, detail=text)
    if look.reached < Reached.PORT:
        yield Check(
            "port",
            ok=False,
            detail=f"{parent} takes no connection: {look.problem}",
            code=Code.UNREACHABLE,
            fix="start the parent's daemon, or open the port in the firewall between",
        )
        return
    yield Check("port", ok=True, detail=f"{parent} takes connections")
    if look.leaf is None:
        yield Check(
            "tls",
            ok=False,
            detail=f"{parent} does not speak TLS: {tidy(look.problem)}",
            code=Code.TLS_FAILED,
            fix="see that this is the port of Icinga's API, 5665 unless changed",
        )
        return
    yield Check("tls", ok=True, detail=f"{parent} shows {_named(look.leaf)}")


def _trust(
    look: Look, leaf: x509.Certificate, wanted: AgentSetup, anchor: TrustAnchor | None
) -> Check:
    names = frozenset(each.name for each in wanted.node.parents)
    if not wanted.pins and anchor is None:
        return Check(
            "trust",
            ok=False,
            detail=f"nothing tells whether {look.parent} is to be trusted",
            code=Code.TRUST_MISSING,
            fix="fetch its certificate with 'pki save-cert', check the fingerprint and "
            "give it as --trustedcert",
        )
    try:
        problem = peer_problem(
            leaf, pins=wanted.pins, anchor=anchor, names=names, at=look.at
        )
    except PKIError as error:
        problem = Distrust(str(error))
    if problem is not None:
        return Check(
            "trust",
            ok=False,
            detail=f"{look.parent} is not to be trusted: {problem.text}",
            code=problem.code,
            fix="compare the fingerprint with the one that the parent itself shows "
            "('pki verify --cert')",
        )
    how = "the trusted one" if wanted.pins else "from the trusted CA"
    return Check("trust", ok=True, detail=f"its certificate is {how}")


def check_clock(looks: list[Look]) -> Iterator[Check]:
    """Hold our clock against the parents', or the dates of their certificates.

    Args:
        looks: What was seen of them; those that did not answer tell nothing.
    """
    told = [look for look in looks if look.ahead is not None]
    if told:
        look = max(told, key=lambda each: abs(each.ahead or 0.0))
        yield _apart(look, look.ahead or 0.0)
        return
    for look in looks:
        if look.leaf is not None:
            yield _within_validity(look, look.leaf)
            return


def _apart(look: Look, ahead: float) -> Check:
    apart = abs(ahead)
    if apart <= _UNREMARKABLE_SECONDS:
        text = f"it agrees with that of {look.parent}"
        return Check("clock", ok=True, detail=text)
    way = "behind" if ahead > 0 else "ahead of"
    text = f"it is {span_text(apart)} {way} that of {look.parent}"
    if apart <= CLOCKS_APART_SECONDS_MAX:
        return Check("clock", ok=True, detail=text)
    return _wrong(text)


def _within_validity(look: Look, leaf: x509.Certificate) -> Check:
    now = datetime.fromtimestamp(look.at, tz=UTC)
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now < begins:
        return _wrong(
            f"it says {now:%Y-%m-%d}, and the parent's certificate begins on "
            f"{begins:%Y-%m-%d}"
        )
    if now > ends:
        return _wrong(
            f"it says {now:%Y-%m-%d}, and the parent's certificate ended on "
            f"{ends:%Y-%m-%d}"
        )
    text = f"{now:%Y-%m-%d %H:%M} UTC, within the dates of the parent's certificate"
    return Check("clock", ok=True, detail=text)


def _wrong(text: str) -> Check:
    return Check(
        "clock",
        ok=False,
        detail=text,
        code=Code.CLOCK_WRONG,
        fix="set the clock (timedatectl set-ntp true), then run this again",
    )


def _named(leaf: x509.Certificate) -> str:
    name = tidy((common_names(leaf) or ("?",))[0])
    return f"the certificate of '{name}' (SHA-256 {short_fingerprint(leaf)} ...)"


def short_fingerprint(certificate: x509.Certificate) -> str:
    """Return the beginning of a fingerprint, as the printed block writes it."""
    text = fingerprint(certificate).upper()
    shown = text[: 2 * _FINGERPRINT_BYTES_SHOWN]
    return " ".join(shown[at : at + 2] for at in range(0, len(shown), 2))
