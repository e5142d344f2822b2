"""The same order life on stock nameko: ``python -m bench.stock.life gateway|registry|dispatch|activities|points``.

Written as nameko's documentation and examples do it: an HTTP entrypoint that validates with pydantic and
calls by RpcProxy, services that read, check, write with the same write concern and then dispatch. The same
documents, reads, writes and facts as ours, and no guarantee: no outbox, no inbox, no idempotency.
Left out, in favour of this side: encryption of personal data, permission rules beyond team membership,
token signatures, traces and metrics.
"""

import eventlet

eventlet.monkey_patch()

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import warnings  # noqa: E402
from datetime import UTC, datetime, timedelta  # noqa: E402
from typing import Any  # noqa: E402

warnings.filterwarnings("ignore", category=DeprecationWarning)

import pymongo  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402
from nameko.events import EventDispatcher, event_handler  # noqa: E402
from nameko.exceptions import RemoteError  # noqa: E402
from nameko.extensions import DependencyProvider  # noqa: E402
from nameko.rpc import RpcProxy, rpc  # noqa: E402
from nameko.web.handlers import http  # noqa: E402
from pydantic import BaseModel, ValidationError  # noqa: E402
from pymongo.errors import DuplicateKeyError  # noqa: E402
from ulid import ULID  # noqa: E402
from werkzeug.wrappers import Response  # noqa: E402

from bench import sampling  # noqa: E402
from services.contracts.dispatch import (  # noqa: E402
    AcceptOrder,
    CloseOrder,
    CompleteOrder,
    PlaceOrder,
    RateOrder,
    StartOrder,
)

WORKERS = 16
POINTS_AN_HOUR = 10
DAILY_CAP = 8.0  # hours


class Database(DependencyProvider):  # type: ignore[misc]
    """A database per service, as ours."""

    def setup(self) -> None:
        client = pymongo.MongoClient(os.environ["MONGO_URI"], w="majority", journal=True, tz_aware=True, maxPoolSize=30)
        self.database = client[os.environ["SIDAN_DATABASE_PREFIX"] + self.container.service_name]

    def get_dependency(self, worker_ctx: Any) -> Any:
        return self.database


class Registry:
    name = "stock_registry"

    db = Database()

    @event_handler("stock_activities", "hours.effective")
    def add_hours(self, event: dict[str, Any]) -> None:
        self.db.totals.update_one({"_id": event["volunteer_id"]}, {"$inc": {"hours": event["hours"]}}, upsert=True)

    @event_handler("stock_points", "points.deposited")
    def add_points(self, event: dict[str, Any]) -> None:
        self.db.totals.update_one({"_id": event["account_id"]}, {"$inc": {"points": event["amount"]}}, upsert=True)


