"""`icefloe pki`: keys, certificates, tickets and the CA."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from icefloe.cli.app import CONTEXT, EXIT_FAILED, EXIT_OK
from icefloe.cli.enrollment_words import EnrollmentTeller, outcome_facts
from icefloe.cli.invocation import invocation
from icefloe.cli.key_types import KeyTypeOption, tell_of_ca_key
from icefloe.cli.options import (
    JSONOption,
    TicketFileOption,
    TicketOption,
    TrustedOption,
)
from icefloe.cli.output import Output
from icefloe.cli.problem_words import telling_problems
from icefloe.cli.setting import setting_of
from icefloe.cli.verifying import verify_files
from icefloe.config.loading import load_constants
from icefloe.enrollment.requester import Came, Parent
from icefloe.node.acceptance import is_from
from icefloe.node.client import FetchedCertificates, fetch_certificate
from icefloe.node.commands.certificate_files import (
    NewCertificate,
    make_files,
    sign_request_file,
)
from icefloe.node.commands.enrolling import (
    DEFAULT_PORT,
    TICKET_VARIABLE,
    Enrollment,
    Outcome,
    choose_ticket,
    enroll_files,
    identity_files,
    load_pins,
    own_journal,
    parse_parent,
)
from icefloe.node.commands.setting import Setting
from icefloe.node.doors import RealClock
from icefloe.pki.certificates import describe_text, to_pem
from icefloe.pki.errors import PKIError, TicketInvalid
from icefloe.pki.tickets import ticket as make_ticket
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.authority import AuthorityExists, create_authority
from icefloe.storage.files import write_file
from icefloe.storage.identity import (
    CERTIFICATE_MODE,
    load_files,
    store_ticket,
)
from icefloe.storage.keys import KeyType, key_type_of

WAIT_WITH_TICKET: Final = 60.0
"""Seconds that `pki request` goes on after "pending" when it has a ticket.

A ticket needs nobody's decision, so "pending" then means that the answer is on its
way: a second or two per satellite that runs Icinga 2.  Without one, somebody has to
approve; the first "pending" ends the command, as in Icinga.
"""

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Keys, certificates, tickets and the CA.",
)


# --- The CA ---------------------------------------------------------------------------


@app.command(
    epilog="""\b
Examples:
  icefloe pki new-ca
  icefloe pki new-ca --key-type rsa     # a real Icinga 2 can sign with it, too"""
)
def new_ca(ctx: typer.Context, *, key_type: KeyTypeOption = KeyType.EC) -> None:
    """Make a CA: DataDir/ca/ca.key and ca.crt.

    A CA that is there is left alone, and the exit code is 1.
    """
    given = invocation(ctx)
    setting = setting_of(given)
    try:
        authority = create_authority(
            given.directories,
            key_type=key_type,
            entropy=setting.entropy,
            at=setting.clock.now().wall,
            owner=setting.owner,
            narrator=given.output,
        )
    except AuthorityExists as error:
        given.output.warning(str(error))
        raise typer.Exit(EXIT_FAILED) from error
    tell_of_ca_key(given.output, key_type_of(authority.key))


@app.command(
    epilog="""\b
Example:
  icefloe pki sign-csr --csr web1.csr --cert web1.crt"""
)
def sign_csr(
    ctx: typer.Context,
    *,
    csr: Annotated[Path, typer.Option(help="The request (PKCS#10, PEM).")],
    cert: Annotated[Path, typer.Option(help="Where the certificate goes.")],
) -> None:
    """Sign a PKCS#10 request with the CA of this node.

    The same request gets the same certificate until that is due for renewal.
    """
    sign_request_file(csr, cert, setting_of(invocation(ctx)))


# --- A node's key and certificate -----------------------------------------------------


