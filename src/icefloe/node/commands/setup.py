"""Setting a node up: identity, enrollment, configuration.

The order is that of least regret.  Everything that can be refused without touching a
file is looked at first: the options, the trusted certificate, the zone tree, what would
change (`changes`) and whether it may be written (`safekeeping`).  A node that is as it
is asked to be is left alone.  Then the new configuration is written beside the old one,
the key and the request are made, and the parents are asked.  Only when the answer is a
certificate, or a pending one, is the configuration put in place; after a refusal there
is a key, which the next run uses, and nothing else.

A certificate that somebody signed is never replaced by a request: the request is made
beside it (`own_request`) and takes its place when a parent has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

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
from icefloe.enrollment.requester import Came
from icefloe.node.client import Progress
from icefloe.node.commands.assessing import (
    agent_identity,
    signer_identity,
    ticket_fate,
)
from icefloe.node.commands.changes import (
    AgentSetup,
    Changes,
    Fate,
    TicketFate,
    changes_of_plan,
)
from icefloe.node.commands.enrolling import Outcome, require_trust
from icefloe.node.commands.own_certificate import certify_signer
from icefloe.node.commands.own_request import Identities, waits
from icefloe.node.commands.safekeeping import (
    Safekeeper,
    recovered_journal,
    require_rights,
)
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import fingerprint
from icefloe.storage.authority import DIRECTORY_MODE
from icefloe.storage.carrying_out import staged
from icefloe.storage.files import ensure_directory, read_file_if_there
from icefloe.storage.identity import (
    IdentityFiles,
    NodeIdentity,
    load_files,
    remove_ticket,
    store_ticket,
)
from icefloe.storage.keys import KeyType
from icefloe.storage.switching import IdentityJournal, Phase

__all__ = [
    "AgentReport",
    "AgentSetup",
    "MasterReport",
    "planned_changes",
    "set_up_agent",
    "set_up_api",
    "set_up_master",
]

_SALT_BYTES: Final = 16
_PASSWORD_BYTES: Final = 8
"""protocol: Icinga's sizes; both are written in hex."""

_ADMINISTRATOR: Final = "root"
"""protocol: the name of the API user that a set-up makes."""

_COMMAND: Final = "node setup"

_HAS_CERTIFICATE: Final = frozenset({Came.SIGNED, Came.NOTHING_TO_DO})


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """What came of setting an agent up.

    Attributes:
        identity: What it has now.
        outcome: How the enrollment ended; None when nobody was asked.
        configured: Whether the node is configured as asked.
        changes: What was to be changed.
        changed: Whether anything was.
        backup: The name of the backup of what was there; "" when none was needed.
        confirmed: Whether a parent has taken this certificate, as far as is known.
    """

    identity: NodeIdentity
    outcome: Outcome | None
    configured: bool
    changes: Changes
    changed: bool
    backup: str = ""
    confirmed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterReport:
    """What came of setting a master up.

    Attributes:
        identity: Its key and its certificate.
        ca_key_type: The type of its CA's key; None when it has none (a second
            master, which forwards).
        new_ca: Whether the CA was made just now.
        changes: What was to be changed.
        changed: Whether anything was.
        backup: The name of the backup of what was there; "" when none was needed.
    """

    identity: NodeIdentity
    ca_key_type: KeyType | None
    new_ca: bool
    changes: Changes
    changed: bool
    backup: str = ""


