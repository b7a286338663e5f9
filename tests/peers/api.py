"""The REST API of a real icinga2, as far as tests ask it."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import msgspec

from tests.peers.layout import api_user_conf
from tests.peers.node import NodeUnderTest

USER = "tests"
PASSWORD = "not-a-secret-in-tests"


class IcingaAPI:
    """A client of one node's API; verifies the node's certificate and name."""

    def __init__(self, node: NodeUnderTest) -> None:
        """Remember the node; `allow` must have been called before it started."""
        self._node = node

    @staticmethod
    def allow(node: NodeUnderTest) -> None:
        """Configure the user that this client is."""
        node.write_local("api-user", api_user_conf(USER, PASSWORD))

    def get(self, path: str, **query: str | list[str]) -> Any:
        """Return the decoded answer of `GET /v1/<path>`.

        Raises:
            AssertionError: A status that does not mean success.
        """
        return self._ask("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Return the decoded answer of `POST /v1/<path>`."""
        return self._ask("POST", path, {}, msgspec.json.encode(body))

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | list[str]],
        body: bytes | None,
    ) -> Any:
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Accept": "application/json", "Authorization": f"Basic {basic}"}
        target = f"/v1/{path}?{urlencode(query, doseq=True)}"
        with _Connection(self._node) as connection:
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status // 100 != 2:
            raise AssertionError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return msgspec.json.decode(text)


class _Connection(http.client.HTTPConnection):
    """HTTPS to an address, verified against the node's name and CA."""

    def __init__(self, node: NodeUnderTest) -> None:
        super().__init__(node.host, node.port, timeout=30)
        self._node = node

    def connect(self) -> None:
        context = ssl.create_default_context(cafile=str(self._node.ca_path))
        # Icinga's certificates have no key identifiers, which RFC 5280 asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        plain = socket.create_connection(self._node.address, timeout=30)
        self.sock = context.wrap_socket(plain, server_hostname=self._node.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def checked_hosts(node: NodeUnderTest) -> dict[str, float]:
    """Return when each host that `node` knows was last checked.

    Unix seconds by host name; -1 for a host that was never checked.
    """
    answer = IcingaAPI(node).get("objects/hosts", attrs=["name", "last_check"])
    return {
        entry["attrs"]["name"]: float(entry["attrs"]["last_check"])
        for entry in answer["results"]
    }