@app.command(
    epilog="""\b
Examples:
  icefloe pki new-cert --cn web1 --key web1.key --cert web1.crt   # to enroll with
  icefloe pki new-cert --cn web1 --key web1.key --csr web1.csr    # to have signed"""
)
def new_cert(
    ctx: typer.Context,
    *,
    cn: Annotated[str, typer.Option(help="Common name: the node's full name.")],
    key: Annotated[Path, typer.Option(help="Where the private key goes.")],
    csr: Annotated[
        Path | None, typer.Option(help="Where a PKCS#10 request goes.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(help="Where a self-signed certificate goes.")
    ] = None,
    key_type: KeyTypeOption = KeyType.EC,
) -> None:
    """Make a key, and a request or a self-signed certificate for it.

    Files that are there are replaced; what they held is kept beside them.
    """
    wanted = NewCertificate(
        cn=cn, key=key, csr=csr, certificate=cert, key_type=key_type
    )
    make_files(wanted, setting_of(invocation(ctx)))


@app.command(
    epilog="""\b
Example:
  icefloe pki save-cert --host sat1 --trustedcert trusted-parent.crt

\b
Compare the fingerprint with what the parent itself shows:
  icefloe pki verify --cert /var/lib/icinga2/certs/sat1.crt"""
)
def save_cert(
    ctx: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="The parent's name or address.")],
    trustedcert: Annotated[
        Path, typer.Option(help="Where the parent's certificate goes.")
    ],
    port: Annotated[str, typer.Option(help="Its port.")] = str(DEFAULT_PORT),
    key: Annotated[str | None, typer.Option(hidden=True)] = None,
    cert: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Fetch the certificate of a parent, to be trusted as --trustedcert.

    It is printed and saved, not judged: compare its fingerprint before you use it.
    """
    del key, cert  # protocol: accepted and ignored, for older tools
    given = invocation(ctx)
    output = given.output
    output.information(f"Retrieving TLS certificate for '{host}:{port}'.")
    fetched = asyncio.run(fetch_certificate(host, port))
    output.result(describe_text(fetched.leaf), newline=False)
    _tell_issuer(output, fetched)
    output.result(
        "***\n"
        "*** Compare the fingerprint with the one that the parent itself shows. Else\n"
        "*** whoever stands between you and it can take its place.\n"
        "***\n"
    )
    output.information(f"Writing certificate to file '{trustedcert}'.", facility="pki")
    data = to_pem(fetched.leaf).encode("ascii")
    owner = setting_of(given).owner
    write_file(trustedcert, data, mode=CERTIFICATE_MODE, owner=owner)


def _tell_issuer(output: Output, fetched: FetchedCertificates) -> None:
    """Print the CA's certificate behind the leaf, if it is the leaf's CA.

    Tools look for the fingerprint of the one or of the other.  A CA certificate is
    public: only if it issued the leaf does its fingerprint say anything about the peer.
    """
    at = RealClock().now().wall
    for candidate in fetched.chain:
        with suppress(PKIError):
            if is_from(TrustAnchor.from_pem(to_pem(candidate)), fetched.leaf, at):
                output.information("It is signed by this CA:")
                output.result(describe_text(candidate), newline=False)
                return


# --- Asking for a certificate ---------------------------------------------------------


@app.command(
    epilog="""\b
Examples:
  icefloe pki request --host sat1 --key web1.key --cert web1.crt \\
    --ca ca.crt --trustedcert trusted-parent.crt --ticket-file ticket
  ICEFLOE_TICKET=... icefloe pki request --host sat1 --host sat2 ... --wait 300

\b
Exit code 0: signed, or pending (the certificate is then still self-signed).

\b
--json prints one object; its "code" is one of 'icefloe enrollment problems'."""
)
def request(
    ctx: typer.Context,
    *,
    host: Annotated[
        list[str],
        typer.Option(
            help="The parent's name or address; repeatable, tried in turn.",
            metavar="HOST[,PORT]",
        ),
    ],
    key: Annotated[Path, typer.Option(help="The node's private key.")],
    cert: Annotated[
        Path, typer.Option(help="Its certificate; replaced by the signed one.")
    ],
    ca: Annotated[Path, typer.Option(help="Where the CA's certificate goes.")],
    trustedcert: TrustedOption = None,
    port: Annotated[int, typer.Option(help="The port of --host.")] = DEFAULT_PORT,
    ticket: TicketOption = None,
    ticket_file: TicketFileOption = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds to go on while it is pending [60 with a ticket, else 0].",
        ),
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Ask a parent for this node's certificate.

    The certificate in --cert is the request. It is asked for again, with the same key,
    until there is an answer. A refusal changes no file.
    """
    given = invocation(ctx)
    output = given.output.for_one_result(alone=as_json)
    with telling_problems(output, as_json=as_json):
        variable = given.environment.get(TICKET_VARIABLE)
        chosen = choose_ticket(ticket, ticket_file, variable)
        parents = [_parent(each, port) for each in host]
        enrollment = Enrollment(
            files=identity_files(
                key=key, certificate=cert, ca=ca, directories=given.directories
            ),
            parents=parents,
            pins=load_pins(trustedcert or ()),
            names=frozenset(parent.host for parent in parents),
            ticket=chosen,
            wait=wait if wait is not None else WAIT_WITH_TICKET if chosen else 0.0,
        )
        code, case = _request(enrollment, setting_of(given, output), output)
        if as_json:
            output.result(msgspec.json.encode(case).decode())
    raise typer.Exit(code)


