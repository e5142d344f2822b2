"""A provider of short messages at its end of the line: takes them over HTTP, answers as it is told, and counts ids."""

import json
import secrets
import socket
import threading
from base64 import urlsafe_b64encode
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from services.chassis.posting import signature

HANG = 30.0  # seconds, more than anybody waits


@dataclass(frozen=True)
class Received:
    id: str
    to: str
    text: str


class SmsProvider:
    """``moves`` says how the next requests are answered: a status, a status with ``Retry-After``, ``hang`` or ``lose``,
    which takes the message and closes the line. Then all are answered with 200.
    """

    def __init__(self, port: int = 0) -> None:
        self.secret = secrets.token_bytes(32)
        self.received: list[Received] = []
        self.moves: deque[str] = deque()
        self.forged: list[str] = []
        self._done = threading.Event()
        provider = self

        class Line(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                provider._take(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Line)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def settings(self) -> dict[str, str]:
        """Of a service that is to send here."""
        return {
            "SIDAN_SMS_URL": f"http://127.0.0.1:{self.port}/messages?v=1",
            "SIDAN_SMS_SECRET": urlsafe_b64encode(self.secret).decode(),
        }

    def of(self, number: str) -> list[Received]:
        """As they came, repetitions too."""
        return [message for message in list(self.received) if message.to == number]

    def texts(self, number: str) -> list[str]:
        """Each id once."""
        return [message.text for message in {message.id: message for message in self.of(number)}.values()]

    def _take(self, line: BaseHTTPRequestHandler) -> None:
        body = line.rfile.read(int(line.headers["Content-Length"]))
        id, timestamp = line.headers["webhook-id"], int(line.headers["webhook-timestamp"])
        if line.headers["webhook-signature"] != signature(self.secret, id, timestamp, body):
            self.forged.append(id)
        told = json.loads(body)
        move = self.moves.popleft() if self.moves else "200"
        self.received.append(Received(id, told["to"], told["text"]))
        if move == "hang":
            self._done.wait(HANG)
        if move in ("hang", "lose"):
            line.connection.shutdown(socket.SHUT_RDWR)
            line.close_connection = True
            return
        status, _, wait = move.partition(" ")
        line.send_response(int(status))
        if wait:
            line.send_header("Retry-After", wait)
        line.send_header("Content-Length", "0")
        line.end_headers()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._server.shutdown()
        self._server.server_close()
