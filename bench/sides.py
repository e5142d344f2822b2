"""The two systems that live the same lives: ours, and the one on stock nameko."""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from amqp.exceptions import NotFound
from pymongo import ASCENDING, IndexModel

from bench import city
from bench.processes import Processes, await_ready, get, request
from bench.servers import Servers
from deploy.local.servers import free_port
from deploy.reference import demo, divisions
from deploy.reference.rpc import Call, RpcClient
from deploy.topology import publishing, subscriptions
from services.contracts.actor import SYSTEM
from services.contracts.registry import Tier

SERVICES = ("registry", "dispatch", "activities", "points")
READY_SECONDS = 60.0
ANSWER = 20.0  # seconds
ITEM = "home-haircut"
PAGE = 200

Records = dict[str, list[dict[str, Any]]]


class Side:
    """A system that is started and stopped in turn; its data stays."""

    name = ""
    prefix = ""
    queues: tuple[str, ...] = ()
    promises = True
    """Whether a life that is not whole makes its figures worthless."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.processes = Processes(servers.directory / "log" / self.name)
        self.port = 0

    def database(self, service: str) -> Any:
        return self.servers.mongo[f"{self.prefix}{service}"]

    def depth(self) -> int:
        """Everything on its way: messages that wait, and events that are committed and not published."""
        with self.servers.channel() as channel:
            waiting = sum(channel.queue_declare(queue, passive=True).message_count for queue in self.queues)
        return waiting + self.unsent()

    def unsent(self) -> int:
        return 0


class Ours(Side):
    name, prefix = "ours", "bench_ours_"
    queues = tuple(subscription.queue for subscription in subscriptions())
    entry = "deploy.service"

    def __init__(self, servers: Servers, villages: Sequence[city.Village] | None = None) -> None:
        super().__init__(servers)
        self._villages = city.villages() if villages is None else villages
        self._secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self.tokens: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        settings = {
            "SIDAN_PROFILE": "local", "SIDAN_SLA_PROFILE": "standard", "SIDAN_TOKEN_SECRET": self._secret,
            "SIDAN_HTTP_HOST": "127.0.0.1", "SIDAN_HTTP_PORT": str(self.port), "SIDAN_LOG_LEVEL": "WARNING",
        }  # fmt: skip
        return self.servers.environment(self.prefix, **settings)

    def start(self) -> None:
        self.port = free_port()
        environment = self.environment()
        for service in SERVICES:
            self.processes.start(service, self.entry, service, environment=environment)
        self.processes.start("gateway", "gateway", environment=environment)
        if not self.tokens:
            self._load(environment)
        await_ready(self.port, "/readyz", self.processes, READY_SECONDS)
        if not self.tokens:
            self._sign_in()

    def _load(self, environment: dict[str, str]) -> None:
        """The reference city, then the people of the lives."""
        await_ready(self.port, "/healthz", self.processes, READY_SECONDS)
        command = [sys.executable, "-m", "deploy.reference"]
        subprocess.run(command, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
        with RpcClient(self.servers.amqp_uri, "registry") as registry:
            steps = (
                ("add_volunteer", city.volunteers(self._villages)),
                ("form_team", city.teams(self._villages)),
                ("add_account", city.accounts(self._villages)),
            )
            for method, commands in steps:
                actor = SYSTEM.model_dump(mode="json")
                calls = [Call(method, {"actor": actor, "command": c.model_dump(mode="json")}) for c in commands]
                registry.call_all(calls, ANSWER)

    def _sign_in(self) -> None:
        for username in ["admin", *(account.username for account in city.accounts(self._villages))]:
            form = urlencode({"grant_type": "password", "username": username, "password": city.PASSWORD})
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            status, answer = request("POST", self.port, "/oauth/token", form, kind)
            if status != 200:
                raise RuntimeError(f"{username} cannot sign in: {status} {answer[:300]!r}")
            self.tokens[username] = json.loads(answer)["access_token"]

    def unsent(self) -> int:
        found = (
            self.database(service)[name].count_documents({"outbox_since": {"$exists": True}})
            for service, name in publishing()
        )
        return sum(found)

    def hours(self, volunteers: Iterable[str]) -> Records:
        """By order, through the public interface."""
        found: Records = defaultdict(list)
        for volunteer in volunteers:
            for record in self._all(f"/v1/volunteers/{volunteer}/hours"):
                found[record["source"]["id"]].append(
                    {"id": record["id"], "volunteer": volunteer, "state": record["state"]}
                )
        return found

    def entries(self, volunteers: Iterable[str]) -> Records:
        """By hours record, through the public interface."""
        found: Records = defaultdict(list)
        for volunteer in volunteers:
            for entry in self._all(f"/v1/accounts/{volunteer}/entries"):
                found[entry["source"]["id"]].append({"volunteer": volunteer, "amount": entry["amount"]})
        return found

    def _all(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = get(self.port, f"{path}?limit={PAGE}{cursor}", self.tokens["admin"])
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = f"&cursor={page['next']}"


class Protected(Ours):
    """With data of its own: the hours of other lives would overlap."""

    name, prefix = "protected", "bench_protected_"


class Unprotected(Ours):
    """The same system with its protections switched off, as the fault suite does it."""

    name, prefix = "unprotected", "bench_unprotected_"
    promises = False
    entry = "tests.faults.entry"
    without = (
        "outbox", "inbox", "business-ids", "compare-and-set", "transaction", "idempotency-key", "late-acknowledgement",
        "confirms",
    )  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "FAULTS_WITHOUT": ",".join(self.without)}


class Stock(Side):
    name, prefix = "nameko", "bench_stock_"
    queues = (
        "evt-stock_dispatch-order.completed--stock_activities.record_hours",
        "evt-stock_dispatch-order.closed--stock_activities.put_hours_into_effect",
        "evt-stock_activities-hours.effective--stock_points.award_points",
        "evt-stock_activities-hours.effective--stock_registry.add_hours",
        "evt-stock_points-points.deposited--stock_registry.add_points",
    )

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self.tokens = {account.id: account.id for account in city.accounts(city.villages())}
        self._fill()

    def _fill(self) -> None:
        """The same people and places, with the same indexes on what is asked for."""
        (item,) = [i for i in demo.items() if i.id == ITEM]
        sites = [s for s in divisions.sites() if s.tier is Tier.STATION]
        teams = [t.model_dump(mode="json") for t in city.teams(city.villages())]
        accounts = [a.model_dump(mode="json") for a in city.accounts(city.villages())]
        dispatch, registry = self.database("stock_dispatch"), self.database("stock_registry")
        places = [{"_id": s.code, "path": [s.code, s.code[:9], s.code[:6], "1308"]} for s in sites]
        dispatch.places.insert_many(places)
        dispatch.items.insert_one({"_id": item.id, "name": item.name, "category": item.category.value})
        dispatch.teams.insert_many([team | {"_id": team["id"]} for team in teams])
        registry.accounts.insert_many([account | {"_id": account["id"]} for account in accounts])
        dispatch.teams.create_indexes([IndexModel("site"), IndexModel("member_ids")])
        newest = ("_id", -1)
        dispatch.orders.create_indexes(
            [
                IndexModel([("due_at", ASCENDING)], partialFilterExpression={"due_at": {"$type": "date"}}),
                IndexModel([("path", ASCENDING), ("state", ASCENDING), newest]),
                IndexModel([("resident_id", ASCENDING), newest]),
                IndexModel([("offers.team", ASCENDING), newest]),
            ]
        )
        self.database("stock_activities").hours.create_indexes([IndexModel([("volunteer_id", ASCENDING), ("day", -1)])])
        self.database("stock_points").transfers.create_indexes([IndexModel("entries.account")])

    def start(self) -> None:
        self.port = free_port()
        environment = self.servers.environment(self.prefix)
        for service in SERVICES:
            self.processes.start(service, "bench.stock.life", service, environment=environment)
        self.processes.start("gateway", "bench.stock.life", "gateway", str(self.port), environment=environment)
        await_ready(self.port, "/readyz", self.processes, READY_SECONDS)
        self._await_queues("rpc-stock_dispatch", *self.queues)

    def _await_queues(self, *queues: str) -> None:
        """Its gateway does not know whether its services are there yet."""
        until = time.monotonic() + READY_SECONDS
        for queue in queues:
            while not self._exists(queue):
                self.processes.check()
                if time.monotonic() > until:
                    raise TimeoutError(f"{queue} is not there within {READY_SECONDS:g} s")
                time.sleep(0.1)

    def _exists(self, queue: str) -> bool:
        try:
            with self.servers.channel() as channel:
                channel.queue_declare(queue, passive=True)
            return True
        except NotFound:
            return False

    def hours(self, volunteers: Iterable[str]) -> Records:
        found: Records = defaultdict(list)
        for record in self.database("stock_activities").hours.find():
            found[record["order_id"]].append(
                {"id": record["_id"], "volunteer": record["volunteer_id"], "state": record["state"]}
            )
        return found

    def entries(self, volunteers: Iterable[str]) -> Records:
        found: Records = defaultdict(list)
        for transfer in self.database("stock_points").transfers.find():
            own = transfer["entries"][1]
            found[transfer["source"]["id"]].append({"volunteer": own["account"], "amount": own["amount"]})
        return found
