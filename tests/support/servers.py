"""Servers of a test's own, and parts of a shared broker."""

import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from deploy.local.servers import RabbitMQ, Server, ServerError
from tests.support.clusters import RabbitCluster

Broker = RabbitMQ | RabbitCluster
S = TypeVar("S", bound=Server)

TOLD = 2000
"""Characters from the end of each log of a server that does not start."""

ALL = {"configure": ".*", "write": ".*", "read": ".*"}
UNROUTED = {
    "pattern": r"^.*\.events$",
    "apply-to": "exchanges",
    "definition": {"alternate-exchange": "unrouted"},
}


@contextmanager
def started(make: Callable[[Path], S], folder: Path) -> Iterator[S]:
    """A server that keeps its data in ``folder``: ready; stopped in the end, and its data removed."""
    server = _ready(make, folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.data_dir)


def _ready(make: Callable[[Path], S], folder: Path) -> S:
    """Another one if need be: somebody may take a port between its choice and its use."""
    for last in (False, True):
        server = make(folder)
        server.start()
        try:
            server.wait_ready(60)
            return server
        except ServerError as error:
            server.stop()
            told = [
                f"{path.name}: {path.read_text(errors='replace')[-TOLD:]}" for path in server.data_dir.glob("log/*")
            ]
            shutil.rmtree(server.data_dir)
            if last:
                raise ServerError("\n".join([str(error), *told])) from None
            print(error, *told, sep="\n", file=sys.stderr)
    raise AssertionError("unreachable")


@contextmanager
def virtual_host(broker: Broker) -> Iterator[str]:
    """The address of a vhost of its own, with the policy for messages that nobody is bound to."""
    name = f"test-{secrets.token_hex(4)}"
    with management(broker) as client:
        client.put(f"/vhosts/{name}", json={}).raise_for_status()
        client.put(f"/permissions/{name}/{broker.user}", json=ALL).raise_for_status()
        client.put(f"/policies/{name}/unrouted", json=UNROUTED).raise_for_status()
    yield ";".join(f"{uri}{name}" for uri in broker.uri.split(";"))
    with management(broker) as client:
        client.delete(f"/vhosts/{name}")


def management(broker: Broker) -> httpx.Client:
    """A client of the broker's HTTP API."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{broker.management_port}/api",
        auth=(broker.user, broker.password),
        trust_env=False,
    )
