"""The answer to a peer that speaks HTTP."""

from __future__ import annotations

import socket
from http.client import HTTPResponse
from io import BytesIO
from typing import cast

from icefloe.cluster.refusal import HTTP_REFUSAL


class Wire:
    """As much of a socket as an HTTP client needs to read."""

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(HTTP_REFUSAL)


def test_refusal_is_a_whole_http_response_that_says_why() -> None:
    answer = HTTPResponse(cast("socket.socket", Wire()))
    answer.begin()
    assert answer.status == 404
    assert answer.getheader("Connection") == "close"
    body = answer.read()
    assert len(body) == int(answer.getheader("Content-Length", "0"))
    assert b"management API is not served" in body
