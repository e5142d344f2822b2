"""Servers of a test's own, and parts of a shared broker."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx

from deploy.local.servers import RabbitMQ, Server
from tests.support.clusters import RabbitCluster

Broker = RabbitMQ | RabbitCluster
S = TypeVar("S", bound=Server)

ALL = {"configure": ".*", "write": ".*", "read": ".*"}
UNROUTED = {
    "pattern": r"^.*\.events$",
    "apply-to": "exchanges",
    "definition": {"alternate-exchange": "unrouted"},
}


@contextmanager
def started(server: S) -> Iterator[S]:
    """Ready; stopped in the end, and its data removed."""
    server.start()
    try:
        server.wait_ready(60)
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.data_dir)


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
