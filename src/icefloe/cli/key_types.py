"""The option `--key-type`, and what a CA's key type means for its cluster."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from icefloe.cli.output import Output
from icefloe.storage.keys import KeyType

KeyTypeOption: TypeAlias = Annotated[
    KeyType,
    typer.Option(
        "--key-type",
        help="ECDSA P-256 (quick), or RSA-4096 (as Icinga 2 makes it).",
    ),
]


def tell_of_ca_key(output: Output, key_type: KeyType | None) -> None:
    """Say what a new CA cannot do, while it is easy to make another one.

    Args:
        output: Where to.
        key_type: The type of the CA's key; None when there is no CA here.
    """
    if key_type is not KeyType.EC:
        return
    output.information(
        "The CA's key is ECDSA P-256. Every Icinga 2 node works under it, but an "
        "Icinga 2 master cannot sign with it: this CA cannot go back to, or be shared "
        "with, an Icinga 2 signer. To keep that way open, move ca/ and certs/ away now "
        "and use --key-type rsa."
    )
