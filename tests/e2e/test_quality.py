"""Quality figures of service items: the same at every moment, whether an order goes on, has ended or is counted."""

from typing import Any

import pytest
from pymongo import MongoClient

from tests.e2e.steps import COUNTY, TOWNSHIP, VILLAGE, Steps
from tests.support.processes import eventually
from tests.support.system import System

HAIRCUT, RELIEF = "home-haircut", "hardship-relief"
NEIGHBOUR, AWAY_CENTER = "130802103201", "130824"
STAFF = {
    VILLAGE: "station", NEIGHBOUR: "institute", TOWNSHIP: "institute", COUNTY: "center", AWAY_CENTER: "center-county"
}  # fmt: skip
"""Who reads the figures of a place."""
COUNTS = {
    "placed", "taken", "escalated", "unmet", "completed", "closed", "cancelled", "rejected", "reopened", "ratings",
    "default_ratings",
}  # fmt: skip
COUNTED = 30.0
"""Seconds until ended orders are in the figures."""
Figures = dict[str, Any]


class Desk:
    """Where figures are read, and what has changed in them since it was set up: other tests have orders too."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._before = {(site, item): self.at(site, item) for site in STAFF for item in (HAIRCUT, RELIEF)}

    def at(self, site: str, item: str) -> Figures:
        rows = self.system.person(STAFF[site]).read(f"/v1/sites/{site}/quality")["items"]
        assert [row["placed"] for row in rows] == sorted((row["placed"] for row in rows), reverse=True)
        return next((row for row in rows if row["service_item"] == item), {})

    def change(self, site: str, item: str = HAIRCUT) -> dict[str, int]:
        """Of all counts that are others than before."""
        before, found = self._before[site, item], self.at(site, item)
        return {name: more for name in COUNTS & found.keys() if (more := found[name] - before.get(name, 0))}

    def changes(self) -> dict[tuple[str, str], dict[str, int]]:
        return {(site, item): self.change(site, item) for site, item in self._before}


def is_counted(system: System) -> bool:
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        orders = client[f"{system.prefix}dispatch"]["orders"]
        return orders.find_one({"uncounted_since": {"$type": "date"}}) is None


def test_figures_of_items_at_station_institute_and_center(steps: Steps, system: System) -> None:
    desk = Desk(system)
    served = steps.serve(steps.place())
    given_back = steps.accept(steps.place())
    steps.withdraw(given_back)
    steps.take("resident", given_back, "cancel", reason="不用了")
    steps.take("station", steps.place(), "reject", reason="不属于志愿服务")
    unmet = steps.place(service_item=RELIEF, address="村东头")
    for staff in ("station", "institute", "center"):
        steps.escalate(unmet, staff)
    steps.take("institute", steps.place("institute", site=NEIGHBOUR), "cancel", reason="不用了")
    away = steps.reach("accepted", "resident-county", "leader-county")

    haircuts = {"placed": 3, "taken": 2, "completed": 1, "closed": 1, "cancelled": 1, "rejected": 1, "ratings": 1}
    above = {**haircuts, "placed": 4, "cancelled": 2}
    relief = {"placed": 1, "escalated": 1, "unmet": 1}
    expected = {
        (VILLAGE, HAIRCUT): haircuts, (TOWNSHIP, HAIRCUT): above, (COUNTY, HAIRCUT): above,
        (NEIGHBOUR, HAIRCUT): {"placed": 1, "cancelled": 1}, (AWAY_CENTER, HAIRCUT): {"placed": 1, "taken": 1},
        **{(site, RELIEF): relief for site in (VILLAGE, TOWNSHIP, COUNTY)}, (NEIGHBOUR, RELIEF): {},
        (AWAY_CENTER, RELIEF): {},
    }  # fmt: skip
    assert desk.changes() == expected
    row = desk.at(VILLAGE, HAIRCUT)
    assert (row["service_item_name"], row["category"]) == (served["service_item_name"], served["category"])
    assert 0 <= row["median_seconds_to_acceptance"] < 3600
    assert 1 <= row["score"] <= 5

    def counted_and_always_the_same() -> bool:
        done = is_counted(system)
        assert desk.changes() == expected
        return done

    eventually(counted_and_always_the_same, COUNTED, "the orders are counted")
    assert desk.at(VILLAGE, HAIRCUT) == row

    again = steps.reopen(served)
    haircuts = {**haircuts, "placed": 4, "reopened": 1}
    assert desk.change(VILLAGE) == haircuts, "what was counted stays as it is"
    steps.take("resident", again, "cancel", reason="已经好了")
    steps.take("resident-county", away, "cancel", reason="不用了")
    eventually(lambda: is_counted(system), COUNTED, "the last orders are counted")
    assert desk.change(VILLAGE) == {**haircuts, "cancelled": 2}
    assert desk.change(AWAY_CENTER) == {"placed": 1, "taken": 1, "cancelled": 1}


def test_two_replicas_count_an_order_once_and_a_silent_resident_apart(hasty: System) -> None:
    """Of those who said nothing there is no score."""
    steps, desk = Steps(hasty), Desk(hasty)
    orders = [steps.reach("completed") for _ in range(2)]
    for order in orders:
        eventually(lambda id=order: steps.order(id)["state"] == "rated", what="the default rating")
    assert desk.change(VILLAGE)["default_ratings"] == 2
    for order in orders:
        steps.close(order)
    eventually(lambda: is_counted(hasty), COUNTED, "the orders are counted")
    assert desk.change(VILLAGE) == {"placed": 2, "taken": 2, "completed": 2, "closed": 2, "default_ratings": 2}


def test_what_is_told_of_months_without_orders(system: System) -> None:
    path = f"/v1/sites/{VILLAGE}/quality"
    found = system.person("station").read(f"{path}?from=2020-01&to=2020-12")
    assert found == {"site": VILLAGE, "from": "2020-01", "to": "2020-12", "items": []}
    current = f"{system.now():%Y-%m}"
    found = system.person("admin").read(path)
    assert (found["from"], found["to"]) == (current, current)


@pytest.mark.parametrize(
    ("asked", "path", "message"),
    [
        ("from=2026", "from", "应填月份，如 2026-10"),
        ("to=2026-13", "to", "应填月份，如 2026-10"),
        ("from=2026-01-01&to=2026-02", "from", "应填月份，如 2026-10"),
        ("from=2026-02&to=2026-01", "from", "开始月份不能晚于结束月份"),
        ("from=2025-01&to=2026-01", "from", "一次最多看 12 个月"),
    ],
)
def test_a_period_that_is_none_is_refused(system: System, asked: str, path: str, message: str) -> None:
    refused = system.person("station").get(f"/v1/sites/{VILLAGE}/quality?{asked}")
    assert (refused.status_code, refused.json()["fields"]) == (422, [{"path": path, "message": message}])


def test_the_figures_of_a_place_are_for_its_staff_and_above(system: System) -> None:
    refused = {who: system.person(who).get(f"/v1/sites/{VILLAGE}/quality").status_code for who in (
        "resident", "leader1", "station-village", "center-county"
    )}  # fmt: skip
    assert set(refused.values()) == {403}
    assert system.person("admin").get("/v1/sites/999999/quality").status_code == 404
