"""A signer renews its own certificate: it asks nobody else, for nobody is above it.

It is a request as any other, so that there is a decision before there is a certificate,
and the same one after a crash: presented by its owner, decided as a renewal.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.enrollment.model import (
    AttemptRecord,
    AttemptState,
    Origin,
    RequestRecord,
    RequestState,
    attempt_id,
    request_id,
    serial_text,
)
from icefloe.enrollment.reasons import HopDid
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import (
    common_name,
    fingerprint,
    key_id,
    serial_number,
)


def own_request(
    turn: Turn, certificate: x509.Certificate
) -> tuple[RequestRecord, AttemptRecord]:
    """Return the request to renew a signer's own certificate, made if need be.

    Args:
        turn: to write it in.
        certificate: the one to be renewed; this node has its key.

    Returns:
        The request, whatever state it has come to, and the asking.
    """
    cn, key = common_name(certificate), key_id(certificate)
    renews = serial_text(serial_number(certificate))
    name = request_id(cn=cn, key_id=key, renews=renews)
    request = turn.request(name)
    if request is None:
        request = turn.store_request(
            RequestRecord(
                request_id=name,
                cn=cn,
                key_id=key,
                renews=renews,
                state=RequestState.RECEIVED,
                created_at=turn.now.wall,
                updated_at=turn.now.wall,
            )
        )
        turn.add_hop(name, HopDid.RECEIVED)
    presented = fingerprint(certificate)
    which = attempt_id(request_id=name, fingerprint=presented, digest="")
    attempt = turn.attempt(which)
    if attempt is None:
        attempt = turn.store_attempt(
            AttemptRecord(
                attempt_id=which,
                request_id=name,
                fingerprint=presented,
                certificate=certificate.public_bytes(Encoding.DER),
                ticket="",
                ticket_digest="",
                requestor_ca="",
                origin=Origin.DIRECT,
                via=turn.node_name,
                state=AttemptState.RECEIVED,
                asked_at=turn.now.wall,
            )
        )
    return request, attempt
