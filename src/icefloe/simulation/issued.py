"""What the CA keys of a world have signed: by whom, for which name and key.

Several signers hold one CA key, each with a ledger of its own.  A request that reaches
two of them, because a link broke in between, is signed by both: promise 3 is each
Icefloe signer's own.  A real Icinga signer signs anew at each ask.  So a relay, or a
requester, may see several certificates for one request.  It may see none that is not
written here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signature:
    """One certificate.

    Attributes:
        signer: who signed.
        request_id: for what, as its ledger says; "" where the signer keeps none.
        serial: the serial number, as in a ledger.
    """

    signer: str
    request_id: str
    serial: str


class Issued:
    """All certificates that were signed in a history."""

    def __init__(self) -> None:
        """Begin without any."""
        self._by_key: dict[tuple[str, str], dict[str, Signature]] = {}
        self._by_request: dict[tuple[str, str], Signature] = {}

    def add(self, cn: str, key_id: str, signature: Signature) -> None:
        """Write down what a signer signed."""
        self._by_key.setdefault((cn, key_id), {})[signature.serial] = signature

    def was_signed(self, cn: str, key_id: str, serial: str) -> bool:
        """Whether some signer signed this serial number for that name and key."""
        return serial in self._by_key.get((cn, key_id), {})

    def of_request(self, cn: str, key_id: str, request_id: str) -> list[Signature]:
        """Return every signature for one request, at Icefloe signers."""
        return [
            each
            for each in self._by_key.get((cn, key_id), {}).values()
            if each.request_id == request_id
        ]
