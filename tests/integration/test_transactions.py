"""Transactions whose outcome is unknown, or that the server ends: one effect, in time, and nobody else waits."""

import time
from typing import Any

import pytest

from deploy.reference.rpc import Away
from services.chassis.unit_of_work import Idempotency, Work
from services.contracts.errors import Conflict
from tests.support.failpoints import failing
from tests.support.processes import World, eventually

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
