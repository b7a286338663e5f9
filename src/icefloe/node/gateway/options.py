"""What an operator tells a gateway, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from icefloe.config.limits import LimitProblem, Limits, parse_limit, with_limits
from icefloe.config.syntax import Value
from icefloe.errors import IcefloeError
from icefloe.pki.names import check_common_name

__all__ = [
    "DATA_DIR_DEFAULT",
    "GATEWAY_DEFAULTS",
    "PORT_DEFAULT",
    "GatewayOptions",
    "GatewayProblem",
    "ListenPlace",
    "TrustOptions",
    "UpstreamPlace",
    "parse_limits",
]

PORT_DEFAULT: Final = 5665
"""protocol: Icinga's port; also a gateway's, where no node has it already."""

DATA_DIR_DEFAULT: Final = Path("/var/lib/icefloe-gateway")
"""Never Icinga's own: a gateway stands beside a node and is none."""

_PORT_MAX: Final = 65535

# The node above counts all who come through a gateway as one source. So one of them
# must not use up what it allows for all.
_DIFFERENT: Final[Mapping[str, Value]] = {"wrong_tickets_per_minute": 10.0}


class GatewayProblem(IcefloeError):
    """A gateway cannot be run as it was told; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamPlace:
    """A satellite or master that requests are forwarded to.

    Attributes:
        host: Name or address.
        port: TCP port.
        name: The common name that its certificate must bear; "" when it is learned at
            the first contact.
    """

    host: str
    port: int = PORT_DEFAULT
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> UpstreamPlace:
        """Read `HOST[,PORT[,NAME]]`; raises `GatewayProblem`, or `PKIError` for NAME."""
        host, _, rest = text.partition(",")
        port, _, name = rest.partition(",")
        if not host:
            raise GatewayProblem(f"--upstream '{text}': it names no host")
        number = _port(port, f"--upstream '{text}'") if port else PORT_DEFAULT
        if name:
            check_common_name(name)
        return cls(host=host, port=number, name=name)

    @property
    def label(self) -> str:
        """Return `host:port`, by which it is known in logs and in what is stored."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenPlace:
    """Where clients are waited for.

    Attributes:
        host: Address or name to bind; `::` is every address of the machine.
        port: TCP port; 0 lets the system choose.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenPlace:
        """Read `HOST[,PORT]`; raises `GatewayProblem`."""
        host, _, port = text.partition(",")
        if not host:
            raise GatewayProblem(f"--listen '{text}': it names no address")
        number = PORT_DEFAULT
        if port:
            number = _port(port, f"--listen '{text}'", least=0)
        return cls(host=host, port=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustOptions:
    """Whom to believe; used until a CA is stored, and checked against it afterwards.

    Attributes:
        ca_file: The CA's certificate, PEM.
        trusted_cert_file: An upstream's own certificate, PEM, as `pki save-cert`
            stores it and the operator has compared it.
        trust_first_use: Believe the first upstream that answers.
    """

    ca_file: Path | None = None
    trusted_cert_file: Path | None = None
    trust_first_use: bool = False


def parse_limits(texts: Sequence[str]) -> Limits:
    """Read what `--limit NAME=NUMBER` was given, once or more often.

    What is not given is as in `GATEWAY_DEFAULTS`.

    Raises:
        GatewayProblem: One of them cannot be taken.
    """
    given: dict[str, Value] = dict(_DIFFERENT)
    for text in texts:
        try:
            given |= parse_limit(text)
        except LimitProblem as error:
            raise GatewayProblem(f"--limit '{text}': {error.message}") from error
    limits, problems = with_limits(given)
    for problem in problems:
        raise GatewayProblem(f"--limit: {problem.message}. {problem.remedy}".rstrip())
    return limits


GATEWAY_DEFAULTS: Final = parse_limits(())
"""A gateway's limits where none are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """All of it.

    Attributes:
        upstreams: At least one; asked in this order.
        listen: Where clients come.
        data_dir: The gateway's own directory; it need not exist.
        name: The common name of its certificate; "" for the stored or made-up one.
        ticket: What proves that it may have that name, or "".
        trust: Whom to believe.
        limits: Of what clients may take.
    """

    upstreams: tuple[UpstreamPlace, ...]
    listen: ListenPlace
    data_dir: Path = DATA_DIR_DEFAULT
    name: str = ""
    ticket: str = field(default="", repr=False)
    trust: TrustOptions = field(default_factory=TrustOptions)
    limits: Limits = GATEWAY_DEFAULTS

    def check(self) -> None:
        """Look for what makes no sense together.

        Raises:
            GatewayProblem: There is something; the text says what to change.
        """
        if not self.upstreams:
            raise GatewayProblem("at least one --upstream is needed")
        labels = [place.label for place in self.upstreams]
        for label in labels:
            if labels.count(label) > 1:
                raise GatewayProblem(f"--upstream {label} is given twice")
        trust = self.trust
        if trust.ca_file is not None and trust.trusted_cert_file is not None:
            raise GatewayProblem(
                "--ca and --trustedcert: give one of them; the CA's certificate is the "
                "better one where you have it"
            )


def _port(text: str, where: str, *, least: int = 1) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > len(str(_PORT_MAX)):
        raise GatewayProblem(f"{where}: '{text}' is no port")
    number = int(text)
    if not least <= number <= _PORT_MAX:
        raise GatewayProblem(f"{where}: a port is a number up to {_PORT_MAX}")
    return number
