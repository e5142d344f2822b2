"""The servers of a system whose services are stopped: those of the environment, or the data directory's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.environment import data_dir
from deploy.local.servers import MongoDB, RabbitMQ, ServerError
from deploy.local.supervisor import CannotStart, alone
from deploy.operate.commands import Refused, progress
from deploy.operate.system import System, endpoints

READY = 60.0  # seconds


@contextmanager
def standing(system: System) -> Iterator[System]:
    """A local system's servers are started for the time of the block, its services are not."""
    given = [name for name in ("AMQP_URI", "MONGO_URI") if os.environ.get(name)]
    if endpoints() or len(given) == 2:
        yield system
        return
    try:
        with _own_servers(data_dir()) as addresses:
            os.environ.update({name: uri for name, uri in addresses.items() if name not in given})
            yield system
    except (CannotStart, ServerError) as error:
        raise Refused(str(error)) from error


@contextmanager
def _own_servers(folder: Path) -> Iterator[dict[str, str]]:
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    with alone(run):
        progress(f"  starting broker and database of {folder}")
        database, broker = MongoDB(folder / "mongodb"), RabbitMQ(folder / "rabbitmq")
        try:
            database.start()
            broker.start()
            database.wait_ready(READY)
            broker.wait_ready(READY)
            yield {"AMQP_URI": broker.uri, "MONGO_URI": database.uri}
        finally:
            broker.stop()
            database.stop()
