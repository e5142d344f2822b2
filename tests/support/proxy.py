"""A TCP proxy that can turn into a black hole."""

import socket
import threading
import time
from urllib.parse import urlsplit


class Proxy:
    """Modes: ``pass``, ``blackhole`` (nothing arrives, nothing is refused)."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.mode = "pass"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    def before(cls, uri: str) -> "tuple[Proxy, str]":
        """A proxy for the server of an address, and the address through it."""
        parts = urlsplit(uri)
        proxy = cls(f"{parts.hostname}:{parts.port}")
        return proxy, uri.replace(f":{parts.port}", f":{proxy.port}")

    def close(self) -> None:
        self.mode = "closed"
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        host, _, port = self._target.rpartition(":")
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            server = socket.create_connection((host, int(port)))
            self._sockets += [client, server]
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                while self.mode == "blackhole":
                    time.sleep(0.05)
                sink.sendall(data)
        except OSError:
            pass  # one end is gone, so the other goes too
        for end in (source, sink):
            end.close()
