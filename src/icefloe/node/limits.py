"""From the operator's limits to those of the parts of a node."""

from __future__ import annotations

from dataclasses import replace

from icefloe.cluster.settings import SessionSettings
from icefloe.config.limits import Limits
from icefloe.enrollment.renewal import RenewalPolicy
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.node.askings import AskingLimits
from icefloe.node.log_gate import LogLimits
from icefloe.node.tls.listener import ListenerLimits

DAY_SECONDS = 86_400.0


def enrollment_limits(
    limits: Limits, base: EnrollmentLimits | None = None
) -> EnrollmentLimits:
    """Return the core's limits; times and paces are those of `base`."""
    return replace(
        base or EnrollmentLimits(),
        open_requests_max=limits.open_requests,
        open_requests_per_source=limits.open_requests_per_source,
        open_requests_per_relay=limits.open_requests_per_relay,
        attempts_max=limits.attempts_per_request,
        attempts_per_source=limits.attempts_per_request_and_source,
        wrong_tickets_per_minute=limits.wrong_tickets_per_minute,
        wrong_tickets_per_relay=limits.wrong_tickets_per_relay,
        wrong_tickets_per_name=limits.wrong_tickets_per_name,
        wrong_tickets_per_name_and_source=limits.wrong_tickets_per_name_and_source,
        rate_keys_max=limits.wrong_tickets_remembered,
        ticket_checks_at_once=limits.ticket_checks_at_once,
        ticket_checks_waiting=limits.ticket_checks_waiting_per_source,
        certificates_per_name_and_day=limits.certificates_per_name_and_day,
        held_links_max=limits.held_connections,
        waiters_anonymous_max=limits.askings_per_connection,
        waiters_member_max=limits.askings_per_member,
        request_lifetime=limits.request_lifetime_days * DAY_SECONDS,
    )


def renewal_policy(limits: Limits) -> RenewalPolicy:
    """Return when own certificates are due, and which expired ones are renewed."""
    return RenewalPolicy(
        begins_percent=limits.renewal_begins_percent,
        ends_days=limits.renewal_ends_days,
        renew_expired_days=limits.renew_expired_days,
    )


def session_settings(limits: Limits, base: SessionSettings) -> SessionSettings:
    """Return the settings of sessions."""
    return replace(
        base,
        setup_seconds=float(limits.first_byte_seconds),
        anonymous_seconds=float(limits.anonymous_seconds),
        anonymous_message_bytes_max=limits.anonymous_message_bytes,
        nesting_depth_max=limits.message_nesting,
    )


def listener_limits(
    limits: Limits, *, anonymous_clients: int | None = None
) -> ListenerLimits:
    """Return the listener's limits.

    Args:
        limits: the operator's.
        anonymous_clients: `max_anonymous_clients` of the ApiListener, which goes first.
    """
    most = limits.anonymous_connections
    return ListenerLimits(
        handshake_threads=limits.handshake_threads,
        strangers_max=most if anonymous_clients is None else anonymous_clients,
        strangers_per_source_max=limits.anonymous_connections_per_source,
        strangers_reserve=limits.anonymous_connections_reserve,
        strangers_few=limits.anonymous_connections_few,
    )


def asking_limits(limits: Limits) -> AskingLimits:
    """Return how many askings may wait for the core."""
    return AskingLimits(
        per_connection=limits.askings_per_connection,
        per_source=limits.askings_per_source,
        strangers=limits.askings_of_strangers,
        per_member=limits.askings_per_member,
    )


def log_limits(limits: Limits) -> LogLimits:
    """Return how many lines strangers can cause."""
    return LogLimits(
        lines_per_source=limits.log_lines_per_source,
        lines_per_cause=limits.log_lines_per_cause,
    )