def _request(
    enrollment: Enrollment, setting: Setting, output: Output
) -> tuple[int, dict[str, object]]:
    """Enroll, tell of it, and return the exit code and the facts."""
    journal = own_journal(enrollment.files, setting)
    enrollment = replace(enrollment, journal=journal)
    cn = load_files(enrollment.files).node_name
    teller = EnrollmentTeller(output, cn, ticket_given=bool(enrollment.ticket))
    outcome = enroll_files(enrollment, setting, progress=teller.progress)
    return _conclude(teller, outcome, enrollment, setting), outcome_facts(outcome)


def _parent(text: str, port: int) -> Parent:
    """Read `host` or `host,port`; `--port` is for those without one."""
    return parse_parent(text if "," in text else f"{text},{port}")


def _conclude(
    teller: EnrollmentTeller,
    outcome: Outcome,
    enrollment: Enrollment,
    setting: Setting,
) -> int:
    """Say how it ended, leave the ticket for the daemon; return the exit code."""
    output, files = teller.output, enrollment.files
    teller.tell_way(outcome.ended.outcome)
    if outcome.wrote_certificate:
        return EXIT_OK
    if outcome.came is not Came.PENDING:
        teller.tell_failure(outcome)
        return EXIT_FAILED
    if enrollment.ticket and files.ticket is not None:
        # The daemon goes on where this command stops, and needs the ticket for it.
        store_ticket(files.ticket.parent, enrollment.ticket, owner=setting.owner)
        output.information(f"Writing ticket to file '{files.ticket}' for the daemon.")
    teller.tell_pending(outcome)
    return EXIT_OK


# --- Tickets and verification ---------------------------------------------------------


@app.command(
    epilog="""\b
Example:
  icefloe pki ticket --cn web1.example.org"""
)
def ticket(
    ctx: typer.Context,
    *,
    cn: Annotated[str, typer.Option(help="Common name of the node to be signed.")],
    salt: Annotated[
        str | None, typer.Option(help="The ticket salt [TicketSalt in constants.conf].")
    ] = None,
) -> None:
    """Print the ticket that lets a node of this name be signed."""
    given = invocation(ctx)
    if salt is None:
        directories = given.directories
        salt = load_constants(directories.config_dir, directories.data_dir).ticket_salt
        if not salt:
            raise TicketInvalid(
                f"there is no TicketSalt in '{directories.constants_conf}'; give it "
                "with --salt, or run this on the signer"
            )
    given.output.result(make_ticket(cn, salt))


@app.command(
    epilog="""\b
Examples:
  icefloe pki verify --cert web1.crt                     # print it
  icefloe pki verify --cert web1.crt --cacert ca.crt     # is it signed by this CA?
  icefloe pki verify --cert web1.crt --cn web1           # is it for this name?
  icefloe pki verify --cacert ca.crt                     # is it a CA?"""
)
def verify(
    ctx: typer.Context,
    *,
    cn: Annotated[str | None, typer.Option(help="Common name.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Certificate.")] = None,
    cacert: Annotated[Path | None, typer.Option(help="CA certificate.")] = None,
    crl: Annotated[Path | None, typer.Option(help="Revocation list.")] = None,
) -> None:
    """Check or print a certificate. Exit codes are those of a plugin: 0 and 2."""
    given = invocation(ctx)
    code = verify_files(
        given.output,
        cn=cn,
        cert=cert,
        cacert=cacert,
        crl=crl,
        at=RealClock().now().wall,
    )
    raise typer.Exit(code)
