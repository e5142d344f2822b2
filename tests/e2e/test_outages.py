"""Servers stop and processes are killed in the middle of an order's life: it ends closed, hours and points once.

The servers are this module's own, since it stops them.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ
from services.chassis.topology import EVENT_LOG, UNROUTED
from services.points.verify import verify
from tests.e2e.steps import MEMBERS, TEAMS, WISH, Steps
from tests.support.processes import eventually
from tests.support.servers import started
from tests.support.system import SERVICES, System, running

Server = RabbitMQ | MongoDB
ANSWER = 5.0
"""Seconds until a request without its broker or database is answered."""
LIFE = ["placed", "offered", "accepted", "started", "completed", "rated", "closed"]
POINTS = 1
"""For the 6 minutes of each."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with started(RabbitMQ, tmp_path_factory.mktemp("own-rabbitmq")) as server:
        yield server


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDB]:
    with started(MongoDB, tmp_path_factory.mktemp("own-mongodb")) as server:
        yield server


@pytest.fixture(scope="module")
def fragile(broker: RabbitMQ, database: MongoDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose servers may be stopped."""
    with running(System(broker.uri, database.uri, "f_", tmp_path_factory.mktemp("fragile"))) as system:
        for name in ("resident", "station", "leader1", "admin"):
            assert system.person(name).token
        yield system


@pytest.fixture
def patient(fragile: System) -> Steps:
    return Steps(fragile, patient=True)


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Started again in any case: the tests that follow need it."""
    server.stop()
    try:
        yield
    finally:
        server.start()
        server.wait_ready(60)


# -- a server stops -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["broker", "database"])
def test_without_a_server_every_request_gets_503_in_time_and_all_goes_on_when_it_is_back(
    fragile: System, patient: Steps, request: pytest.FixtureRequest, name: str
) -> None:
    server: Server = request.getfixturevalue(name)
    order = patient.place()
    patient.accept(order)
    with stopped(server):
        _check_all_unavailable(fragile, order)
    patient.start(order)
    patient.complete(order)
    patient.rate(order)
    assert patient.close(order)["state"] == "closed"
    _happened_once(patient, order)
    fragile.wait_ready()


def _check_all_unavailable(system: System, order: dict[str, Any]) -> None:
    requests = (
        ("GET", f"/v1/orders/{order['id']}", None),
        ("POST", f"/v1/orders/{order['id']}/start", {}),
        ("POST", "/v1/orders", WISH),
        ("GET", "/v1/orders", None),
        ("GET", "/v1/volunteers/vol-leader1/hours", None),
        ("GET", "/v1/accounts/vol-leader1", None),
        ("GET", "/v1/me", None),
        ("GET", "/v1/sites", None),
    )
    with ThreadPoolExecutor(len(requests)) as pool:
        asked = [pool.submit(_timed, system, *request) for request in requests]
        for answer in asked:
            _check_unavailable(*answer.result())
    form = {"grant_type": "password", "username": "resident", "password": "demo"}
    assert system.http.post("/oauth/token", data=form).status_code == 503
    assert system.http.get("/healthz").status_code == 200
    assert system.http.get("/readyz").status_code == 503


def _timed(system: System, method: str, path: str, body: Any) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    response = system.person("leader1").request(method, path, json=body)
    return response, time.monotonic() - began


def _check_unavailable(response: httpx.Response, took: float) -> None:
    what = f"{response.request.method} {response.request.url.path}: {response.status_code} after {took:.1f} s"
    assert response.status_code == 503, what
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["type"].endswith("/unavailable")
    assert took < ANSWER, what


def test_many_who_ask_during_an_outage_are_all_answered_in_time(
    fragile: System, database: MongoDB, patient: Steps
) -> None:
    order = patient.place()
    people = [fragile.person(name) for name in ("resident", "station", "leader1", "admin")] * 8
    with stopped(database), ThreadPoolExecutor(len(people)) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda person: person.get(f"/v1/orders/{order['id']}"), people))
        assert time.monotonic() - began < 2 * ANSWER
    assert {answer.status_code for answer in answers} == {503}
    eventually(lambda: fragile.person("resident").get(f"/v1/orders/{order['id']}").status_code == 200, what="healed")


# -- a process is killed ------------------------------------------------------------------------------

