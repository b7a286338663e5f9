"""`icefloe node`: set this node up."""

from __future__ import annotations

from typing import Final

import typer

from icefloe.cli.app import CONTEXT
from icefloe.cli.invocation import invocation
from icefloe.cli.node_backup import register as register_backup_commands
from icefloe.cli.node_options import (
    SPELLINGS,
    AcceptCommandsOption,
    AcceptConfigOption,
    CACertificateOption,
    DisableConfDOption,
    DryRunOption,
    EndpointOption,
    FileOption,
    GlobalZonesOption,
    IcefloeEndpointOption,
    ListenOption,
    MasterOption,
    MasterZoneOption,
    NameOption,
    NoDefaultZonesOption,
    ParentHostOption,
    ParentZoneOption,
    RotateKeyOption,
    SetupKeyTypeOption,
    TicketFileOption,
    TicketOption,
    TrustedOption,
    VerifyOption,
    WaitOption,
    ZoneOption,
)
from icefloe.cli.node_setup import Actions, run_setup
from icefloe.cli.options import JSONOption
from icefloe.cli.wizard import EPILOG, wizard
from icefloe.node.commands.questions import QUESTIONS

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Set this node up: agent, satellite or master.",
)


@app.callback()
def node() -> None:
    """Set this node up: agent, satellite or master."""


app.command(epilog=EPILOG)(wizard)
register_backup_commands(app)


SETUP_EPILOG: Final = """\b
An agent below the satellite sat1, which it connects to:
  icefloe pki save-cert --host sat1 --trustedcert sat1.crt
  icefloe node setup --cn web1 --zone web1 --parent_zone dmz \\
    --endpoint sat1,sat1.example.org --parent_host sat1.example.org \\
    --trustedcert sat1.crt --ticket-file ticket

\b
The same from a file, looked at before anything is done, and then done:
  cat > setup.toml <<END
  cn = "web1"
  zone = "web1"
  parent_zone = "dmz"
  parent_host = "sat1.example.org"
  trustedcert = "sat1.crt"
  ticket_file = "ticket"
  [[endpoint]]
  name = "sat1"
  host = "sat1.example.org"
  END
  icefloe node setup --file setup.toml --dry-run
  icefloe node setup --file setup.toml

\b
A satellite below the masters, of which one may be down:
  icefloe node setup --cn sat1 --zone dmz --endpoint m1,m1 --endpoint m2,m2 \\
    --parent_host m1 --parent_host m2 --trustedcert m1.crt --trustedcert m2.crt

\b
A master with a CA:
  icefloe node setup --master --cn master1

\b
Each answer is an option, a variable (ICEFLOE_PARENT_HOST, or ICINGA_PARENT_HOST as the
official Icinga container names it), or a key of the file (parent_host): the option goes
before the variable, the variable before the file. --dry-run shows which one counts.

\b
What happens, in this order: the answers and the rights on every file are checked; a
node that is as it is asked to be is left alone ("Nothing to do", nobody is asked); the
new configuration is written beside the old one; the key is made, or kept; the parents
are asked; what is there is kept as a backup; everything is put in place. After a
refusal there is a key, and nothing else has changed. Run the command again after any
failure: it goes on with the same key. To go back: icefloe node restore.

\b
Exit codes: 0 when the node is as asked, the request is pending, or there was nothing to
do; with --dry-run also when there would be (--json has "changed"). 1 for any failure,
and for a dry run whose run would fail."""


@app.command(
    context_settings=SPELLINGS,
    epilog=SETUP_EPILOG,
)
def setup(
    ctx: typer.Context,
    *,
    file: FileOption = None,
    master: MasterOption = None,
    cn: NameOption = None,
    zone: ZoneOption = None,
    endpoint: EndpointOption = None,
    parent_host: ParentHostOption = None,
    parent_zone: ParentZoneOption = None,
    trustedcert: TrustedOption = None,
    cacert: CACertificateOption = None,
    ticket: TicketOption = None,
    ticket_file: TicketFileOption = None,
    wait: WaitOption = None,
    listen: ListenOption = None,
    accept_config: AcceptConfigOption = None,
    accept_commands: AcceptCommandsOption = None,
    global_zones: GlobalZonesOption = None,
    no_default_global_zones: NoDefaultZonesOption = None,
    disable_confd: DisableConfDOption = None,
    icefloe_endpoint: IcefloeEndpointOption = None,
    key_type: SetupKeyTypeOption = None,
    rotate_key: RotateKeyOption = False,
    verify: VerifyOption = False,
    dry_run: DryRunOption = False,
    as_json: JSONOption = False,
    master_zone: MasterZoneOption = None,
) -> None:
    """Set up this node: key, certificate and configuration.

    An agent or a satellite asks its parents for a certificate until there is one, or
    --wait is over; the daemon then goes on by itself. It can be run again and again:
    the key stays, and a node that is as asked is not touched.
    """
    given = dict(locals())  # every option, by the name of its question
    actions = Actions(
        file=file,
        dry_run=dry_run,
        rotate_key=rotate_key,
        verify=verify,
        as_json=as_json,
    )
    options = {name: given[name] for name in QUESTIONS}
    raise typer.Exit(run_setup(options, actions, invocation(ctx)))
