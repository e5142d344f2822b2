"""A RabbitMQ cluster and a MongoDB replica set of three on this machine, whose members tests kill, pause and resume.

Loopback only, with directories, ports and names of their own, so that several run side by side. Both are
started, waited for and stopped like the single servers of ``deploy.local.servers``.
"""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local.servers import MongoDB, RabbitMQ, wait_until_ready

MEMBERS = 3
NET_TICK = 10
"""Seconds until nodes take a silent one for dead; by default 60."""
ELECTION = {"electionTimeoutMillis": 2000, "heartbeatTimeoutSecs": 2}
"""After so long without a word of the primary a secondary stands for election; by default 10 s."""
PROBE: dict[str, Any] = {
    "directConnection": True,
    "serverSelectionTimeoutMS": 500,
    "connectTimeoutMS": 500,
    "socketTimeoutMS": 1000,
}
LEADER = """
    {{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)),
    case amqqueue:get_pid(Queue) of
        {{Name, _}} -> case ra_leaderboard:lookup_leader(Name) of {{_, Node}} -> Node; _ -> none end;
        Pid -> node(Pid)
    end.
"""
REPLICAS = """
    {{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)),
    length(maps:get(nodes, amqqueue:get_type_state(Queue))).
"""


class Member:
    """A server that can be stopped in its tracks: it keeps its connections and says nothing."""

    pid: int | None

    def pause(self) -> None:
        """SIGSTOP, until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT; nothing to one that is running or gone."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()


class Node(Member, RabbitMQ):
    """One of a cluster; killing or stopping it leaves the epmd of all running."""

    peers: "Sequence[Node]" = ()

    @property
    def shared(self) -> dict[str, str | int]:
        """What the nodes of a cluster must have in common."""
        return {name: self._state[name] for name in ("user", "password", "cookie", "epmd")}

    @property
    def peer_port(self) -> int:
        """Where it takes connections of other nodes."""
        return int(self._state["dist"])

    def stop(self, timeout: float = 10) -> None:
        self.resume()
        self.stop_node(timeout)

    def kill(self) -> None:
        self.kill_node()

    def sees(self) -> set[str]:
        """The names of the nodes that it takes for running, itself among them."""
        return set(re.findall(r"[\w-]+@\w+", self.eval("rabbit_nodes:all_running().")))

    def eval(self, erlang: str) -> str:
        return self.ctl("eval", erlang).strip()

    def _write_configuration(self) -> None:
        super()._write_configuration()
        lines = [
            "cluster_formation.peer_discovery_backend = classic_config",
            *(f"cluster_formation.classic_config.nodes.{n} = {peer.node}" for n, peer in enumerate(self.peers, 1)),
            "cluster_partition_handling = pause_minority",
        ]
        with (self.data_dir / "rabbitmq.conf").open("a") as conf:
            conf.writelines(f"{line}\n" for line in lines)

    def _env(self) -> dict[str, str]:
        env = super()._env()
        return env | {"ERL_FLAGS": f"{env['ERL_FLAGS']} -kernel net_ticktime {NET_TICK}"}


class RabbitCluster:
    """Three brokers as one; its quorum queues and streams have a replica on each.

    Measured on 2 cores: formed in 11 s, started again on its data in 5 s, 130 MB a node; of a killed node's
    queues another is leader within 0.3 s, of a paused node's within 9 s. A node that sees no majority pauses
    (``pause_minority``): it closes its listeners until it sees one again.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        first = Node(self.data_dir / "1")
        self.nodes = [first, *(Node(self.data_dir / str(n), shared=first.shared) for n in range(2, MEMBERS + 1))]
        self.epmd = first.epmd
        for node in self.nodes:
            node.epmd, node.peers = self.epmd, self.nodes

    @property
    def uris(self) -> list[str]:
        """The address of each node, vhost ``/``."""
        return [node.uri for node in self.nodes]

    @property
    def uri(self) -> str:
        """All addresses, as clients are told them."""
        return ";".join(self.uris)

    @property
    def user(self) -> str:
        return self.nodes[0].user

    @property
    def password(self) -> str:
        return self.nodes[0].password

    @property
    def management_port(self) -> int:
        """Of a node that runs."""
        return self.running().management_port

    def start(self) -> None:
        for node in self.nodes:
            if not node.alive():
                node.start()

    def alive(self) -> bool:
        return all(node.alive() for node in self.nodes)

    def wait_ready(self, timeout: float = 60) -> None:
        """Return when every node takes connections and knows the others."""
        wait_until_ready("RabbitMQ cluster", self, timeout)

    def ready(self) -> bool:
        if not all(node.ready() for node in self.nodes):
            return False
        return all(node.eval("length(rabbit_nodes:all_running()).") == str(MEMBERS) for node in self.nodes)

    def stop(self, timeout: float = 10) -> None:
        """All at once, in order where that goes quickly."""
        for node in self.nodes:
            node.resume()
            node.terminate()
        for node in self.nodes:
            node.stop(timeout)
        self.epmd.stop(timeout)

    def running(self) -> Node:
        """One that takes connections."""
        return next(node for node in self.nodes if node.alive() and node.ready())

    def ctl(self, *args: str) -> str:
        """The output of rabbitmqctl at a node that runs."""
        return self.running().ctl(*args)

    def leader_of(self, vhost: str, queue: str) -> Node | None:
        """Where the leader of a quorum queue or stream is, as a running node knows it."""
        name = self.running().eval(LEADER.format(vhost=vhost, queue=queue)).strip("'")
        return next((node for node in self.nodes if node.node == name), None)

    def replicas_of(self, vhost: str, queue: str) -> int:
        return int(self.running().eval(REPLICAS.format(vhost=vhost, queue=queue)))


