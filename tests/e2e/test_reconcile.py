"""Every kind of difference is planted in a real database, and named; what is in order or on its way is not."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ
from deploy.operate.reconcile import look
from deploy.operate.system import System as Tool
from tests.e2e.steps import Steps
from tests.e2e.test_operation import begun, sidan
from tests.support.processes import eventually
from tests.support.servers import virtual_host
from tests.support.system import System, running

pytestmark = pytest.mark.long

Document = dict[str, Any]
Change = Callable[["Books"], None]


class Books:
    """The databases of a system with one closed order, one whose hours were taken back, and one in service."""

    def __init__(self, system: System) -> None:
        self.system, steps = system, Steps(system)
        self.client: MongoClient[Document] = MongoClient(system.mongo_uri, tz_aware=True)
        closed, reversed_ = steps.reach("closed"), steps.reach("closed", leader="leader2")
        self.rated = steps.reach("rated", leader="leader2")["id"]
        self.order, self.hours = closed["id"], f"h-{closed['id']}-0"
        self.reversed = f"h-{reversed_['id']}-0"
        for id, volunteer in ((self.hours, "vol-leader1"), (self.reversed, "vol-leader2")):
            eventually(lambda id=id, v=volunteer: steps.awards({"id": id, "volunteer": v}), what=f"award of {id}")
        system.person("station").do(f"/v1/hours/{self.reversed}/reverse", {"reason": "登记有误"})
        eventually(lambda: not self.found(), what="a clean system")

    def collection(self, name: str) -> Any:
        service, _, collection = name.partition(".")
        return self.client[self.system.prefix + service][collection]

    def snapshot(self) -> dict[str, list[Document]]:
        names = ("dispatch.orders", "activities.timesheets", "points.transfers", "points.accounts", "registry.totals")
        return {name: list(self.collection(name).find()) for name in names}

    def put_back(self, kept: dict[str, list[Document]]) -> None:
        for name, documents in kept.items():
            self.collection(name).delete_many({})
            self.collection(name).insert_many(documents)

    def found(self) -> set[str]:
        with pytest.MonkeyPatch.context() as environment, closing(Tool.real()) as tool:
            environment.setenv("MONGO_URI", self.system.mongo_uri)
            environment.setenv("SIDAN_DATABASE_PREFIX", self.system.prefix)
            return {difference.id for difference in look(tool)}

    # -- what somebody might do to them -----------------------------------------------------------------

    def record(self, id: str, **changes: Any) -> None:
        changed = {f"records.$.{name}": value for name, value in changes.items()}
        assert self.collection("activities.timesheets").update_one({"records.id": id}, {"$set": changed}).modified_count

    def forget_record(self, id: str) -> None:
        self.collection("activities.timesheets").update_one({"records.id": id}, {"$pull": {"records": {"id": id}}})

    def change(self, collection: str, id: str, **changes: Any) -> None:
        assert self.collection(collection).update_one({"_id": id}, {"$set": changes}).modified_count

    def double_record(self, id: str) -> None:
        sheets = self.collection("activities.timesheets")
        (record,) = (r for r in sheets.find_one({"records.id": id})["records"] if r["id"] == id)
        sheets.insert_one({"_id": "vol-x:2026-01-01", "volunteer_id": "vol-x", "records": [record], "version": 1})

    def double_award(self, id: str) -> None:
        transfers = self.collection("points.transfers")
        transfers.insert_one({**transfers.find_one({"_id": f"award:hours:{id}"}), "_id": "award:again"})


@pytest.fixture(scope="module")
def books(rabbitmq: RabbitMQ, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    with virtual_host(rabbitmq) as amqp_uri:
        system = System(amqp_uri, mongodb.uri, f"r{secrets.token_hex(3)}_", tmp_path_factory.mktemp("books"))
        with running(system):
            books = Books(system)
            yield books
            books.client.close()


@pytest.fixture
def changed(books: Books) -> Iterator[Books]:
    """Put right again afterwards."""
    kept = books.snapshot()
    yield books
    books.put_back(kept)


PLANTED: dict[str, tuple[Change, Callable[[Books], str]]] = {
    "hours-missing": (lambda b: b.forget_record(b.hours), lambda b: b.hours),
    "hours-doubled": (lambda b: b.double_record(b.hours), lambda b: b.hours),
    "hours-differ": (
        lambda b: b.change("dispatch.orders", b.order, **{"segments.0.volunteer_id": "x"}), lambda b: b.hours,
    ),
    "hours-not-effective": (lambda b: b.record(b.hours, state="open"), lambda b: b.hours),
    "hours-too-early": (lambda b: b.record(f"h-{b.rated}-0", state="effective"), lambda b: f"h-{b.rated}-0"),
    "hours-orphan": (lambda b: b.change("dispatch.orders", b.order, segments=[]), lambda b: b.hours),
    "award-missing": (
        lambda b: b.collection("points.transfers").delete_one({"_id": f"award:hours:{b.hours}"}), lambda b: b.hours,
    ),
    "award-unfounded": (lambda b: b.record(b.hours, state="refused"), lambda b: b.hours),
    "award-differs": (
        lambda b: b.change("points.transfers", f"award:hours:{b.hours}", **{"entries.1.amount": 1000}),
        lambda b: b.hours,
    ),
    "reversal-missing": (
        lambda b: b.collection("points.transfers").delete_one({"_id": f"reverse:award:hours:{b.reversed}"}),
        lambda b: b.reversed,
    ),
    "reversal-unfounded": (lambda b: b.record(b.reversed, state="effective"), lambda b: b.reversed),
    "posting-orphan": (lambda b: b.forget_record(b.hours), lambda b: f"award:hours:{b.hours}"),
    "posting-doubled": (lambda b: b.double_award(b.hours), lambda b: "award:again"),
    "total-hours": (lambda b: b.change("registry.totals", "vol-leader1", hundredths=7), lambda b: "vol-leader1"),
    "total-points": (lambda b: b.change("registry.totals", "vol-leader1", points=7), lambda b: "vol-leader1"),
    "ledger": (lambda b: b.change("points.accounts", "vol-leader1", balance=7), lambda b: "account vol-leader1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_difference_is_named(changed: Books, kind: str) -> None:
    plant, subject = PLANTED[kind]
    assert not changed.found()
    plant(changed)
    assert f"{kind}:{subject(changed)}" in changed.found()


def test_what_is_on_its_way_is_no_difference(changed: Books) -> None:
    """It is settled before the second look."""
    points = changed.system.processes["points"]
    points.terminate()
    assert points.wait(12)
    order = Steps(changed.system).reach("closed")["id"]
    eventually(lambda: f"award-missing:h-{order}-0" in changed.found())
    with begun(changed.system, "reconcile", "--grace", "20") as reconcile:
        assert reconcile.stderr and reconcile.stdout
        eventually(lambda: "looking again in 20 s" in str(reconcile.stderr.readline()))
        changed.system.restart("points")
        assert reconcile.stdout.read() == "no differences\n"
    assert reconcile.returncode == 0


def test_the_same_difference_is_the_same_ticket_until_it_is_settled(changed: Books) -> None:
    def reconcile() -> dict[str, int]:
        done = sidan(changed.system, "reconcile", "--grace", "0", "--tickets", "--json")
        return dict(json.loads(done.stdout)["tickets"])

    def tickets(*more: str) -> list[Document]:
        return list(json.loads(sidan(changed.system, "tickets", "list", "--json", *more).stdout))

    id = "total-hours:vol-leader1"
    right = changed.collection("registry.totals").find_one({"_id": "vol-leader1"})["hundredths"]
    assert reconcile() == {"open": 0, "opened": 0, "settled": 0}
    changed.change("registry.totals", "vol-leader1", hundredths=7)
    assert reconcile() == {"open": 1, "opened": 1, "settled": 0}
    assert reconcile() == {"open": 1, "opened": 0, "settled": 0}
    assert [ticket["_id"] for ticket in tickets()] == [id]
    assert sidan(changed.system, "tickets", "settle", id, "--reason", " ").returncode == 1
    assert sidan(changed.system, "tickets", "settle", id, "--reason", "手工核对过").returncode == 0
    assert sidan(changed.system, "tickets", "settle", id, "--reason", "again").returncode == 1
    assert reconcile() == {"open": 0, "opened": 0, "settled": 0}, "what a person has settled stays so"
    changed.change("registry.totals", "vol-leader1", hundredths=9)
    assert reconcile() == {"open": 1, "opened": 1, "settled": 0}, "it is another difference now"
    changed.change("registry.totals", "vol-leader1", hundredths=right)
    assert reconcile() == {"open": 0, "opened": 0, "settled": 1}
    assert changed.collection("registry.totals").find_one({"_id": "vol-leader1"})["hundredths"] == right
    (ticket,) = tickets("--all")
    assert [line["state"] for line in ticket["history"]] == ["open", "settled", "open", "settled"]
