"""`icefloe api`: set up the listener on a master."""

from __future__ import annotations

from typing import Annotated

import typer

from icefloe.cli.app import CONTEXT
from icefloe.cli.invocation import Invocation, invocation
from icefloe.cli.key_types import KeyTypeOption, tell_of_ca_key
from icefloe.cli.setting import setting_of
from icefloe.config.errors import ConfigError
from icefloe.config.host import fully_qualified_name
from icefloe.config.loading import load_constants
from icefloe.node.commands.setup import set_up_api
from icefloe.storage.keys import KeyType

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Set up the listener on a master.",
)


@app.callback()
def api() -> None:
    """Set up the listener on a master."""


@app.command(
    epilog="""\b
Example:
  icefloe api setup --cn master1.example.org"""
)
def setup(
    ctx: typer.Context,
    *,
    cn: Annotated[
        str | None, typer.Option(help="The node's name [NodeName, else the host's].")
    ] = None,
    key_type: KeyTypeOption = KeyType.EC,
) -> None:
    """Make CA, certificate and API user, and enable the feature api.

    NodeName and ZoneName become the common name. zones.conf, an api.conf that is there
    and the ticket salt stay as they are; 'node setup --master' does the whole job.
    """
    given = invocation(ctx)
    own = set_up_api(cn or _default_name(given), setting_of(given), key_type=key_type)
    if own.new_ca:
        tell_of_ca_key(given.output, own.ca_key_type)
    given.output.information("Done. Restart the daemon.")


def _default_name(given: Invocation) -> str:
    directories = given.directories
    try:
        return load_constants(directories.config_dir, directories.data_dir).node_name
    except ConfigError:
        # No constants.conf yet: this command writes it.
        return fully_qualified_name()
