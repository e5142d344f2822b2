"""A publisher and a subscriber that the tests share; each finds them running and idle."""

import secrets
from collections.abc import Iterator

import httpx
import pytest

from deploy.local.servers import MongoDB, free_port
from services.chassis.topology import DEAD_SUFFIX
from tests.support.processes import CONSUMES, Sample, World, eventually
from tests.support.proxy import Proxy
from tests.support.servers import Broker, management, virtual_host
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, metric

RETRY_QUEUES = ("retry.0.2s", "retry.0.5s", "retry.1s")


class Pair(World):
    """alpha publishes, beta subscribes; each has a link to the broker that tests disturb, and a metrics page."""

    def begin(self, broker: Broker) -> None:
        self.broker = broker
        self.links: dict[str, Proxy] = {}
        self.ports: dict[str, int] = {}
        self.running: dict[str, Sample] = {}
        for name in ("alpha", "beta"):
            self.launch(name)
        for sample in self.running.values():
            sample.wait_started()

    def launch(self, name: str, **settings: str) -> None:
        self.links[name], uri = Proxy.before(self.amqp_uri)
        self.ports[name] = free_port()
        self.running[name] = self.start(name, AMQP_URI=uri, SIDAN_METRICS_PORT=str(self.ports[name]), **settings)

    @property
    def alpha(self) -> Sample:
        return self.running["alpha"]

    @property
    def beta(self) -> Sample:
        return self.running["beta"]

    def reset(self, name: str) -> None:
        """Cut its links; they are open again when this returns."""
        sample = self.running[name]
        before = len(sample.logged(CONSUMES))
        self.links[name].mode = "reset"
        self.links[name].mode = "pass"
        eventually(lambda: len(sample.logged(CONSUMES)) > before, what=f"{name} is back")

    def idle(self) -> None:
        """Nothing is left of the test before."""
        with channel_of(self) as channel:
            for queue in (QUEUE, QUEUE + DEAD_SUFFIX, *RETRY_QUEUES):
                channel.queue_purge(queue)
        eventually(lambda: self.in_hand() == 0, what="nothing is in hand")
        eventually(lambda: self.unsent() == 0, what="the outbox is empty")
        for name in ("things", "idempotency"):
            self.database("alpha")[name].delete_many({})
        for name in ("counters", "attempts", "parking", "healed", "inbox"):
            self.database("beta")[name].delete_many({})

    def in_hand(self) -> float:
        """Of the subscriber: what it has taken from its queues and not begun with."""
        return metric(self.ports["beta"], "sidan_in_hand")

    def management(self) -> httpx.Client:
        return management(self.broker)

    def close(self) -> None:
        super().close()
        for link in self.links.values():
            link.close()


@pytest.fixture(scope="package")
def running_pair(broker: Broker, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with virtual_host(broker) as uri:
        pair = Pair(uri, mongodb.uri, f"t{secrets.token_hex(3)}_", tmp_path_factory.mktemp("pair"))
        try:
            pair.begin(broker)
            yield pair
        finally:
            for service in ("alpha", "beta", "gamma"):
                pair.mongo.drop_database(pair.prefix + service)
            pair.close()


@pytest.fixture
def pair(running_pair: Pair) -> Iterator[Pair]:
    running_pair.idle()
    before = dict(running_pair.running)
    yield running_pair
    assert all(sample.alive for sample in before.values()), "no process ends"
