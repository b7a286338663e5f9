"""`icefloe check certificate`: days left, chain, key, rights and name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from icefloe.cli.check_plugin import (
    PluginJSON,
    VerboseOption,
    finish,
    unknown_for_errors,
)
from icefloe.cli.invocation import Invocation, invocation
from icefloe.config.host import daemon_user
from icefloe.config.loading import load_constants
from icefloe.node.checks.certificate_check import (
    NAME,
    CertificateThresholds,
    certificate_outcome,
    see_files,
    see_peer,
    unreachable_outcome,
)
from icefloe.node.checks.plugin import Outcome, Range
from icefloe.node.client import FetchFailed, fetch_certificate
from icefloe.node.commands.enrolling import parse_parent
from icefloe.node.doors import RealClock
from icefloe.node.resolvers import run_with_resolvers
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import read_file, read_file_if_there
from icefloe.storage.identity_files import IdentityFiles

_Connect = Annotated[
    str | None,
    typer.Option(
        metavar="HOST[,PORT]", help="Look at what a node shows, instead of at files."
    ),
]
_File = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Another certificate than this node's."),
]
_Key = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Its key [the same name with .key]."),
]
_CA = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="The cluster's ca.crt [this node's]."),
]
_Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        "--node",
        metavar="CN",
        help="Whose certificate it has to be [NodeName; with --connect or --file: any].",
    ),
]
_Warning = Annotated[
    str,
    typer.Option("-w", "--warning", metavar="DAYS", help="Fewer days left than this."),
]
_Critical = Annotated[
    str,
    typer.Option("-c", "--critical", metavar="DAYS", help="Fewer days left than this."),
]


def certificate(
    ctx: typer.Context,
    *,
    connect: _Connect = None,
    file: _File = None,
    key: _Key = None,
    ca: _CA = None,
    name: _Name = None,
    warning: _Warning = "25",
    critical: _Critical = "7",
    verbose: VerboseOption = False,
    as_json: PluginJSON = False,
) -> None:
    """Tell whether a certificate serves, and for how long.

    Days left of it and of its CA, the chain, and for files also the key that belongs
    to it, who may read the key, and whether the daemon could replace the files.
    Icinga and Icefloe renew 30 days before the end at the latest: fewer than 25 mean
    that the renewal does not work.
    """
    given = invocation(ctx)
    with unknown_for_errors(NAME, given.output, as_json=as_json):
        thresholds = CertificateThresholds(
            warning=_days(warning), critical=_days(critical)
        )
        if connect is not None:
            outcome = _of_peer(connect, ca, name or "", thresholds, given)
        else:
            outcome = _of_files(
                file, key=key, ca=ca, name=name, thresholds=thresholds, given=given
            )
        finish(outcome, given.output, verbose=verbose, as_json=as_json)


def _days(text: str) -> Range:
    """A bare number is a lower bound here, as people say it: 25 is `25:`."""
    return Range.parse(text if ":" in text else f"{text}:")


def _of_peer(
    connect: str,
    ca: Path | None,
    name: str,
    thresholds: CertificateThresholds,
    given: Invocation,
) -> Outcome:
    parent = parse_parent(connect)
    anchor = None
    pem = read_file(ca) if ca else read_file_if_there(given.directories.trusted_ca)
    if pem is not None:
        anchor = TrustAnchor.from_pem(pem)
    try:
        shown = run_with_resolvers(fetch_certificate(parent.host, parent.port))
    except FetchFailed as error:
        return unreachable_outcome(str(parent), str(error))
    seen = see_peer(str(parent), shown.leaf, anchor=anchor, wanted_name=name)
    return certificate_outcome(seen, thresholds, RealClock().now().wall)


def _of_files(
    file: Path | None,
    *,
    key: Path | None,
    ca: Path | None,
    name: str | None,
    thresholds: CertificateThresholds,
    given: Invocation,
) -> Outcome:
    directories = given.directories
    if file is None:
        if name is None:
            constants = load_constants(directories.config_dir, directories.data_dir)
            name = constants.node_name
        files = IdentityFiles.of_node(directories.certs, name)
    else:
        files = IdentityFiles(
            key=file.with_suffix(".key"),
            certificate=file,
            ca=directories.trusted_ca,
            ticket=None,
        )
    files = replace(files, key=key or files.key, ca=ca or files.ca)
    user = daemon_user(directories.data_dir, given.environment)
    # Elsewhere nobody says whose files they have to be.
    owner = None if user is None or file is not None else (user.uid, user.gid)
    seen = see_files(files, wanted_name=name or "", owner=owner)
    return certificate_outcome(seen, thresholds, RealClock().now().wall)
