"""F57 on: what the services do beyond the life of one order, under the same faults."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from bench import city
from deploy.reference.rpc import Call, RpcClient
from tests.e2e.steps import TEAMS
from tests.faults.fleet import ACTOR, ANSWER, TWICE, VILLAGES
from tests.faults.run import Run, scenario
from tests.faults.scenarios.crashes import KILL_RECOVERY
from tests.faults.scenarios.races import at_once
from tests.faults.workload import WISH, Client
from tests.support.rows import a_row, begin_import, settled
from tests.support.sms_provider import SmsProvider

OCCURRENCES = 6
ROWS = 500
HOURS, AT_ONCE = range(8, 18), 20
RESIDENT, LEADER = "resident", "leader1"
"""Of the demo: the lives' people order only what the load has them order."""


def meanwhile(run: Run, move: Callable[[], Any], what: str) -> Any:
    """Do it while what has died is started again."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(move()))
    thread.start()
    run.fleet.until(lambda: not thread.is_alive(), 90, what)
    run.expect(done, what)
    return done[0] if done else None


def crash_during(run: Run, process: str, point: str, move: Callable[[], Any], what: str) -> Any:
    """``move`` makes the process reach the line at which it dies."""
    with run.trouble():
        before = run.fleet.restarts[process]
        run.fleet.restart_with(process, SIDAN_CRASH_AT=point)
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
    for point in ("in_transaction@series:2", "in_transaction@orders:1"):  # the first of a series is its start
        start = run.fleet.midnight() + timedelta(days=1, hours=9)
        wish = {**WISH, "rule": f"FREQ=DAILY;COUNT={OCCURRENCES}", "start": start.isoformat(), "lead_days": 10}
        begun = crash_during(run, "dispatch", point, lambda w=wish: resident.insist("/v1/series", w), "a series begins")
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
        run, "registry", "after_commit:1",
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


@scenario(
    "F60",
    "registry killed in the middle of an import, and in the middle of its undo",
    without="transaction",
    recovery=KILL_RECOVERY,
)
def brought_in(run: Run) -> None:
    """Each row becomes one volunteer, and is taken back once."""
    staff, registry = run.fleet.person(run.workload.villages[0].staff), run.fleet.database("registry")
    begun = begin_import(staff, [a_row(姓名="测试员", 手机号="19900001234") for _ in range(ROWS)])
    mine = {"$regex": f"^{begun['id']}-"}

    def carried(command: str, state: str) -> dict[str, Any]:
        staff.insist(f"/v1/imports/{begun['id']}/{command}")
        return settled(staff, begun, state)

    for command, counted, state in (("execute", "created", "done"), ("undo", "undone", "undone")):
        done = crash_during(
            run, "registry", "in_transaction@volunteers:2", lambda c=command, s=state: carried(c, s), f"{command} ends"
        )
        told = {name: (done or {}).get(name) for name in (counted, "failed", "kept")}
        run.expect(told == {counted: ROWS, "failed": 0, "kept": 0}, f"every row by the {command}: {told}")
        found = registry["volunteers"].count_documents({"_id": mine, "erased": state == "undone"})
        run.expect(found == ROWS, f"{ROWS} volunteers after the {command}, not {found}")
    consents = registry["volunteer_log"].count_documents({"volunteer_id": mine, "what": "consent"})
    run.expect(consents == ROWS, f"a consent of each of {ROWS}, not {consents}")


@scenario("F61", "twenty people book one room for the same hour", layout=TWICE, without="compare-and-set")
def one_room(run: Run) -> None:
    """One of them gets it, the others are told."""
    village = run.workload.villages[0]
    staff = run.fleet.person(village.staff)
    room = {
        "site": village.site, "name": "议事厅", "type": "meeting_hall", "capacity": 40,
        "opens": "08:00", "closes": "20:00",
    }  # fmt: skip
    venue = staff.insist("/v1/venues", room)["id"]

    def book(hour: int, number: int) -> int:
        times = {"from": f"2026-10-05T{hour:02}:00:00+08:00", "to": f"2026-10-05T{hour + 1:02}:00:00+08:00"}
        wish = {"venue": venue, "purpose": "书画班", "contact": "测试员", **times}
        headers = {**staff.headers, "Idempotency-Key": f"{venue}-{hour}-{number}"}
        with Client(run.fleet.gateways) as http:
            return http.request("POST", "/v1/bookings", json=wish, headers=headers).status_code

    for hour in HOURS:
        answers = Counter(at_once([lambda h=hour, n=n: book(h, n) for n in range(AT_ONCE)]))
        run.result.faults += 1
        run.expect(answers == {201: 1, 409: AT_ONCE - 1}, f"one booking of {AT_ONCE} at {hour}, answers {answers}")
    made = len(staff.read(f"/v1/bookings?site={village.site}&venue={venue}&limit=200")["items"])
    run.expect(made == len(HOURS), f"a booking for each of {len(HOURS)} hours, not {made}")


@scenario(
    "F62",
    "dispatch killed between a photo and the order that names it",
    without="transaction",
    recovery=KILL_RECOVERY,
)
def photographed(run: Run) -> None:
    """Each that was answered is kept, whatever dies in between."""
    with run.load(plans=("photographed",)):
        for hit in (2, 5):
            run.crash("dispatch", "in_transaction@photos", hit)


@scenario(
    "F63",
    "registry killed between a short message and its mark, and the gateway of short messages away for a while",
    without="sms-ids",
    recovery=KILL_RECOVERY,
)
def rung(run: Run) -> None:
    """Each is at the provider at least once and with one id only; people are told once in the app."""
    fleet, number = run.fleet, "13787650001"
    kept = fleet.database("registry")["notifications"]
    resident, leader = fleet.person(RESIDENT), fleet.person(LEADER)
    wishes = {"phone": number, "quiet": {"from": "00:00", "to": "00:00"}}
    resident.insist("/v1/notification-preferences", wishes)
    placed: list[str] = []

    def take(count: int) -> None:
        """So many orders of which the resident is rung."""
        for _ in range(count):
            placed.append(resident.insist("/v1/orders", WISH)["id"])
            leader.insist(f"/v1/orders/{placed[-1]}/accept", {"team": TEAMS[LEADER]})

    def mine(**more: Any) -> list[Any]:
        return list(kept.find({"subject_id": {"$in": placed}, "kind": "order.accepted", **more}))

    def all_sent() -> bool:
        return len(mine(**{"sms.state": "sent"})) == len(placed)

    with SmsProvider() as provider:
        try:
            with run.trouble():
                before = fleet.restarts["registry"]
                fleet.restart_with("registry", **provider.settings, SIDAN_CRASH_AT="sms_sent:1")
                meanwhile(run, lambda: take(2), "orders are taken")
                fleet.until(lambda: fleet.restarts["registry"] > before, 30, "the registry to die at sms_sent")
                fleet.until(all_sent, 60, "the short messages to be sent")
            provider.moves.extend(["lose", "500", "503 2", "hang"])  # it is away
            run.result.faults += 1
            meanwhile(run, lambda: take(4), "orders are taken while the gateway is away")
            fleet.until(all_sent, 90, "the short messages to be sent when it is back")
        finally:
            for setting in provider.settings:
                fleet.processes["registry"].env.pop(setting, None)
            fleet.restart_with("registry")
    got = provider.of(number)
    ids = {message.id for message in got}
    run.expect(len(got) > len(placed), "some come again")
    run.expect(len(ids) == len(placed), f"an id for each of {len(placed)} short messages, not {len(ids)}")
    told = Counter(notification["subject_id"] for notification in mine(account=resident.read("/v1/me")["id"]))
    run.expect(told == dict.fromkeys(placed, 1), f"each told once, not {told}")
    for id in placed:
        resident.insist(f"/v1/orders/{id}/cancel", {"reason": "不需要了"})
