"""F57 on: what the services do beyond the life of one order, under the same faults."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from bench import city
from deploy.reference.rpc import Call, RpcClient
from tests.faults.fleet import ACTOR, ANSWER, VILLAGES
from tests.faults.run import Run, scenario
from tests.faults.scenarios.crashes import KILL_RECOVERY
from tests.faults.workload import WISH

OCCURRENCES = 6
RESIDENT = "resident"
"""Of the demo: the lives' people order only what the load has them order."""


def meanwhile(run: Run, move: Callable[[], Any], what: str) -> Any:
    """Do it while what has died is started again."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(move()))
    thread.start()
    run.fleet.until(lambda: not thread.is_alive(), 90, what)
    run.expect(done, what)
    return done[0] if done else None


def crash_during(run: Run, process: str, point: str, hit: int, move: Callable[[], Any], what: str) -> Any:
    """``move`` makes the process reach the line at which it dies."""
    with run.trouble():
        before = run.fleet.restarts[process]
        run.fleet.restart_with(process, SIDAN_CRASH_AT=f"{point}:{hit}")
        done = meanwhile(run, move, what)
        run.fleet.until(lambda: run.fleet.restarts[process] > before, 30, f"{process} to die at {point}")
    return done


@scenario(
    "F57",
    "dispatch killed between the orders of a series and what the series says of them",
    without="transaction",
    recovery=KILL_RECOVERY,
)
def series(run: Run) -> None:
    """Each occurrence that is due becomes one order, whatever dies in between."""
    resident, database = run.fleet.person(RESIDENT), run.fleet.database("dispatch")
    for hit in (3, 4):  # the first two are the start of the series, with its answer
        start = run.fleet.midnight() + timedelta(days=1, hours=9)
        wish = {**WISH, "rule": f"FREQ=DAILY;COUNT={OCCURRENCES}", "start": start.isoformat(), "lead_days": 10}
        begun = crash_during(
            run, "dispatch", "in_transaction", hit, lambda w=wish: resident.insist("/v1/series", w), "a series begins"
        )
        id = begun["id"]

        def placed(id: str = id) -> int:
            return len(database["series"].find_one({"_id": id}, {"placed": 1})["placed"])

        run.fleet.until(lambda: placed() == OCCURRENCES, 30, "all occurrences to be placed")
        days = Counter(order["preferred_from"] for order in database["orders"].find({"series": id}))
        run.expect(len(days) == OCCURRENCES, f"an order for each of {OCCURRENCES} occurrences, not {len(days)}")
        run.expect(set(days.values()) == {1}, f"each of them once, not {days}")
        resident.insist(f"/v1/series/{id}/end", {"from": start.date().isoformat(), "reason": "不再需要"})


@scenario(
    "F58",
    "registry killed as a team is dissolved that has accepted orders",
    without="outbox",
    recovery=KILL_RECOVERY,
)
def dissolved_team(run: Run) -> None:
    """Dispatch learns of it and takes back what the team has not completed."""
    *_, village = villages = city.villages()[: VILLAGES + 1]  # the last one has no part in the load
    people = [
        ("add_volunteer", [v for v in city.volunteers(villages) if v.site == village.site]),
        ("form_team", city.teams([village])),
        ("add_account", city.accounts([village])),
    ]
    with RpcClient(run.fleet.broker_uri(), "registry") as registry:
        for method, commands in people:
            registry.call_all(
                [Call(method, {"actor": ACTOR, "command": c.model_dump(mode="json")}) for c in commands], ANSWER
            )
    fleet, team = run.fleet, village.teams[0]
    teams, orders = fleet.database("dispatch")["teams"], fleet.database("dispatch")["orders"]
    fleet.until(lambda: teams.count_documents({"site": village.site}) == city.TEAMS, what="the teams")
    resident, leader, staff = (fleet.person(name) for name in (village.resident, team.leader, village.staff))
    placed = [resident.insist("/v1/orders", WISH)["id"] for _ in range(3)]
    for id in placed:
        leader.insist(f"/v1/orders/{id}/accept", {"team": team.id})
    crash_during(
        run, "registry", "after_commit", 1,
        lambda: staff.insist(f"/v1/teams/{team.id}/dissolve", {"reason": "队员都搬走了"}), "the team is dissolved",
    )  # fmt: skip
    fleet.until(lambda: not teams.find_one({"_id": team.id})["active"], 30, "dispatch to learn of it")
    held = orders.count_documents({"_id": {"$in": placed}, "accepted_by": team.id})
    run.expect(held == 0, f"the team gives back what it had accepted, not {held} orders kept")
    for id in placed:
        resident.insist(f"/v1/orders/{id}/cancel", {"reason": "不需要了"})


@scenario(
    "F59",
    "dispatch killed between orders that have ended and the figures that they go into",
    without="transaction",
    recovery=KILL_RECOVERY,
)
def figures(run: Run) -> None:
    """Each order is counted once, whatever dies in between; nobody commands anything until then."""
    for hit in (1, 2):  # the orders, the figures; then both would be committed
        run.lives(3)
        run.crash("dispatch", "in_transaction", hit)
