"""The options that every command has, wherever they stand on the line.

protocol: Icinga parses its global options together with those of the command, and
tools write them in front of it and behind it.  So every command takes them, and they
are noted in one `Given`, from which a command gets its `Invocation`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from icefloe.cli.output import LogLevel, Output
from icefloe.cli.version import version_text
from icefloe.config.layout import (
    CONFIG_DIR_DEFAULT,
    DATA_DIR_DEFAULT,
    NodeDirectories,
    resolve_directories,
)

PROGRAM: Final = "icefloe"

ICINGA2: Final = "icinga2"
"""The name under which tools call their node's program; a link to ours may bear it."""

_CONFIG_DIR_CONSTANTS = ("Configuration.ConfigDir", "ConfigDir")
_DATA_DIR_CONSTANTS = ("Configuration.DataDir", "DataDir")


def program_name(called_as: str) -> str:
    """Return the name to speak of this program by: that of the link, if it is one.

    Args:
        called_as: `sys.argv[0]`.
    """
    return ICINGA2 if Path(called_as).name in {ICINGA2, "icinga2.exe"} else PROGRAM


@dataclass(slots=True)
class Given:
    """The global options as they were given, the last one of each."""

    config_dir: Path | None = None
    data_dir: Path | None = None
    definitions: dict[str, str] = field(default_factory=dict)
    log_level: LogLevel = LogLevel.INFORMATION
    color: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What a command works on.

    Attributes:
        directories: The node's directories.
        output: Where its words go.
        log_level: What `--log-level` says.
        environment: The process's environment.
    """

    directories: NodeDirectories
    output: Output
    log_level: LogLevel
    environment: Mapping[str, str] = field(repr=False)


def invocation(ctx: click.Context) -> Invocation:
    """Return what this command works on.

    Raises:
        LayoutError: A directory's name cannot be one.
    """
    given = ctx.find_object(Given) or Given()
    definitions = given.definitions
    directories = resolve_directories(
        config_dir=given.config_dir or _defined(definitions, _CONFIG_DIR_CONSTANTS),
        data_dir=given.data_dir or _defined(definitions, _DATA_DIR_CONSTANTS),
        environment=os.environ,
    )
    return Invocation(
        directories=directories,
        output=output_of(given),
        log_level=given.log_level,
        environment=os.environ,
    )


def output_of(given: Given) -> Output:
    """Return where words go, before anything else is known."""
    return Output(level=given.log_level, color=given.color)


def global_options(*, hidden: bool) -> list[click.Parameter]:
    """Make the options anew, for one command.

    Args:
        hidden: Whether its help leaves them out; the program's own help has them.
    """
    return [
        _option(
            "config_dir",
            "--config-dir",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help=f"Icinga's ConfigDir [env: ICEFLOE_CONFIG_DIR; {CONFIG_DIR_DEFAULT}].",
            hidden=hidden,
        ),
        _option(
            "data_dir",
            "--data-dir",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help=f"Icinga's DataDir [env: ICEFLOE_DATA_DIR; {DATA_DIR_DEFAULT}].",
            hidden=hidden,
        ),
        _option(
            "definitions",
            *("-D", "--define"),
            metavar="NAME=VALUE",
            multiple=True,
            help="Configuration.ConfigDir and Configuration.DataDir count, as tools "
            "pass them; others are accepted.",
            hidden=hidden,
        ),
        _option(
            "log_level",
            *("-x", "--log-level"),
            type=click.Choice([level.value for level in LogLevel]),
            help="Print lines of this severity and above [information].",
            hidden=hidden,
        ),
        _option(
            "color",
            "--color/--no-color",
            default=None,
            help="Colors also where the output is no terminal, or never.",
            hidden=hidden,
        ),
        click.Option(
            ["-V", "--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show versions and exit.",
            hidden=hidden,
        ),
    ]


def _option(name: str, *declarations: str, **attributes: Any) -> click.Option:
    return click.Option(
        [f"given_{name}", *declarations],
        expose_value=False,
        callback=_note,
        **attributes,
    )


def _note(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    given = ctx.find_object(Given)
    if given is None or value is None or value == ():
        return
    match option.name:
        case "given_log_level":
            given.log_level = LogLevel(value)
        case "given_definitions":
            given.definitions.update(_definition(ctx, option, each) for each in value)
        case str(name):
            setattr(given, name.removeprefix("given_"), value)


def _definition(
    ctx: click.Context, option: click.Parameter, text: str
) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter("it has the form NAME=VALUE", ctx=ctx, param=option)
    return name, value


def _defined(definitions: Mapping[str, str], names: tuple[str, ...]) -> Path | None:
    found = (definitions[name] for name in names if definitions.get(name))
    return next(map(Path, found), None)


def _print_version(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(version_text(), nl=False)
        ctx.exit()