def planned_changes(
    wanted: AgentSetup | NodeSetup, setting: Setting, *, rotate_key: bool = False
) -> Changes:
    """Say what a set-up would change; changes nothing and asks nobody.

    Args:
        wanted: What the node is to become: an agent or satellite, or (a `NodeSetup`)
            a master.  A master's salt and API user are added here; those that are
            there stay.
        setting: What to work with.
        rotate_key: For a master, whether it gets a new key; an agent's wish has its own.

    Returns:
        The configuration files that would differ, with a diff in which no secret can
        be read, and what would become of key, certificate, CA and ticket.
        `nothing_to_do` says whether the node is as asked.

    Raises:
        PlanError: Icinga would not start with this, or a name cannot be used.
        ConfigError: A file to be edited cannot be understood.
        IdentityProblem: The key or the CA certificate that is there cannot be used.
        ClockWrong: The present certificate begins in the future.
        FileProblem: The operating system objects.
    """
    if isinstance(wanted, NodeSetup):
        return changes_of_plan(
            _plan(_completed(wanted, setting), setting),
            node_name=wanted.node_name,
            identity=signer_identity(wanted.node_name, setting, rotate_key=rotate_key),
        )
    plan = _plan(wanted.node, setting)
    identity = agent_identity(wanted, setting)
    ca = setting.directories.trusted_ca
    return changes_of_plan(
        plan,
        node_name=wanted.node.node_name,
        identity=identity,
        ticket=ticket_fate(wanted, identity, setting),
        writes_ca=wanted.ca_pem is not None and read_file_if_there(ca) is None,
    )


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
    journal = recovered_journal(setting)
    changes = planned_changes(wanted, setting)
    files = IdentityFiles.of_node(setting.directories.certs, changes.node_name)
    if changes.nothing_to_do:
        identity = load_files(files, node_name=changes.node_name)
        return AgentReport(
            identity=identity,
            outcome=None,
            configured=True,
            changes=changes,
            changed=False,
            confirmed=_is_confirmed(identity, journal),
        )
    if wanted.parents and changes.identity.acts and not changes.writes_ca:
        require_trust(files, wanted.pins)
    _require_rights(files, changes, setting)
    with staged(
        changes.plan, owner=setting.owner, narrator=setting.narrator
    ) as configuration:
        keeper = _keeper(changes, setting, _COMMAND)
        ensure_directory(
            setting.directories.certs, mode=DIRECTORY_MODE, owner=setting.owner
        )
        identity, outcome = Identities(
            files=files,
            wanted=wanted,
            changes=changes,
            setting=setting,
            keeper=keeper,
            journal=journal,
        ).settle(progress)
        configured = outcome is None or _may_configure(outcome)
        if configured:
            if not changes.plan.is_empty:
                keeper.keep()
            configuration.commit()
            _settle_ticket(wanted, changes, outcome, setting)
    return AgentReport(
        identity=identity,
        outcome=outcome,
        configured=configured,
        changes=changes,
        changed=_did_change(changes, outcome, configured=configured),
        backup=keeper.name,
        confirmed=_is_confirmed(identity, journal),
    )


def set_up_master(
    node: NodeSetup, setting: Setting, *, key_type: KeyType, rotate_key: bool = False
) -> MasterReport:
    """Set up a master.

    protocol: Icinga makes a new ticket salt at each run, which voids every ticket given
    out.  Here a salt that is there stays.

    Args:
        node: Its configuration; salt and API user are added here.
        setting: What to work with.
        key_type: For a new CA.
        rotate_key: Whether the master itself gets a new key; the CA's stays.

    Raises:
        IcefloeError: As for `set_up_agent`.
    """
    recovered_journal(setting)
    changes = planned_changes(node, setting, rotate_key=rotate_key)
    return _set_up_signer(changes, setting, key_type=key_type, command=_COMMAND)


def set_up_api(cn: str, setting: Setting, *, key_type: KeyType) -> MasterReport:
    """Set up certificates, the API user and the feature `api`, and nothing else.

    Args:
        cn: What NodeName and ZoneName become.
        setting: What to work with.
        key_type: For a new CA.

    Raises:
        IcefloeError: As for `set_up_agent`.
    """
    recovered_journal(setting)
    plan = plan_api_setup(
        cn,
        api_user=_api_user(setting.entropy),
        current=read_current(setting.directories),
        directories=setting.directories,
        note=setting.note("api setup"),
    )
    changes = changes_of_plan(plan, node_name=cn, identity=signer_identity(cn, setting))
    return _set_up_signer(changes, setting, key_type=key_type, command="api setup")


# --- Parts ----------------------------------------------------------------------------


def _may_configure(outcome: Outcome) -> bool:
    """Say whether the node has a certificate, or a daemon can get it one."""
    return outcome.came in _HAS_CERTIFICATE or waits(outcome)


