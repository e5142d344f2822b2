"""Transactions whose outcome is unknown, or that the server ends: one effect, in time, and nobody else waits."""

import time
from typing import Any

import pytest

from deploy.reference.rpc import Away
from services.chassis.unit_of_work import Idempotency, Stale, Work
from services.contracts.errors import Conflict
from tests.support.failpoints import failing
from tests.support.processes import World, eventually
from tests.support.sample import SITE, Thing, ThingHappened, Things

APP = "sidan-alpha"
UNKNOWN: dict[str, dict[str, Any]] = {
    "connection": {"closeConnection": True},
    "shutdown": {"errorCode": 91},
    "write-concern": {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}},
}


def added(world: World, key: str) -> bool:
    idempotency = {"key": key, "fingerprint": key}
    try:
        world.call("alpha.add", command={"id": key, "twin": f"{key}-twin"}, idempotency=idempotency)
    except Away:
        return False
    return True


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_commit_of_unknown_outcome_has_one_effect(world: World, kind: str) -> None:
    world.start("beta").wait_started()
    world.start("alpha").wait_started()
    with failing(world.mongo, ["commitTransaction"], {"times": 2}, appName=APP, **UNKNOWN[kind]):
        eventually(lambda: added(world, kind), what="added in the end")
    eventually(lambda: len(world.applied()) == 2)
    assert sorted(world.applied()) == [kind, f"{kind}-twin"]


def test_a_database_that_shuts_down_holds_up_nothing_but_its_own_calls(world: World) -> None:
    """The driver's retries must not spin: the links of the process live on, and every call ends in time."""
    alpha = world.start("alpha").wait_started()
    with failing(world.mongo, ["insert", "commitTransaction"], "alwaysOn", appName=APP, errorCode=91):
        for number in range(3):
            started = time.monotonic()
            assert not added(world, f"one-{number}")
            assert time.monotonic() - started < 6
    eventually(lambda: added(world, "two"), 15, "served again")
    assert alpha.alive
    assert "link lost" not in alpha.log.read_text()


def test_a_repeated_request_that_finds_its_own_effect_gets_the_first_answer(world: World, data_key: None) -> None:
    """Another process commits the first run between our look for its answer and our look at the state."""
    database, same = world.database("alpha"), Idempotency("key", "request")

    def overtaken() -> str:
        Work(database, {}).run(lambda: "first answer", 5, same)
        raise Conflict("it is done")

    assert Work(database, {}).run(overtaken, 5, same) == "first answer"


def test_a_request_that_finds_somebody_elses_effect_is_refused(world: World, data_key: None) -> None:
    database, ours, theirs = world.database("alpha"), Idempotency("a", "a"), Idempotency("b", "b")

    def beaten() -> str:
        Work(database, {}).run(lambda: "their answer", 5, theirs)
        raise Conflict("somebody was first")

    with pytest.raises(Conflict):
        Work(database, {}).run(beaten, 5, ours)


# -- parts that may run again -----------------------------------------------------------------------------


@pytest.fixture
def things(world: World) -> Any:
    work = Work(world.database("alpha"), {"things": Things})
    for id in ("one", "two"):
        work.things.add(Thing(id, "counter"))
    work.commit_each()
    return world.database("alpha")["things"]


def transactions(world: World) -> int:
    return int(world.mongo.admin.command("serverStatus")["transactions"]["totalStarted"])


def touch_once(work: Work, *ids: str) -> None:
    work.begin_part()
    for thing in map(work.things.get, ids):
        if not thing.touched:
            thing.touched += 1
            work.things.save(thing, ThingHappened(site=SITE, thing_id=thing.id, counter=thing.counter))


def touched(things: Any) -> dict[str, int]:
    return {thing["_id"]: thing["touched"] for thing in things.find()}


def test_parts_of_one_aggregate_each_need_no_transaction_and_what_was_overtaken_runs_again(
    world: World, things: Any
) -> None:
    told: list[Any] = []
    work, runs, before = Work(world.database("alpha"), {"things": Things}, told.append), [], transactions(world)

    def both() -> None:
        touch_once(work, "one")
        touch_once(work, "two")
        if not runs:
            things.update_one({"_id": "two"}, {"$inc": {"version": 1}})
        runs.append({id: work.tracked("things", id).dirty for id in ("one", "two")})  # type: ignore[union-attr]

    work.run(both, 5)
    assert runs == [{"one": True, "two": True}, {"one": False, "two": True}]
    assert (touched(things), transactions(world) - before) == ({"one": 1, "two": 1}, 0)
    assert "one" in told[0]["things"] and told[1]["things"].keys() == {"two"}, "the relay knows of both"


def test_a_part_of_two_aggregates_is_one_transaction_with_all_others(world: World, things: Any) -> None:
    work, runs, before = Work(world.database("alpha"), {"things": Things}), [], transactions(world)

    def whole() -> None:
        touch_once(work, "one", "two")
        if not runs:
            things.update_one({"_id": "two"}, {"$inc": {"version": 1}})
        runs.append(touched(things))

    work.run(whole, 5)
    assert runs == [{"one": 0, "two": 0}] * 2, "the overtaken run has left nothing"
    assert (touched(things), transactions(world) - before) == ({"one": 1, "two": 1}, 2)


def test_what_is_loaded_together_is_asked_for_once_whether_it_is_there_or_not(world: World, things: Any) -> None:
    work = Work(world.database("alpha"), {"things": Things})
    work.load({"things": ["one", "none"]})
    things.insert_one({"_id": "none", "counter": "late", "touched": 0, "version": 1})
    things.update_one({"_id": "one"}, {"$set": {"touched": 7}})
    assert (work.things.get("one").touched, work.things.find("none")) == (0, None)
    work.things.add(Thing("none", "counter"))
    with pytest.raises(Stale):
        work.commit()
    assert work.run(lambda: work.things.get("none").counter, 5) == "late"
