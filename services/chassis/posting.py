"""Posting JSON to an outside system: signed as Standard Webhooks do, bounded in time, and never twice by itself.

The library's own client, since eventlet has made its sockets green; only names are resolved in a thread, where the
process would stand still otherwise.
"""

import base64
import hashlib
import hmac
import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import eventlet
import orjson
from eventlet import patcher, tpool

from services.chassis.clock import now

TIMEOUT = 5.0  # seconds
_BLOCKING = patcher.original("socket")
MAX_ANSWER = 4096
"""Bytes that are read of what nobody looks at."""


class Away(Exception):
    """No answer: what was sent may have arrived or not."""


@dataclass(frozen=True)
class Answer:
    status: int
    retry_after: timedelta = timedelta()


def signature(secret: bytes, id: str, timestamp: int, body: bytes) -> str:
    """https://www.standardwebhooks.com, version 1."""
    digest = hmac.digest(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def post(url: str, secret: bytes, id: str, content: Mapping[str, Any], seconds: float = TIMEOUT) -> Answer:
    """``id`` is the same for the same content however often it is sent. Raise ``Away``."""
    body, timestamp = orjson.dumps(content), int(now().timestamp())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, id, timestamp, body),
    }
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    try:
        with eventlet.Timeout(seconds, Away("no answer in time")):  # the socket's own would begin anew with each byte
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            response.read(MAX_ANSWER)
            return Answer(response.status, _seconds(response.getheader("Retry-After")))
    except (OSError, http.client.HTTPException) as error:
        raise Away(type(error).__name__) from None
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    connection: Any
    if scheme == "https":
        connection = http.client.HTTPSConnection(host, port, context=_tls())
    else:
        connection = http.client.HTTPConnection(host, port)
    connection._create_connection = _connected
    return connection  # type: ignore[no-any-return]


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _connected(address: tuple[str, int], *_arguments: Any) -> socket.socket:
    host, port = address
    found = tpool.execute(_BLOCKING.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    for number, (*_, resolved) in enumerate(found, start=1):
        try:
            return socket.create_connection(resolved[:2])
        except OSError:
            if number == len(found):
                raise
    raise OSError("no address")


def _seconds(text: str | None) -> timedelta:
    """Nothing for a date, or for what is no number of seconds."""
    return (
        timedelta(seconds=int(text)) if text and text.isascii() and text.isdecimal() and len(text) < 8 else timedelta()
    )