def _is_confirmed(identity: NodeIdentity, journal: IdentityJournal) -> bool:
    """Say whether no switch waits for a parent to take this certificate."""
    last = journal.state()
    if last is None or last.state is not Phase.UNCONFIRMED:
        return True
    return last.new != fingerprint(identity.certificate)


def _settle_ticket(
    wanted: AgentSetup, changes: Changes, outcome: Outcome | None, setting: Setting
) -> None:
    """Keep the ticket for a daemon that needs it; remove one that has done its work."""
    certs = setting.directories.certs
    if changes.identity.fate is Fate.ROTATED:
        return  # the daemon asks with the present key, which needs none
    if outcome is None:
        if changes.ticket is TicketFate.REMOVED:
            remove_ticket(certs)
        elif changes.ticket is TicketFate.STORED:
            store_ticket(certs, wanted.ticket, owner=setting.owner)
    elif outcome.came in _HAS_CERTIFICATE:
        remove_ticket(certs)
    elif wanted.ticket:
        # The daemon goes on where this command stops.
        store_ticket(certs, wanted.ticket, owner=setting.owner)


def _set_up_signer(
    changes: Changes, setting: Setting, *, key_type: KeyType, command: str
) -> MasterReport:
    files = IdentityFiles.of_node(setting.directories.certs, changes.node_name)
    if not changes.nothing_to_do:
        _require_rights(files, changes, setting)
    keeper = _keeper(changes, setting, command)
    with staged(
        changes.plan, owner=setting.owner, narrator=setting.narrator
    ) as configuration:
        if not changes.nothing_to_do:
            keeper.keep()
        own = certify_signer(
            setting,
            cn=changes.node_name,
            key_type=key_type,
            rotate_key=changes.identity.fate is Fate.ROTATED,
        )
        configuration.commit()
    return MasterReport(
        identity=own.identity,
        ca_key_type=own.ca_key_type,
        new_ca=own.new_ca,
        changes=changes,
        changed=not changes.nothing_to_do,
        backup=keeper.name,
    )


def _require_rights(files: IdentityFiles, changes: Changes, setting: Setting) -> None:
    directories = setting.directories
    writes = [*changes.paths]
    if changes.identity.acts or changes.writes_ca:
        writes += [files.key, files.certificate, files.ca]
    if changes.identity.new_ca:
        writes += [directories.ca_key, directories.ca_certificate]
    if changes.ticket is not TicketFate.STAYS:
        writes.append(directories.ticket)
    writes.append(directories.backups / "a backup")
    require_rights(writes, (files.key, files.certificate, files.ca), setting)


def _keeper(changes: Changes, setting: Setting, command: str) -> Safekeeper:
    identity = changes.identity
    replaces = (
        any(not each.is_new for each in changes.files)
        or bool(changes.removals)
        or identity.replaces
        or identity.certificate is not None
    )
    return Safekeeper(
        setting=setting,
        node_name=changes.node_name,
        reason=command,
        needed=replaces,
    )


def _did_change(changes: Changes, outcome: Outcome | None, *, configured: bool) -> bool:
    """Say whether the node is another one now; a refused one with a new key is."""
    if changes.identity.fate is Fate.MADE or changes.writes_ca:
        return True
    if outcome is not None and (outcome.wrote_ca or outcome.wrote_certificate):
        return True
    settled = configured and changes.ticket is not TicketFate.STAYS
    return settled or (configured and not changes.plan.is_empty)


def _plan(node: NodeSetup, setting: Setting) -> Plan:
    return plan_node_setup(
        node,
        current=read_current(setting.directories),
        directories=setting.directories,
        note=setting.note(_COMMAND),
    )


def _completed(node: NodeSetup, setting: Setting) -> NodeSetup:
    """Add what every master has: a salt and an API user."""
    entropy = setting.entropy
    salt = _present_salt(setting) or entropy.bytes(_SALT_BYTES).hex()
    return replace(node, ticket_salt=salt, api_user=_api_user(entropy))


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