class MongoMember(Member, MongoDB):
    """One of a replica set; ready as soon as it answers."""

    HANDOVER_MS = 1000
    """Also how long a stopping member goes on answering."""

    def ready(self) -> bool:
        return bool(self.hello())

    def hello(self) -> dict[str, Any]:
        """What it says of itself; empty when it does not answer."""
        return self.admin("hello")

    def stop(self, timeout: float = 10) -> None:
        self.resume()
        super().stop(timeout)

    def admin(self, command: str, value: Any = 1, **more: Any) -> dict[str, Any]:
        """The answer of this member alone to a command; empty when there is none."""
        with MongoClient[dict[str, Any]](f"mongodb://127.0.0.1:{self.port}/", **PROBE) as client:
            try:
                return client.admin.command(command, value, **more)
            except PyMongoError:
                return {}


class MongoSet:
    """Three mongod as one replica set; failpoints are on (``enableTestCommands``).

    Measured on 2 cores: formed in 3 s, 130 MB a member; another is primary 0.1 to 2 s after a step-down, 2.5 s
    after a kill, 4 to 7 s after a pause.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.members = [MongoMember(self.data_dir / str(n), test_commands=True) for n in range(1, MEMBERS + 1)]

    @property
    def uri(self) -> str:
        return f"mongodb://{','.join(self.hosts)}/?replicaSet=rs0"

    @property
    def hosts(self) -> list[str]:
        return [f"127.0.0.1:{member.port}" for member in self.members]

    def start(self) -> None:
        for member in self.members:
            if not member.alive():
                member.start()

    def alive(self) -> bool:
        return all(member.alive() for member in self.members)

    def wait_ready(self, timeout: float = 60) -> None:
        """Return when one is primary and the others follow it."""
        wait_until_ready("MongoDB replica set", self, timeout)

    def ready(self) -> bool:
        """As said of ``wait_ready``; form the set if that has not been done."""
        said = [member.hello() for member in self.members]
        if not all(said):
            return False
        if not any("setName" in hello for hello in said):
            self._initiate()
        primaries = [hello["me"] for hello in said if hello["isWritablePrimary"]]
        return len(primaries) == 1 and all(hello.get("primary") == primaries[0] for hello in said)

    def primary(self) -> MongoMember | None:
        return next((member for member in self.members if member.hello().get("isWritablePrimary")), None)

    def step_down(self, seconds: int = 10) -> None:
        """Let the primary hand over; it does not stand for election for ``seconds``."""
        primary = self.primary()
        assert primary, "there is none"
        primary.admin("replSetStepDown", seconds)

    def stop(self, timeout: float = 10) -> None:
        for member in self.members:
            member.resume()
            member.terminate()
        for member in self.members:
            member.stop(timeout)

    def _initiate(self) -> None:
        members = [{"_id": n, "host": host} for n, host in enumerate(self.hosts)]
        self.members[0].admin("replSetInitiate", {"_id": "rs0", "members": members, "settings": ELECTION})
