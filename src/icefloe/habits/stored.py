"""The files of `certificate-requests`, without a disk.

    <fingerprint>.json      waiting, or answered once it has a `cert_response`
    <fingerprint>.removed   taken out by `ca remove`

One request per fingerprint: asking again overwrites it, ticket and all, and so an ask
without a ticket loses the ticket of an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from icefloe.doors import WallTime
from icefloe.habits.versions import REQUEST_LIFETIME_SECONDS
from icefloe.wire.catalogue import RequestCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """One stored request.

    Attributes:
        fingerprint: Of the certificate that is to be signed.
        cert_request: That certificate, PEM.
        ticket: Of the latest ask; may be empty.
        requestor_ca: PEM of the requester's root, or empty.
        written_at: When the file was last written.
        cert_response: PEM of the signed certificate; empty while it waits.
    """

    fingerprint: str
    cert_request: str
    ticket: str = field(repr=False)
    requestor_ca: str
    written_at: WallTime
    cert_response: str = ""

    def to_params(self) -> dict[str, object]:
        """Return what is sent upward for it."""
        return RequestCertificate(
            ticket=self.ticket,
            cert_request=self.cert_request,
            requestor_ca=self.requestor_ca,
        ).to_params()


class RequestStore:
    """All stored requests of one node; they survive a restart."""

    def __init__(self) -> None:
        self._requests: dict[str, StoredRequest] = {}
        self._removed: dict[str, StoredRequest] = {}

    def get(self, fingerprint: str) -> StoredRequest | None:
        """Return the stored request, answered or not."""
        return self._requests.get(fingerprint)

    def is_removed(self, fingerprint: str) -> bool:
        """Say whether somebody took this request out."""
        return fingerprint in self._removed

    def waiting(self) -> Iterator[StoredRequest]:
        """Go through the requests without an answer, by fingerprint."""
        for fingerprint in sorted(self._requests):
            if not self._requests[fingerprint].cert_response:
                yield self._requests[fingerprint]

    def put(self, request: StoredRequest) -> None:
        """Store a request, in place of an older one with this fingerprint."""
        self._requests[request.fingerprint] = request

    def answer(self, fingerprint: str, *, certificate: str, at: WallTime) -> bool:
        """Add the signed certificate (PEM); return whether there is such a request."""
        request = self._requests.get(fingerprint)
        if request is None:
            return False
        self.put(replace(request, cert_response=certificate, written_at=at))
        return True

    def remove(self, fingerprint: str) -> bool:
        """Take a waiting request out (`ca remove`); return whether that was done."""
        request = self._requests.get(fingerprint)
        if request is None or request.cert_response:
            return False
        self._removed[fingerprint] = self._requests.pop(fingerprint)
        return True

    def restore(self, fingerprint: str) -> bool:
        """Put a removed request back (`ca restore`); return whether that was done."""
        request = self._removed.pop(fingerprint, None)
        if request is not None:
            self.put(request)
        return request is not None

    def expire(self, now: WallTime) -> None:
        """Delete requests not written for 7 days; a removed one is kept."""
        self._requests = {
            fingerprint: request
            for fingerprint, request in self._requests.items()
            if now - request.written_at <= REQUEST_LIFETIME_SECONDS
        }
