"""`icefloe feature`: what a node's configuration includes."""

from __future__ import annotations

from typing import Annotated

import typer

from icefloe.cli.app import CONTEXT
from icefloe.cli.invocation import invocation
from icefloe.cli.setting import setting_of
from icefloe.config.features import plan_disable, plan_enable, read_features
from icefloe.storage.carrying_out import carry_out

Names = Annotated[list[str], typer.Argument(metavar="FEATURE...", show_default=False)]

_RESTART = "Restart the daemon, or reload it, for this to take effect."

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Switch features on and off.",
)


@app.command("list")
def list_features(ctx: typer.Context) -> None:
    """List features, in two lines: disabled ones and enabled ones."""
    given = invocation(ctx)
    for line in read_features(given.directories).lines():
        given.output.result(line)


@app.command(
    epilog="""\b
Example:
  icefloe feature enable api"""
)
def enable(ctx: typer.Context, features: Names) -> None:
    """Enable features: link them into features-enabled.

    One that is enabled already is no error; one that does not exist is.
    """
    given = invocation(ctx)
    directories, setting = given.directories, setting_of(given)
    change = plan_enable(read_features(directories), features, directories)
    carry_out(change.plan, owner=setting.owner, narrator=given.output)
    for name in change.unchanged:
        given.output.warning(f"Feature '{name}' already enabled.")
    for name in change.changed:
        given.output.result(f"Enabling feature {name}. {_RESTART}")
    change.check()


@app.command(
    epilog="""\b
Example:
  icefloe feature disable notification"""
)
def disable(ctx: typer.Context, features: Names) -> None:
    """Disable features: remove their links from features-enabled."""
    given = invocation(ctx)
    directories, setting = given.directories, setting_of(given)
    change = plan_disable(read_features(directories), features, directories)
    carry_out(change.plan, owner=setting.owner, narrator=given.output)
    for name in change.unchanged:
        given.output.warning(f"Feature '{name}' already disabled.")
    for name in change.changed:
        given.output.result(f"Disabling feature {name}. {_RESTART}")
