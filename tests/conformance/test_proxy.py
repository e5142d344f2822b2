"""The proxy that stands between clients and servers in other tests does to them what it says."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.proxy import Proxy

SILENCE = 0.3
"""Seconds after which nothing is taken to come any more."""


class Echo:
    """A server that answers with what it got, and says when a client has ended."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listener.getsockname())
        self.got, self.ended = b"", threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            with client:
                try:
                    while data := client.recv(65536):
                        self.got += data
                        client.sendall(data)
                    client.sendall(b"end")
                except OSError:
                    pass  # reset
                self.ended.set()

    def close(self) -> None:
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.address) as proxy:
        yield proxy


@contextmanager
def client_of(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        yield client


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """Connected through the proxy as far as the server."""
    with client_of(proxy) as client:
        assert answer(client, b"hello") == b"hello"
        yield client


def answer(client: socket.socket, said: bytes) -> bytes:
    client.sendall(said)
    return received(client, len(said))


def received(client: socket.socket, size: int, seconds: float = 5) -> bytes:
    """Up to ``size`` bytes, as far as they come."""
    client.settimeout(seconds)
    data = b""
    try:
        while len(data) < size and (piece := client.recv(size - len(data))):
            data += piece
    except TimeoutError:
        pass
    return data


def test_pass_lets_through_both_ways_to_the_end(client: socket.socket, echo: Echo) -> None:
    large = bytes(range(256)) * 4000
    sender = threading.Thread(target=client.sendall, args=(large,))
    sender.start()
    assert received(client, len(large)) == large
    sender.join()
    client.shutdown(socket.SHUT_WR)
    assert received(client, 10) == b"end"


def test_blackhole_holds_what_is_said_until_it_ends(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.mode = "blackhole"
    client.sendall(b"held")
    assert received(client, 4, SILENCE) == b"" and echo.got == b"hello"
    proxy.mode = "pass"
    assert received(client, 4) == b"held"


def test_one_direction_only(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.to_client = "blackhole"
    client.sendall(b"heard")
    assert received(client, 5, SILENCE) == b"" and echo.got == b"helloheard"
    proxy.mode = "pass"
    assert received(client, 5) == b"heard"
    with pytest.raises(ValueError, match="no mode 'refuse' here"):
        proxy.to_server = "refuse"


def test_reset_ends_open_and_new_connections(proxy: Proxy, client: socket.socket) -> None:
    proxy.mode = "reset"
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionResetError), client_of(proxy) as another:
        another.recv(1)
    proxy.mode = "pass"
    with client_of(proxy) as another:
        assert answer(another, b"again") == b"again"


def test_refuse_lets_nobody_in_and_open_connections_go_on(proxy: Proxy, client: socket.socket) -> None:
    proxy.mode = "refuse"
    with pytest.raises(ConnectionRefusedError), client_of(proxy):
        pass
    assert answer(client, b"still") == b"still"
    client.close()
    proxy.mode = "pass"
    with client_of(proxy) as another:
        assert answer(another, b"again") == b"again"


def test_delay_is_that_of_a_far_server(proxy: Proxy, client: socket.socket) -> None:
    proxy.mode = "delay:150"
    began = time.monotonic()
    assert answer(client, b"far") == b"far"
    assert 0.3 <= time.monotonic() - began < 3


def test_rate_is_that_of_a_thin_line(proxy: Proxy, client: socket.socket) -> None:
    proxy.to_server = "rate:20000"
    began = time.monotonic()
    assert answer(client, bytes(10_000)) == bytes(10_000)
    assert 0.4 <= time.monotonic() - began < 3


def test_cut_ends_a_connection_in_the_middle_of_a_message(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.to_server = "cut:3"
    client.sendall(b"abcdef")
    with pytest.raises(ConnectionResetError):
        while received(client, 10):
            pass
    assert echo.ended.wait(5) and echo.got == b"helloabc"


def test_half_close_ends_one_way_only(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.to_server = "half-close"
    assert received(client, 3) == b"end" and echo.ended.wait(5)


def test_a_server_that_is_away_is_a_connection_that_ends(proxy: Proxy, echo: Echo) -> None:
    echo.close()
    with pytest.raises(ConnectionResetError), client_of(proxy) as client:
        client.recv(1)


def test_before_gives_the_address_through_it(echo: Echo) -> None:
    proxy, uri = Proxy.before(f"amqp://user:secret@{echo.address}/vhost;amqp://user:secret@127.0.0.1:1/vhost")
    assert uri == f"amqp://user:secret@127.0.0.1:{proxy.port}/vhost"
    with client_of(proxy) as client:
        assert answer(client, b"hello") == b"hello"
    proxy.close()