FOLLOWERS: dict[str, Callable[[Steps, dict[str, Any]], Any]] = {
    "activities": lambda steps, order: True,
    "points": lambda steps, order: steps.hours(order, "vol-leader1")[0]["state"] == "effective",
    "registry": lambda steps, order: steps.awards(steps.settled(order, "vol-leader1")),
}
"""Who works on after the answer to a close, and what has happened when their work begins."""


@pytest.mark.parametrize("victim", [*SERVICES, "gateway", "broker", "database"])
def test_a_life_during_which_a_process_is_killed_ends_closed_with_hours_and_points_once(
    fragile: System, patient: Steps, request: pytest.FixtureRequest, victim: str
) -> None:
    if victim in fragile.processes:
        kill, restart = lambda: fragile.kill(victim), lambda: fragile.restart(victim)
    else:
        server: Server = request.getfixturevalue(victim)
        kill, restart = server.kill, server.start
    order = patient.place()
    patient.accept(order)
    patient.start(order)
    _while_killing(lambda: patient.complete(order), kill, restart)
    patient.rate(order)
    if victim in FOLLOWERS:
        patient.close(order)
        eventually(lambda: FOLLOWERS[victim](patient, order), what="the moment to kill")
        kill()
        restart()
    else:
        _while_killing(lambda: patient.close(order), kill, restart)
    _happened_once(patient, order)
    fragile.wait_ready()


def _while_killing(step: Callable[[], Any], kill: Callable[[], None], restart: Callable[[], None]) -> None:
    """The process dies with the request under way, and is started again as a supervisor would."""
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(step)
        kill()
        restart()
        taken.result()


def test_an_order_placed_while_a_service_is_away_is_placed_once(fragile: System, patient: Steps) -> None:
    with ThreadPoolExecutor(1) as pool:
        fragile.kill("dispatch")
        placing = pool.submit(patient.place, description="只要一次")
        eventually(lambda: fragile.http.get("/readyz").status_code == 503, what="the absence is noticed")
        fragile.restart("dispatch")
        order = placing.result()
    listed = fragile.person("resident").read("/v1/orders?limit=200")["items"]
    assert [found["id"] for found in listed if found["description"] == "只要一次"] == [order["id"]]


# -- in the end ---------------------------------------------------------------------------------------


def test_after_all_this_every_sum_is_right(fragile: System, broker: RabbitMQ) -> None:
    """Nothing is under way any more; what the registry has summed up is what hours and points say."""
    _settle(fragile, broker)
    admin = fragile.person("admin")
    for volunteer in MEMBERS["leader1"]:
        hours = admin.read(f"/v1/volunteers/{volunteer}/hours?limit=200")
        account = admin.read(f"/v1/accounts/{volunteer}")
        entries = admin.read(f"/v1/accounts/{volunteer}/entries?limit=200")["items"]
        totals = admin.read(f"/v1/volunteers/{volunteer}")
        assert len(hours["items"]) == len(entries) == len({entry["source"]["id"] for entry in entries})
        assert sum(entry["amount"] for entry in entries) == account["balance"] == totals["points"]
        assert hours["total"] == totals["hours"]
    with MongoClient[dict[str, Any]](fragile.mongo_uri, tz_aware=True) as client:
        assert list(verify(client[f"{fragile.prefix}points"])) == []


def _happened_once(steps: Steps, order: dict[str, Any]) -> None:
    assert [steps.credited(order, volunteer) for volunteer in MEMBERS["leader1"]] == [POINTS] * 2
    found = steps.order(order)
    assert (found["state"], found["accepted_by"]) == ("closed", TEAMS["leader1"])
    assert steps.facts(order) == LIFE


def _settle(system: System, broker: RabbitMQ) -> None:
    """Every event is published and handled, none of them dead."""
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        databases = [client[name] for name in client.list_database_names() if name.startswith(system.prefix)]
        unsent = {"outbox_since": {"$exists": True}}
        eventually(
            lambda: not any(d[c].find_one(unsent) for d in databases for c in d.list_collection_names()),
            what="all events are published",
        )
    eventually(lambda: not _waiting(broker), what="all events are handled")


def _waiting(broker: RabbitMQ) -> dict[str, int]:
    """Messages by queue, those in hands too; what nobody is bound to and the log of events do not wait."""
    lines = [line.split("\t") for line in broker.ctl("list_queues", "name", "messages").splitlines()]
    counts = {name: int(count) for name, count in lines if count.isdecimal()}
    return {name: count for name, count in counts.items() if count and name not in (EVENT_LOG, UNROUTED)}
