"""A cluster of real icinga2 nodes that a guide finds: a master and a satellite.

Beside the machines that a guide is pasted on, it gives them what their operating system
would have: `icinga2` with the machine's own directories, and `systemctl` as far as a
guide uses it.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.guides.shells import Machine
from tests.peers import Address, PreparedPKI, RealIcinga, ZoneSpec, free_port
from tests.peers.fixtures import Nodes
from tests.peers.node import NodeUnderTest

MASTER = "master1"
SATELLITE = "satellite1"
"""Names that other tests use as well: their RSA keys are made once for a run."""

ZONE = "dmz"


class RealCluster:
    """A master and a satellite, connected; both real icinga2.

    Attributes:
        master: Holds the CA key.
        satellite: Below it, at an address of its own, so that what is printed tells
            the nodes apart.
    """

    def __init__(self, nodes: Nodes, root: Path, pki: PreparedPKI) -> None:
        """Start both."""
        zones = (
            ZoneSpec(name="master", endpoints=(MASTER,)),
            ZoneSpec(name=ZONE, endpoints=(SATELLITE,), parent="master"),
        )
        self.master = nodes.adopt(RealIcinga(MASTER, root))
        self.satellite = nodes.adopt(RealIcinga(SATELLITE, root, host="127.0.0.2"))
        self.master.install_identity(pki, signer=True)
        self.satellite.install_identity(pki)
        self.master.configure(zones, salt=pki.salt)
        above: dict[str, Address] = {MASTER: self.master.address}
        self.satellite.configure(zones, dials=above)
        self.master.start()
        self.satellite.start()
        self.satellite.wait_until_connected(self.master)
        self.master.wait_until_connected(self.satellite)

    @property
    def values(self) -> dict[str, str]:
        """What a guide has to be told of the satellite."""
        return {
            "SATELLITE": SATELLITE,
            "SATELLITE_HOST": self.satellite.host,
            "SATELLITE_PORT": str(self.satellite.port),
            "SATELLITE_ZONE": ZONE,
        }


def serve(machine: Machine, service: str, pid: int) -> None:
    """Give a machine a `systemctl` that knows one service, and how to reload it."""
    machine.install(
        "systemctl",
        f'if [ "$*" = "reload {service}" ]; then kill -HUP {pid}; else\n'
        '  echo "the suite has no: systemctl $*" >&2; exit 1\nfi',
    )


def new_agent(nodes: Nodes, machine: Machine, root: Path, name: str) -> RealIcinga:
    """Return an agent without a certificate; its `icinga2` is on the machine."""
    agent = nodes.adopt(RealIcinga(name, root, port=free_port()))
    give_icinga(machine, agent)
    return agent


def give_icinga(machine: Machine, node: NodeUnderTest) -> None:
    """Put `icinga2` on a machine, with the node's directories.

    The command's directories are constants that follow the words; paths in the words,
    which a guide writes as they are on a real machine, are moved as well.
    """
    program, *constants = node.argv()
    given = " ".join(shlex.quote(word) for word in constants)
    data, config = shlex.quote(str(node.data_dir)), shlex.quote(str(node.config_dir))
    machine.install(
        "icinga2",
        "for word do\n"
        "  shift\n"
        '  case "$word" in\n'
        f'    /var/lib/icinga2/*) word={data}"${{word#/var/lib/icinga2}}" ;;\n'
        f'    /etc/icinga2/*) word={config}"${{word#/etc/icinga2}}" ;;\n'
        "  esac\n"
        '  set -- "$@" "$word"\n'
        "done\n"
        f'exec {shlex.quote(program)} "$@" {given}',
    )
    ours = node.environment()
    machine.variables |= {
        name: ours[name] for name in ("ICINGA2_USER", "ICINGA2_GROUP") if name in ours
    }
