"""`icefloe node`: set this node up."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer

from icefloe.cli.app import CONTEXT, EXIT_FAILED, EXIT_OK
from icefloe.cli.enrollment_words import EnrollmentTeller, outcome_facts
from icefloe.cli.invocation import invocation
from icefloe.cli.key_types import KeyTypeOption, tell_of_ca_key
from icefloe.cli.node_options import (
    AcceptCommandsOption,
    AcceptConfigOption,
    DisableConfDOption,
    EndpointOption,
    GlobalZonesOption,
    IcefloeEndpointOption,
    ListenOption,
    MasterHostOption,
    MasterOption,
    MasterZoneOption,
    NameOption,
    NoDefaultZonesOption,
    NodeOptions,
    ParentHostOption,
    ParentZoneOption,
    ZoneOption,
    agent_of,
    configuration_of,
    reject_agent_options,
)
from icefloe.cli.options import (
    JSONOption,
    TicketFileOption,
    TicketOption,
    TrustedOption,
)
from icefloe.cli.output import Output
from icefloe.cli.setting import setting_of
from icefloe.config.setup import DEFAULT_MASTER_ZONE
from icefloe.enrollment.requester import Came
from icefloe.node.commands.enrolling import TICKET_VARIABLE, choose_ticket
from icefloe.node.commands.setting import Setting
from icefloe.node.commands.setup import (
    AgentReport,
    AgentSetup,
    set_up_agent,
    set_up_master,
)
from icefloe.storage.keys import KeyType

WAIT_SECONDS: Final = 120.0

WaitOption = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds to wait for the certificate.")
]

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Set this node up: agent, satellite or master.",
)


@app.callback()
def node() -> None:
    """Set this node up: agent, satellite or master."""


@app.command(
    epilog="""\b
An agent below the satellite sat1, which it connects to:
  icefloe pki save-cert --host sat1 --trustedcert sat1.crt
  icefloe node setup --cn web1 --zone web1 --parent_zone dmz \\
    --endpoint sat1,sat1.example.org --parent_host sat1.example.org \\
    --trustedcert sat1.crt --ticket-file ticket
\b
A satellite below the masters, of which one may be down:
  icefloe node setup --cn sat1 --zone dmz --endpoint m1,m1 --endpoint m2,m2 \\
    --parent_host m1 --parent_host m2 --trustedcert m1.crt --trustedcert m2.crt
\b
A master with a CA:
  icefloe node setup --master --cn master1
\b
The same command can be run again: it keeps the key and goes on."""
)
def setup(
    ctx: typer.Context,
    *,
    master: MasterOption = False,
    cn: NameOption = None,
    zone: ZoneOption = None,
    endpoint: EndpointOption = None,
    parent_host: ParentHostOption = None,
    parent_zone: ParentZoneOption = DEFAULT_MASTER_ZONE,
    trustedcert: TrustedOption = None,
    ticket: TicketOption = None,
    ticket_file: TicketFileOption = None,
    wait: WaitOption = WAIT_SECONDS,
    listen: ListenOption = None,
    accept_config: AcceptConfigOption = False,
    accept_commands: AcceptCommandsOption = False,
    global_zones: GlobalZonesOption = None,
    no_default_global_zones: NoDefaultZonesOption = False,
    disable_confd: DisableConfDOption = False,
    icefloe_endpoint: IcefloeEndpointOption = None,
    key_type: KeyTypeOption = KeyType.EC,
    as_json: JSONOption = False,
    master_host: MasterHostOption = None,
    master_zone: MasterZoneOption = None,
) -> None:
    """Set up this node: key, certificate and configuration.

    An agent or a satellite asks its parents for a certificate until there is one, or
    --wait is over; the daemon then goes on by itself. After a refusal nothing but the
    key is left behind.
    """
    given = invocation(ctx)
    output = given.output.for_one_result(alone=as_json)
    setting = setting_of(given, output)
    del master_zone  # protocol: accepted and ignored
    options = NodeOptions(
        master=master,
        cn=cn,
        zone=zone,
        endpoints=tuple(endpoint or ()),
        parent_hosts=(*(parent_host or ()), *(master_host or ())),
        parent_zone=parent_zone,
        trusted=tuple(trustedcert or ()),
        listen=listen,
        accept_config=accept_config,
        accept_commands=accept_commands,
        global_zones=tuple(global_zones or ()),
        default_global_zones=not no_default_global_zones,
        disable_conf_d=disable_confd,
        icefloe_endpoints=None if icefloe_endpoint is None else tuple(icefloe_endpoint),
    )
    if master:
        given_ticket = ticket is not None or ticket_file is not None
        reject_agent_options(options, output, ticket_given=given_ticket)
        _set_up_master(options, setting, output, key_type)
        return
    chosen = choose_ticket(ticket, ticket_file, given.environment.get(TICKET_VARIABLE))
    wanted = agent_of(options, ticket=chosen, wait=wait, key_type=key_type)
    code = _set_up_agent(wanted, setting, output, as_json=as_json)
    raise typer.Exit(code)


def _set_up_master(
    options: NodeOptions, setting: Setting, output: Output, key_type: KeyType
) -> None:
    own = set_up_master(configuration_of(options), setting, key_type=key_type)
    if own.new_ca:
        tell_of_ca_key(output, own.ca_key_type)
    output.information("Done. Now (re)start the daemon.")


def _set_up_agent(
    wanted: AgentSetup, setting: Setting, output: Output, *, as_json: bool
) -> int:
    teller = EnrollmentTeller(
        output, wanted.node.node_name, ticket_given=bool(wanted.ticket)
    )
    report = set_up_agent(wanted, setting, progress=teller.progress)
    if as_json and report.outcome is not None:
        output.result(msgspec.json.encode(outcome_facts(report.outcome)).decode())
    _tell(teller, report, wanted, setting)
    return EXIT_OK if report.configured else EXIT_FAILED


def _tell(
    teller: EnrollmentTeller, report: AgentReport, wanted: AgentSetup, setting: Setting
) -> None:
    """Say how it ended and what happens next."""
    output, outcome = teller.output, report.outcome
    if outcome is None:
        output.information(
            f"Nobody was asked for a certificate. Copy the CA's certificate to "
            f"'{setting.directories.trusted_ca}' and start the daemon: it asks the parent that it "
            "is connected with."
        )
        return
    teller.tell_way(outcome.ended.outcome)
    if not report.configured:
        teller.tell_failure(outcome)
        return
    if outcome.came is Came.NOTHING_TO_DO:
        output.information(
            f"The certificate of '{wanted.node.node_name}' is valid and up to date."
        )
    elif not outcome.wrote_certificate:
        teller.tell_pending(outcome)
        _tell_what_is_next(output, report, setting)
    output.information("Done. Now (re)start the daemon.")


def _tell_what_is_next(output: Output, report: AgentReport, setting: Setting) -> None:
    if report.outcome is not None and report.outcome.has_ca:
        output.information(
            "This node is configured. Its daemon goes on asking and installs the "
            "certificate when it comes; nothing else has to be done here."
        )
        return
    path = setting.directories.trusted_ca
    output.warning(
        f"No CA certificate has come yet, and the daemon cannot go on without it: copy "
        f"it to '{path}', or run this command again later."
    )
