"""Whether the certificates that agents were given are good, and one for each agent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from icefloe.doors import WallTime
from icefloe.lab.enrolling import Enrollment
from icefloe.lab.outcomes import Attempt
from icefloe.pki import certificates
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import TrustAnchor, verify_issued


def objections(
    enrollments: Iterable[Enrollment], *, trust: TrustAnchor | None, at: WallTime
) -> Iterator[tuple[str, str]]:
    """Judge every certificate.

    Each must be for the agent's own name and key and verify under the CA; all answers
    must name one CA.

    Args:
        enrollments: What happened.
        trust: What all must be under; None takes the first CA answered.
        at: The moment to judge by.

    Yields:
        The agent's name, and what is wrong.
    """
    trusted = trust
    for enrollment in enrollments:
        for attempt in _signed(enrollment):
            try:
                anchor = TrustAnchor.from_pem(attempt.ca)
                trusted = trusted or anchor
                if _ca_key(anchor) != _ca_key(trusted):
                    yield enrollment.agent.name, "its answer names another CA"
                verify_issued(
                    certificates.load_pem(attempt.certificate),
                    cn=enrollment.agent.name,
                    key_id=enrollment.agent.key_id,
                    anchor=trusted,
                    at=at,
                )
            except PKIError as error:
                yield enrollment.agent.name, error.public


def doubled(enrollments: Iterable[Enrollment]) -> list[str]:
    """Name the agents that were given two different certificates."""
    return [
        enrollment.agent.name
        for enrollment in enrollments
        if len({_fingerprint(attempt) for attempt in _signed(enrollment)}) > 1
    ]


def _signed(enrollment: Enrollment) -> list[Attempt]:
    repeated = [] if enrollment.repeated is None else [enrollment.repeated]
    attempts = [*enrollment.attempts, *repeated]
    return [attempt for attempt in attempts if attempt.certificate]


def _fingerprint(attempt: Attempt) -> str:
    return certificates.fingerprint(certificates.load_pem(attempt.certificate))


def _ca_key(anchor: TrustAnchor) -> str:
    return certificates.key_id(anchor.ca)
