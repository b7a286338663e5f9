"""Setting a node up: identity, enrollment, configuration.

The order is that of least regret.  Everything that can be refused without touching a
file is looked at first: the options, the trusted certificate, the zone tree.  Then the
key and the request are made, and the parents are asked.  Only when the answer is a
certificate, or a pending one, is configuration written; after a refusal there is a key,
which the next run uses, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography import x509

from icefloe.config.api_setup import plan_api_setup
from icefloe.config.loading import load_constants
from icefloe.config.plan import Plan
from icefloe.config.setup import (
    ApiUserSetup,
    NodeSetup,
    plan_node_setup,
    read_current,
)
from icefloe.doors import Entropy
from icefloe.enrollment.requester import Came, Parent
from icefloe.node.client import Progress
from icefloe.node.commands.enrolling import (
    Enrollment,
    Outcome,
    enroll_files,
    require_trust,
)
from icefloe.node.commands.own_certificate import OwnCertificate, certify_signer
from icefloe.node.commands.setting import Setting
from icefloe.storage.authority import DIRECTORY_MODE
from icefloe.storage.carrying_out import carry_out
from icefloe.storage.files import ensure_directory
from icefloe.storage.identity import (
    IdentityFiles,
    NodeIdentity,
    remove_ticket,
    store_ticket,
)
from icefloe.storage.keys import KeyType
from icefloe.storage.newcomer import prepare_newcomer

__all__ = [
    "AgentReport",
    "AgentSetup",
    "set_up_agent",
    "set_up_api",
    "set_up_master",
]

_SALT_BYTES: Final = 16
_PASSWORD_BYTES: Final = 8
"""protocol: Icinga's sizes; both are written in hex."""

_ADMINISTRATOR: Final = "root"
"""protocol: the name of the API user that a set-up makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSetup:
    """What an agent or a satellite is to become.

    Attributes:
        node: Its configuration.
        parents: Whom to ask for a certificate; empty: nobody, `ca.crt` is copied by
            hand and the daemon asks.
        pins: What the parents have to show.
        ticket: The ticket, or "".
        wait: Seconds to go on after a pending answer.
        key_type: For a new key.
    """

    node: NodeSetup
    parents: Sequence[Parent] = ()
    pins: tuple[x509.Certificate, ...] = ()
    ticket: str = field(default="", repr=False)
    wait: float = 0.0
    key_type: KeyType = KeyType.EC


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """What came of setting an agent up.

    Attributes:
        identity: What it has now.
        outcome: How the enrollment ended; None when nobody was to be asked.
        configured: Whether the configuration was written.
    """

    identity: NodeIdentity
    outcome: Outcome | None
    configured: bool


def set_up_agent(
    wanted: AgentSetup, setting: Setting, *, progress: Progress
) -> AgentReport:
    """Set up an agent or a satellite.

    Args:
        wanted: What it is to become.
        setting: What to work with.
        progress: Told how the enrollment goes.

    Raises:
        IcefloeError: Something is wrong with what was asked for, or with what is
            there; the text says what to do.
    """
    directories, owner = setting.directories, setting.owner
    plan = _plan(wanted.node, setting)
    files = IdentityFiles.of_node(directories.certs, wanted.node.node_name)
    if wanted.parents:
        require_trust(files, wanted.pins)
    ensure_directory(directories.certs, mode=DIRECTORY_MODE, owner=owner)
    identity = prepare_newcomer(
        files,
        cn=wanted.node.node_name,
        key_type=wanted.key_type,
        entropy=setting.entropy,
        at=setting.clock.now().wall,
        owner=owner,
        narrator=setting.narrator,
    )
    outcome = None
    if wanted.parents:
        outcome = enroll_files(
            Enrollment(
                files=files,
                parents=wanted.parents,
                pins=wanted.pins,
                names=frozenset(each.name for each in wanted.node.parents),
                ticket=wanted.ticket,
                wait=wanted.wait,
                keep_ca_of_cut=True,
            ),
            setting,
            progress=progress,
        )
        identity = outcome.identity
        if not _may_configure(outcome):
            return AgentReport(identity=identity, outcome=outcome, configured=False)
    _write(plan, setting)
    if outcome is not None and outcome.came in _HAS_CERTIFICATE:
        remove_ticket(directories.certs)
    elif wanted.ticket:
        # The daemon goes on where this command stops.
        store_ticket(directories.certs, wanted.ticket, owner=owner)
    return AgentReport(identity=identity, outcome=outcome, configured=True)


_HAS_CERTIFICATE: Final = frozenset({Came.SIGNED, Came.NOTHING_TO_DO})


def _may_configure(outcome: Outcome) -> bool:
    """Say whether the node has a certificate, or a daemon can get it one."""
    if outcome.came in _HAS_CERTIFICATE or outcome.came is Came.PENDING:
        return True
    # Every answer was cut off, as Icinga 2.14.4 does while a request is pending: it
    # has the request, and we have its CA.
    return outcome.came is Came.CUT_OFF and outcome.has_ca


def set_up_master(
    node: NodeSetup, setting: Setting, *, key_type: KeyType
) -> OwnCertificate:
    """Set up a master.

    protocol: Icinga makes a new ticket salt at each run, which voids every ticket given
    out.  Here a salt that is there stays.

    Args:
        node: Its configuration; salt and API user are added here.
        setting: What to work with.
        key_type: For a new CA.

    Raises:
        IcefloeError: As for `set_up_agent`.
    """
    entropy = setting.entropy
    salt = _present_salt(setting) or entropy.bytes(_SALT_BYTES).hex()
    plan = _plan(replace(node, ticket_salt=salt, api_user=_api_user(entropy)), setting)
    own = certify_signer(setting, cn=node.node_name, key_type=key_type)
    _write(plan, setting)
    return own


def set_up_api(cn: str, setting: Setting, *, key_type: KeyType) -> OwnCertificate:
    """Set up certificates, the API user and the feature `api`, and nothing else.

    Args:
        cn: What NodeName and ZoneName become.
        setting: What to work with.
        key_type: For a new CA.

    Raises:
        IcefloeError: As for `set_up_agent`.
    """
    plan = plan_api_setup(
        cn,
        api_user=_api_user(setting.entropy),
        current=read_current(setting.directories),
        directories=setting.directories,
        note=setting.note("api setup"),
    )
    own = certify_signer(setting, cn=cn, key_type=key_type)
    _write(plan, setting)
    return own


# --- Parts ----------------------------------------------------------------------------


def _plan(node: NodeSetup, setting: Setting) -> Plan:
    return plan_node_setup(
        node,
        current=read_current(setting.directories),
        directories=setting.directories,
        note=setting.note("node setup"),
    )


def _write(plan: Plan, setting: Setting) -> None:
    carry_out(plan, owner=setting.owner, narrator=setting.narrator)


def _api_user(entropy: Entropy) -> ApiUserSetup:
    password = entropy.bytes(_PASSWORD_BYTES).hex()
    return ApiUserSetup(name=_ADMINISTRATOR, password=password)


def _present_salt(setting: Setting) -> str:
    directories = setting.directories
    if not directories.constants_conf.exists():
        return ""
    constants = load_constants(
        directories.config_dir, directories.data_dir, default_node_name=lambda: "-"
    )
    return constants.ticket_salt
