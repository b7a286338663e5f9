"""Whom a gateway believes: how it comes to a CA, and whom it takes for an upstream.

Tickets pass through a gateway, and a ticket is as good as the node it is for.  So a
gateway sends nothing before the other end has shown that it is the right one:

* its certificate is from the CA in `ca.crt`, and valid;
* it bears the name of *this* upstream.  Every agent of the cluster has a certificate
  from that CA; only the name tells the satellite from an agent that stands in its way.
  The name is what `--upstream HOST,PORT,NAME` says; else the one that was pinned; else
  the one seen at the first contact, which is remembered and logged;
* it does not bear the gateway's own name.

The CA comes from `--ca`; or from what an upstream shows in its handshake beside its own
certificate, if that is byte for byte the one of `--trustedcert` (or of the first contact,
with `--trust-first-use`) and was issued by that CA.  From then on the CA and the name
count, so that an upstream may renew its certificate, as it does each year.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.node.acceptance import is_from
from icefloe.node.client import FetchedCertificates, FetchFailed, fetch_certificate
from icefloe.node.gateway.home import GatewayHome
from icefloe.node.gateway.options import (
    GatewayProblem,
    TrustOptions,
    UpstreamPlace,
)
from icefloe.pki.certificates import (
    common_name,
    dns_names,
    fingerprint,
    key_id,
    load_pem,
    to_pem,
)
from icefloe.pki.errors import CertificateInvalid, PKIError
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import read_file
from icefloe.storage.identity import install_ca, load_trust_anchor
from icefloe.storage.narrator import Narrator

__all__ = ["UpstreamTrust", "establish_trust", "stored_trust"]

_SAVED: Final = "trusted-upstream.crt"


# --- Coming to a CA -------------------------------------------------------------------


async def establish_trust(
    home: GatewayHome,
    options: TrustOptions,
    upstreams: Sequence[UpstreamPlace],
    *,
    at: WallTime,
    narrator: Narrator,
) -> TrustAnchor:
    """Return the CA to believe; store it when it is new.

    Args:
        home: Where it is stored, beside the gateway's key, which exists.
        options: What the operator says.
        upstreams: Whom to ask where the CA is not given.
        at: The time.
        narrator: Is told what is believed for the first time.

    Raises:
        GatewayProblem: Nothing says whom to believe, or it cannot be had; the text
            says what to do.
        IdentityProblem: The stored CA is another one and does not vouch for this one.
        PKIError: A file holds no certificate that can be used.
        FileProblem: The operating system objects.
    """
    stored = load_trust_anchor(home.files)
    if options.ca_file is not None:
        return _from_file(home, options, at)
    if options.trusted_cert_file is not None:
        pinned = load_pem(read_file(options.trusted_cert_file))
        if stored is not None:
            return _checked(stored, pinned, options, at)
        return await _from_pinned(home, pinned, upstreams, at, narrator)
    if stored is not None:
        return stored
    if options.trust_first_use:
        return await _from_first_contact(home, upstreams, at, narrator)
    raise _nobody_to_believe(upstreams[0])


def stored_trust(
    home: GatewayHome, options: TrustOptions, *, at: WallTime
) -> TrustAnchor:
    """Return the CA to believe from files alone, for a gateway that runs.

    Raises:
        IdentityProblem: The CA in `--ca` is another one, for which the stored one does
            not vouch.
        PKIError: A file holds no certificate that can be used.
        FileProblem: The operating system objects.
    """
    if options.ca_file is not None:
        return _from_file(home, options, at)
    return _stored_anchor(home)


def _from_file(home: GatewayHome, options: TrustOptions, at: WallTime) -> TrustAnchor:
    assert options.ca_file is not None
    pem = read_file(options.ca_file)
    TrustAnchor.from_pem(pem)  # what is wrong with *this* file is said of it
    install_ca(home.files, ca_pem=pem, owner=None, at=at)
    return _stored_anchor(home)


def _checked(
    stored: TrustAnchor, pinned: x509.Certificate, options: TrustOptions, at: WallTime
) -> TrustAnchor:
    if not is_from(stored, pinned, at):
        raise GatewayProblem(
            f"the certificate in '{options.trusted_cert_file}' is not from the CA that "
            "this gateway has believed so far: if the CA was replaced on purpose, begin "
            "with an empty --data-dir; if not, somebody may be in your upstream's place"
        )
    return stored


async def _from_pinned(
    home: GatewayHome,
    pinned: x509.Certificate,
    upstreams: Sequence[UpstreamPlace],
    at: WallTime,
    narrator: Narrator,
) -> TrustAnchor:
    problems = []
    for place in upstreams:
        try:
            shown = await fetch_certificate(place.host, place.port)
        except FetchFailed as error:
            problems.append(str(error))
            continue
        if shown.leaf == pinned:
            return _believe(home, place, shown, at, narrator)
        problems.append(
            f"{place.label} shows another certificate than the trusted one (SHA-256 "
            f"{fingerprint(shown.leaf)}); if it was renewed, fetch it anew with 'pki "
            "save-cert' and compare it"
        )
    raise GatewayProblem("; ".join(problems))


async def _from_first_contact(
    home: GatewayHome,
    upstreams: Sequence[UpstreamPlace],
    at: WallTime,
    narrator: Narrator,
) -> TrustAnchor:
    problems = []
    for place in upstreams:
        try:
            shown = await fetch_certificate(place.host, place.port)
        except FetchFailed as error:
            problems.append(str(error))
            continue
        narrator.warning(
            f"{place.label} is believed at first contact. Compare its certificate's "
            f"SHA-256 fingerprint there: {fingerprint(shown.leaf)}"
        )
        return _believe(home, place, shown, at, narrator)
    raise GatewayProblem("; ".join(problems))


def _believe(
    home: GatewayHome,
    place: UpstreamPlace,
    shown: FetchedCertificates,
    at: WallTime,
    narrator: Narrator,
) -> TrustAnchor:
    """Store the CA from which an upstream that is believed has its certificate."""
    ca = _issuer_among(shown.chain, shown.leaf, at)
    if ca is None:
        raise GatewayProblem(
            f"{place.label} does not show the CA that issued its certificate: copy its "
            "ca.crt here and name it with --ca"
        )
    name = place.name or common_name(shown.leaf)
    install_ca(home.files, ca_pem=to_pem(ca), owner=None, at=at)
    home.remember(place.label, name)
    narrator.information(
        f"Believing the CA of {place.label} ('{name}'), SHA-256 {fingerprint(ca)}; "
        f"stored in '{home.files.ca}'."
    )
    return _stored_anchor(home)


def _issuer_among(
    chain: Iterable[x509.Certificate], leaf: x509.Certificate, at: WallTime
) -> x509.Certificate | None:
    for candidate in chain:
        try:
            anchor = TrustAnchor.from_pem(to_pem(candidate))
        except CertificateInvalid:
            continue
        if is_from(anchor, leaf, at):
            return candidate
    return None


def _stored_anchor(home: GatewayHome) -> TrustAnchor:
    anchor = load_trust_anchor(home.files)
    assert anchor is not None, "it was just stored"
    return anchor


def _nobody_to_believe(place: UpstreamPlace) -> GatewayProblem:
    port = place.port
    return GatewayProblem(
        "nothing says whom to believe, and tickets are not for everybody. Either copy "
        "the cluster's ca.crt (on any node: /var/lib/icinga2/certs/ca.crt) and add\n"
        "    --ca ca.crt\n"
        "or fetch the upstream's certificate,\n"
        f"    icefloe pki save-cert --host {place.host} --port {port} "
        f"--trustedcert {_SAVED}\n"
        "compare the SHA-256 fingerprint that it prints with what this prints on "
        f"{place.host},\n"
        "    openssl x509 -noout -fingerprint -sha256 "
        "-in /var/lib/icinga2/certs/NODENAME.crt\n"
        "and add\n"
        f"    --trustedcert {_SAVED}\n"
        "(--trust-first-use believes whoever answers first: for a lab.)"
    )


# --- Who is an upstream ---------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class UpstreamTrust:
    """Decides whether the other end of a connection is the upstream it is to be.

    Attributes:
        anchor: The CA; replaced when it is renewed.
        home: Remembers the names of upstreams.
        own_key_id: Of the gateway's key.
    """

    anchor: TrustAnchor
    home: GatewayHome
    own_key_id: str

    def problem(
        self, place: UpstreamPlace, leaf: x509.Certificate, at: WallTime
    ) -> str | None:
        """Say why nothing is to be sent there; None when it is the right one.

        Args:
            place: Whom we wanted.
            leaf: What it showed in the TLS handshake.
            at: The time.
        """
        try:
            name = common_name(leaf)
        except PKIError as error:
            return str(error)
        if key_id(leaf) == self.own_key_id:
            return "it is this gateway itself"
        if name == self.home.name:
            return (
                f"it bears this gateway's own name '{name}': a gateway may not have "
                "the name of a node; begin with an empty --data-dir and another --name"
            )
        reasons = self.anchor.problems(leaf, at)
        if reasons:
            return "; ".join(reasons)
        wanted = place.name or self.home.met.get(place.label, "")
        if wanted in {"", name}:
            return None
        return (
            f"it is '{name}' and not '{wanted}'; if that is meant, say so: "
            f"--upstream {place.host},{place.port},{name}"
        )

    def meet(self, place: UpstreamPlace, leaf: x509.Certificate) -> bool:
        """Remember an upstream that `problem` has nothing against.

        Returns:
            Whether its name was unknown and is no name of its host: nothing but the
            first contact says that it is the right one.

        Raises:
            FileProblem: It cannot be remembered.
        """
        name = common_name(leaf)
        known = bool(place.name or self.home.met.get(place.label))
        self.home.remember(place.label, name)
        names = {name.lower(), *(each.lower() for each in dns_names(leaf))}
        return not known and place.host.lower() not in names
