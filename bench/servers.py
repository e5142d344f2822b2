"""The broker and the database of a run: private ones in a directory that ends with it."""

import base64
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import amqp
import pymongo

from bench.bare.messages import connect
from bench.child import Child
from deploy.local.servers import MongoDB, RabbitMQ


@dataclass
class Servers:
    """Where everything of a run lives."""

    directory: Path
    amqp_uri: str
    mongo_uri: str
    broker_pid: int | None
    database_pid: int | None
    data_key: str = field(default_factory=lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    def __post_init__(self) -> None:
        self.mongo: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            self.mongo_uri, tz_aware=True, w="majority", journal=True
        )

    def environment(self, prefix: str, **settings: str) -> dict[str, str]:
        return {
            "AMQP_URI": self.amqp_uri,
            "MONGO_URI": self.mongo_uri,
            "SIDAN_DATA_KEY": self.data_key,
            "SIDAN_DATABASE_PREFIX": prefix,
            **settings,
        }

    def child(self, module: str, prefix: str, **arguments: Any) -> Child:
        log = self.directory / "log" / f"{module}-{arguments.get('role', '')}.log"
        log.parent.mkdir(exist_ok=True)
        environment = self.environment(prefix)
        return Child(module, arguments | {"amqp": self.amqp_uri, "mongo": self.mongo_uri}, environment, log)

    def clear(self, prefix: str) -> None:
        """Drop the databases of one side."""
        for name in self.mongo.list_database_names():
            if name.startswith(prefix):
                self.mongo.drop_database(name)

    def empty(self, *queues: str) -> None:
        """Take leftovers of an earlier round out of the queues that exist."""
        for queue in queues:
            with self.channel() as channel:
                try:
                    channel.queue_purge(queue)
                except amqp.exceptions.NotFound:
                    pass  # it will be declared

    def depth(self, queue: str) -> int:
        """Messages that wait in a queue; 0 when it does not exist."""
        with self.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except amqp.exceptions.NotFound:
                return 0

    @contextmanager
    def channel(self) -> Iterator[Any]:
        connection = connect(self.amqp_uri)
        try:
            yield connection.channel()
        finally:
            connection.close()


@contextmanager
def servers() -> Iterator[Servers]:
    directory = Path(tempfile.mkdtemp(prefix="sidan-bench-"))
    rabbitmq, mongodb = RabbitMQ(directory / "rabbitmq"), MongoDB(directory / "mongodb")
    try:
        rabbitmq.start()
        mongodb.start()
        rabbitmq.wait_ready(60)
        mongodb.wait_ready(60)
        yield Servers(directory, rabbitmq.uri, mongodb.uri, rabbitmq.pid, mongodb.pid)
    finally:
        mongodb.stop(10)
        rabbitmq.stop(15)
        if not os.environ.get("SIDAN_BENCH_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)