class Dispatch:
    name = "stock_dispatch"

    db = Database()
    dispatch = EventDispatcher()

    @rpc
    def place_order(self, actor: dict[str, Any], command: dict[str, Any]) -> dict[str, Any]:
        place = self.db.places.find_one({"_id": command.get("site") or actor["site"]})
        item = self.db.items.find_one({"_id": command["service_item"]})
        if place is None or item is None or "resident" not in actor["roles"]:
            raise ValueError("not allowed")
        teams = [t for t in self.db.teams.find({"site": place["_id"]}) if item["category"] in t["categories"]]
        time = datetime.now(UTC)
        order = {
            "_id": str(ULID()), "site": place["_id"], "tier": "station", "path": place["path"], "item_id": item["_id"],
            "item_name": item["name"], "category": item["category"], "resident_id": actor["id"],
            "target_group": command["target_group"], "description": command["description"], "placed_at": time,
            "state": "offered", "holder": {"kind": "site", "id": place["_id"]}, "urgent": command.get("urgent", False),
            "due_at": time + timedelta(hours=4), "offers": [{"team": t["_id"], "state": "open"} for t in teams],
            "accepted_by": None, "segments": [], "score": None, "cycle": 1, "version": 2,
            "timeline": [entry(time, "placed", actor), entry(time, "offered", actor)],
        }  # fmt: skip
        self.db.orders.insert_one(order)
        self.tell("order.placed", order, item_id=item["_id"], category=item["category"])
        self.tell("order.offered", order, team_ids=[t["_id"] for t in teams])
        return view(order)

    @rpc
    def accept_order(self, actor: dict[str, Any], order_id: str, command: dict[str, Any]) -> dict[str, Any]:
        order, _team = self.led(actor, order_id, command["team"])
        offers = [o | {"state": "accepted" if o["team"] == command["team"] else "lapsed"} for o in order["offers"]]
        holder = {"kind": "team", "id": command["team"]}
        changes = {"offers": offers, "accepted_by": command["team"], "holder": holder, "due_at": None}
        return self.move(order, "offered", "accepted", actor, changes, team_id=command["team"])

    @rpc
    def start_order(self, actor: dict[str, Any], order_id: str, command: dict[str, Any]) -> dict[str, Any]:
        order, team = self.led(actor, order_id)
        return self.move(order, "accepted", "in_service", actor, {}, fact="started", team_id=team["_id"])

    @rpc
    def complete_order(self, actor: dict[str, Any], order_id: str, command: dict[str, Any]) -> dict[str, Any]:
        order, team = self.led(actor, order_id)
        for record in command["records"]:
            start, end = datetime.fromisoformat(record["from"]), datetime.fromisoformat(record["to"])
            if record["volunteer"] not in team["member_ids"] or not start < end <= datetime.now(UTC):
                raise ValueError("wrong record")
        changes = {
            "segments": command["records"],
            "summary": command["summary"],
            "due_at": datetime.now(UTC) + timedelta(7),
        }
        told = {"team_id": team["_id"], "segments": command["records"], "category": order["category"]}
        return self.move(order, "in_service", "completed", actor, changes, **told)

    @rpc
    def rate_order(self, actor: dict[str, Any], order_id: str, command: dict[str, Any]) -> dict[str, Any]:
        order = self.db.orders.find_one({"_id": order_id})
        if order is None or order["resident_id"] != actor["id"]:
            raise ValueError("not allowed")
        changes = {"score": command["score"], "holder": {"kind": "site", "id": order["site"]}, "due_at": None}
        return self.move(order, "completed", "rated", actor, changes, score=command["score"])

    @rpc
    def close_order(self, actor: dict[str, Any], order_id: str, command: dict[str, Any]) -> dict[str, Any]:
        order = self.db.orders.find_one({"_id": order_id})
        if order is None or actor["site"] not in order["path"]:
            raise ValueError("not allowed")
        told = {"segments": order["segments"], "category": order["category"]}
        return self.move(order, "rated", "closed", actor, {}, **told)

    @rpc
    def order(self, actor: dict[str, Any], order_id: str) -> dict[str, Any]:
        order = self.db.orders.find_one({"_id": order_id})
        if order is None or actor["id"] != order["resident_id"]:
            raise ValueError("not found")
        return view(order)

    def led(
        self, actor: dict[str, Any], order_id: str, team_id: str | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        order = self.db.orders.find_one({"_id": order_id})
        teams = list(self.db.teams.find({"member_ids": actor["volunteer"]}))
        wanted = team_id or (order or {}).get("accepted_by")
        for team in teams:
            if order is not None and team["_id"] == wanted and team["leader_id"] == actor["volunteer"]:
                return order, team
        raise ValueError("not allowed")

    def move(
        self,
        order: dict[str, Any],
        before: str,
        after: str,
        actor: dict[str, Any],
        changes: dict[str, Any],
        fact: str = "",
        **told: Any,
    ) -> dict[str, Any]:
        """Compare and set, then tell."""
        fact = fact or after
        timeline = [*order["timeline"], entry(datetime.now(UTC), fact, actor)]
        changes = changes | {"state": after, "timeline": timeline, "version": order["version"] + 1}
        unchanged = {"_id": order["_id"], "state": before, "version": order["version"]}
        if not self.db.orders.update_one(unchanged, {"$set": changes}).matched_count:
            raise ValueError("conflict")
        order |= changes
        self.tell(f"order.{fact}", order, **told)
        return view(order)

    def tell(self, fact: str, order: dict[str, Any], **told: Any) -> None:
        self.dispatch(fact, {"order_id": order["_id"], "site": order["site"], "tier": order["tier"], **told})


class Activities:
    name = "stock_activities"

    db = Database()
    dispatch = EventDispatcher()

    @event_handler("stock_dispatch", "order.completed")
    def record_hours(self, event: dict[str, Any]) -> None:
        self.record(event)

    def record(self, event: dict[str, Any]) -> None:
        for position, segment in enumerate(event["segments"]):
            start, end = datetime.fromisoformat(segment["from"]), datetime.fromisoformat(segment["to"])
            day = start.date().isoformat()
            others = list(self.db.hours.find({"volunteer_id": segment["volunteer"], "day": day}))
            hours = min(round((end - start).total_seconds() / 3600, 2), DAILY_CAP - sum(o["hours"] for o in others))
            overlapping = any(o["start"] < end and start < o["end"] for o in others)
            record = {
                "_id": f"h-{event['order_id']}-{position}", "volunteer_id": segment["volunteer"], "day": day,
                "order_id": event["order_id"], "start": start, "end": end, "hours": hours,
                "category": event["category"], "site": event["site"], "state": "refused" if overlapping else "open",
            }  # fmt: skip
            try:
                self.db.hours.insert_one(record)
            except DuplicateKeyError:
                continue
            told = {
                "record_id": record["_id"],
                "volunteer_id": segment["volunteer"],
                "hours": hours,
                "state": record["state"],
            }
            self.dispatch("hours.recorded", told)

    @event_handler("stock_dispatch", "order.closed")
    def put_hours_into_effect(self, event: dict[str, Any]) -> None:
        for position, segment in enumerate(event["segments"]):
            id = f"h-{event['order_id']}-{position}"
            effective = self.take_effect(id)
            if effective is None:  # closed came before completed
                self.record(event)
                effective = self.take_effect(id)
            if effective is not None:
                told = {"record_id": id, "volunteer_id": segment["volunteer"], "hours": effective["hours"]}
                self.dispatch("hours.effective", told | {"category": event["category"], "site": event["site"]})

    def take_effect(self, id: str) -> Any:
        return self.db.hours.find_one_and_update({"_id": id, "state": "open"}, {"$set": {"state": "effective"}})


class Points:
    name = "stock_points"

    db = Database()
    dispatch = EventDispatcher()

    @event_handler("stock_activities", "hours.effective")
    def award_points(self, event: dict[str, Any]) -> None:
        """Two entries and the balance."""
        amount = int(event["hours"] * POINTS_AN_HOUR + 0.5)
        id, account = f"award:{event['record_id']}", event["volunteer_id"]
        entries = [
            {"account": f"issued:{event['site'][:6]}", "amount": -amount},
            {"account": account, "amount": amount},
        ]
        source = {"type": "hours", "id": event["record_id"]}
        self.db.transfers.insert_one({"_id": id, "time": datetime.now(UTC), "source": source, "entries": entries})
        after = self.db.accounts.find_one_and_update(
            {"_id": account}, {"$inc": {"balance": amount, "sequence": 1}}, upsert=True, return_document=True
        )
        told = {"entry_id": id, "account_id": account, "amount": amount, "balance": after["balance"], "source": source}
        self.dispatch("points.deposited", told)


class Tokens(DependencyProvider):  # type: ignore[misc]
    """Sessions in memory: the cheapest way to know who asks."""

    def setup(self) -> None:
        client: Any = pymongo.MongoClient(os.environ["MONGO_URI"])
        accounts = client[os.environ["SIDAN_DATABASE_PREFIX"] + "stock_registry"].accounts.find()
        self.actors = {f"Bearer {account['_id']}": account | {"id": account["_id"]} for account in accounts}

    def get_dependency(self, worker_ctx: Any) -> Any:
        return self.actors


class Gateway:
    name = "stock_gateway"

    dispatch = RpcProxy("stock_dispatch")
    actors = Tokens()

    @http("GET", "/readyz")
    def ready(self, request: Any) -> tuple[int, str]:
        return 200, "{}"

    @http("POST", "/v1/orders")
    def place(self, request: Any) -> Response:
        return self.command(request, PlaceOrder, self.dispatch.place_order)

    @http("POST", "/v1/orders/<order_id>/accept")
    def accept(self, request: Any, order_id: str) -> Response:
        return self.command(request, AcceptOrder, self.dispatch.accept_order, order_id=order_id)

    @http("POST", "/v1/orders/<order_id>/start")
    def start(self, request: Any, order_id: str) -> Response:
        return self.command(request, StartOrder, self.dispatch.start_order, order_id=order_id)

    @http("POST", "/v1/orders/<order_id>/complete")
    def complete(self, request: Any, order_id: str) -> Response:
        return self.command(request, CompleteOrder, self.dispatch.complete_order, order_id=order_id)

    @http("POST", "/v1/orders/<order_id>/rate")
    def rate(self, request: Any, order_id: str) -> Response:
        return self.command(request, RateOrder, self.dispatch.rate_order, order_id=order_id)

    @http("POST", "/v1/orders/<order_id>/close")
    def close(self, request: Any, order_id: str) -> Response:
        return self.command(request, CloseOrder, self.dispatch.close_order, order_id=order_id)

    @http("GET", "/v1/orders/<order_id>")
    def order(self, request: Any, order_id: str) -> Response:
        return self.ask(request, self.dispatch.order, order_id=order_id)

    def command(self, request: Any, model: type[BaseModel], method: Any, **target: str) -> Response:
        try:
            given = model.model_validate_json(request.get_data())
        except ValidationError as error:
            return answer(422, {"detail": str(error)})
        return self.ask(
            request, method, **target, command=given.model_dump(mode="json", by_alias=True, exclude_unset=True)
        )

    def ask(self, request: Any, method: Any, **arguments: Any) -> Response:
        actor = self.actors.get(request.headers.get("Authorization"))
        if actor is None:
            return answer(401, {"detail": "who asks?"})
        try:
            return answer(200, method(actor=actor, **arguments))
        except RemoteError as error:
            return answer(409, {"detail": error.value})


def answer(status: int, content: Any) -> Response:
    return Response(json.dumps(content), status, mimetype="application/json")


def entry(time: datetime, event: str, actor: dict[str, Any]) -> dict[str, Any]:
    return {"time": time, "event": event, "actor": actor["id"], "tier": "station", "note": ""}


def view(order: dict[str, Any]) -> dict[str, Any]:
    names = ("state", "tier", "holder", "site", "offers", "accepted_by", "cycle", "item_id", "item_name", "category",
             "target_group", "urgent", "description", "segments", "score")  # fmt: skip
    times = {name: order[name].isoformat() if order.get(name) else None for name in ("placed_at", "due_at")}
    return {"id": order["_id"], **{name: order[name] for name in names}, **times}


SERVICES = {service.name: service for service in (Registry, Dispatch, Activities, Points, Gateway)}


def main(name: str, port: str = "0") -> None:
    sampling.start(f"stock-{name}")
    config = {"AMQP_URI": os.environ["AMQP_URI"], "max_workers": WORKERS, "WEB_SERVER_ADDRESS": f"127.0.0.1:{port}"}
    running = ServiceContainer(SERVICES[f"stock_{name}"], config)
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(running.stop))
    running.start()
    running.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
