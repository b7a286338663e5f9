"""`icefloe ca`: certificate requests, and an operator's decisions about them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import msgspec
import typer

from icefloe.cli.app import CONTEXT, EXIT_FAILED
from icefloe.cli.invocation import invocation
from icefloe.cli.output import Output
from icefloe.cli.setting import become_owner, setting_of
from icefloe.errors import IcefloeError
from icefloe.node.commands.deciding import remove_request, restore_request, sign_request
from icefloe.node.commands.request_list import Entry, Which, list_entries

Fingerprints = Annotated[
    list[str],
    typer.Argument(
        metavar="FINGERPRINT...",
        show_default=False,
        help="As 'ca list' shows it; its first 8 digits or more are enough.",
    ),
]

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See and decide certificate requests.",
)


@app.command(
    "list",
    epilog="""\b
Examples:
  icefloe ca list                # what waits for a decision
  icefloe ca list --all --json   # everything, for programs""",
)
def list_requests(
    ctx: typer.Context,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Signed requests as well.")
    ] = False,
    removed: Annotated[
        bool, typer.Option("--removed", help="Removed requests instead.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON, keyed by fingerprint; always all.")
    ] = False,
) -> None:
    """List certificate requests: those that nobody has decided about."""
    given = invocation(ctx)
    become_owner(given)
    which = Which.REMOVED if removed else Which.ALL if every or as_json else Which.OPEN
    entries = list_entries(given.directories, which)
    if as_json:
        # protocol: one line, without an end.
        facts = {entry.fingerprint: _facts(entry) for entry in entries}
        given.output.result(msgspec.json.encode(facts).decode(), newline=False)
    else:
        for line in _table(entries):
            given.output.result(line)


@app.command(
    epilog="""\b
Examples:
  icefloe ca sign 5ab68742
  icefloe ca sign --reserved 8f13fb32    # a master's or satellite's new key"""
)
def sign(
    ctx: typer.Context,
    fingerprints: Fingerprints,
    *,
    reserved: Annotated[
        bool,
        typer.Option(
            "--reserved",
            help="Also another key for a reserved name: a master, a satellite, an API "
            "user.",
        ),
    ] = False,
) -> None:
    """Approve requests and sign them.

    A running daemon signs, and hands the certificate to a node that waits for it;
    without one this command signs.
    """
    given = invocation(ctx)
    setting, actor = setting_of(given), _actor(given.environment)
    become_owner(given)

    def decide(fingerprint: str) -> None:
        request = sign_request(fingerprint, setting, actor=actor, reserved=reserved)
        given.output.information(f"Signed certificate for 'CN = {request.cn}'.")

    _for_each(fingerprints, decide, given.output)


@app.command(
    epilog="""\b
Example:
  icefloe ca remove 5ab68742    # 'ca restore' takes it back"""
)
def remove(ctx: typer.Context, fingerprints: Fingerprints) -> None:
    """Decline requests. Who asks again is refused."""
    given = invocation(ctx)
    setting, actor = setting_of(given), _actor(given.environment)
    become_owner(given)

    def decide(fingerprint: str) -> None:
        request = remove_request(fingerprint, setting, actor=actor)
        given.output.information(f"Certificate request for CN '{request.cn}' removed.")

    _for_each(fingerprints, decide, given.output)


@app.command(
    epilog="""\b
Example:
  icefloe ca list --removed && icefloe ca restore 5ab68742"""
)
def restore(ctx: typer.Context, fingerprints: Fingerprints) -> None:
    """Take removals back. The requests then wait for a decision again."""
    given = invocation(ctx)
    setting = setting_of(given)
    become_owner(given)

    def decide(fingerprint: str) -> None:
        request = restore_request(fingerprint, setting)
        given.output.information(
            f"Restored certificate request for CN '{request.cn}', sign it with: "
            f"icefloe ca sign {fingerprint}"
        )

    _for_each(fingerprints, decide, given.output)


def _for_each(
    fingerprints: Iterable[str], decide: Callable[[str], None], output: Output
) -> None:
    """Decide each; one that fails does not keep the others from being decided."""
    failed = False
    for fingerprint in fingerprints:
        try:
            decide(fingerprint)
        except IcefloeError as error:
            output.critical(error.public)
            failed = True
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _actor(environment: Mapping[str, str]) -> str:
    """Name who decides: the person behind sudo, else the user."""
    user = environment.get("SUDO_USER")
    if user:
        return user
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _table(entries: Iterable[Entry]) -> Iterable[str]:
    """protocol: Icinga's table; people and scripts know its columns."""
    yield f"{'Fingerprint':<64} | {'Timestamp':<24} | Signed | Subject"
    yield "-|-".join(("-" * 64, "-" * 24, "-" * 6, "-" * 7))
    for entry in entries:
        signed = "*" if entry.certificate is not None else ""
        yield (
            f"{entry.fingerprint} | {entry.timestamp:<24} | {signed:<6} | "
            f"{entry.subject}"
        )


def _facts(entry: Entry) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "cert_request": entry.request_pem,
        "subject": entry.subject,
        "timestamp": entry.timestamp,
        # What Icinga does not know; its readers pass over it.
        "icefloe": {
            "state": entry.state,
            "via": entry.via,
            "note": entry.note,
            "created_at": entry.created_at,
            "asked_at": entry.asked_at,
        },
    }
    if entry.certificate_pem is not None:
        facts["cert_response"] = entry.certificate_pem
    return facts
