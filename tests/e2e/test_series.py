"""Orders that come again, from the rule to the list that is taken along, in the real system."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient

from deploy.reference.series import wishes
from tests.e2e.steps import TEAMS, VILLAGE, Steps
from tests.support.processes import eventually
from tests.support.system import CHINA, System

HAIRCUT = {
    "service_item": "home-haircut", "description": "每月理发", "target_group": "elderly", "address": "村东 3 号",
    "rule": "FREQ=DAILY;COUNT=60",
}  # fmt: skip
NOT_NEEDED = {"reason": "这次不用了"}
MEAL = "10:40"
Series = dict[str, Any]


class Recurring:
    """The series of a test, which all end with it: later tests want a system in which nothing happens by itself."""

    def __init__(self, system: System) -> None:
        """Requests are repeated while their outcome is unknown: processes may die."""
        self.system = system
        self._started: list[tuple[str, str]] = []

    def at(self, days: int, hour: int = 9, minute: int = 0) -> datetime:
        """Some days from now, at a time of day in China."""
        return self.system.midnight() + timedelta(days=days, hours=hour, minutes=minute)

    def start(self, who: str = "resident", **changed: Any) -> Series:
        """By default daily at nine from tomorrow on, two days ahead."""
        return self.begin(who, {**HAIRCUT, "start": self.at(1).isoformat(), **changed})

    def begin(self, who: str, wish: dict[str, Any]) -> Series:
        started: Series = self.system.person(who).insist("/v1/series", wish)
        self._started.append((who, started["id"]))
        return started

    def read(self, series: Series, who: str = "admin") -> Series:
        found: Series = self.system.person(who).read_when_up(f"/v1/series/{series['id']}")
        return found

    def placed(self, series: Series, count: int = 1) -> list[dict[str, Any]]:
        """The next occurrences, once ``count`` of them have become orders."""

        def there() -> list[dict[str, Any]] | None:
            found = [one for one in self.read(series)["next"] if one["state"] == "placed"]
            return found if len(found) >= count else None

        found: list[dict[str, Any]] = eventually(there, what=f"{count} orders of a series")
        return found

    def take(self, who: str, series: Series, command: str, **body: Any) -> Series:
        taken: Series = self.system.person(who).insist(f"/v1/series/{series['id']}/{command}", body)
        return taken

    def end_all(self) -> None:
        body = {"from": self.system.midnight().date().isoformat(), **NOT_NEEDED}
        for who, id in self._started:
            end = partial(self.system.person(who).post, f"/v1/series/{id}/end", body)
            eventually(lambda end=end: end().status_code in (200, 409), what="the end of a series")


@pytest.fixture
def recurring(system: System) -> Iterator[Recurring]:
    found = Recurring(system)
    yield found
    found.end_all()


def orders_of(system: System, series: Series) -> list[dict[str, Any]]:
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        return list(client[f"{system.prefix}dispatch"]["orders"].find({"series": series["id"]}))


def order_of(steps: Steps, occurrence: dict[str, Any], who: str = "admin") -> dict[str, Any]:
    return steps.order({"id": occurrence["order"]}, who)


# -- the seeds ----------------------------------------------------------------------------------------


def test_meals_every_day_and_haircuts_on_the_fifth(recurring: Recurring, system: System, steps: Steps) -> None:
    """As the demo has them: the list of the day says who picks up, and where to bring the rest."""
    started = {wish["service_item"]: recurring.begin(who, wish) for who, wish in wishes(system.now())}
    delivery, pick_up, haircut = (started[item] for item in ("meal-delivery", "canteen-meal", "home-haircut"))
    assert {one["occurrence"][-2:] for one in haircut["next"]} == {"05"}
    assert all(one["from"] for one in haircut["next"])
    tomorrow = recurring.at(1).date().isoformat()
    for series in (delivery, pick_up):
        first = recurring.placed(series, 2)[0]
        assert (first["occurrence"], f"{_local(first['from']):%H:%M}") == (tomorrow, MEAL)
    order = order_of(steps, recurring.placed(delivery)[0], "resident")
    assert (order["series"], order["preferred"]["from"]) == (delivery["id"], recurring.placed(delivery)[0]["from"])
    assert (order["description"], order["address"]) == ("老年餐一份，少盐，请敲门", "庄头营村 12 号")

    day = system.person("station").read(f"/v1/sites/{VILLAGE}/day?date={tomorrow}")
    meals = {item["series"]: item for item in day["items"] if f"{_local(item['from']):%H:%M}" == MEAL}
    assert (meals[delivery["id"]]["to_home"], meals[delivery["id"]]["address"]) == (True, "庄头营村 12 号")
    assert (meals[pick_up["id"]]["to_home"], meals[pick_up["id"]]["address"]) == (False, None)
    assert meals[pick_up["id"]]["resident"] == "李福来"
    assert [item["from"] for item in day["items"]] == sorted(item["from"] for item in day["items"])


def _local(moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(CHINA)


# -- the list of the day ------------------------------------------------------------------------------


def test_the_list_of_a_day_shows_each_reader_what_they_may_know(
    recurring: Recurring, system: System, steps: Steps
) -> None:
    order = order_of(steps, recurring.placed(recurring.start())[0])
    path = f"/v1/sites/{VILLAGE}/day?date={recurring.at(1).date()}"

    def seen(who: str) -> dict[str, Any] | None:
        items = system.person(who).read(path)["items"]
        return next((item for item in items if item["order"] == order["id"]), None)

    for who in ("station", "institute", "center", "admin", "resident"):
        row = seen(who)
        assert row and (row["resident"], row["address"]) == ("张桂芝", "村东 3 号"), who
    for who in ("leader1", "leader2"):
        row = seen(who)
        assert row and (row["resident"], row["address"], row["resident_id"]) == ("张**", None, None), who
        assert row["to_home"]
    for who in ("resident2", "station-village", "leader3", "station-county"):
        assert seen(who) is None, who
    steps.accept(order, "leader1")
    row = seen("leader1")
    assert row and (row["resident"], row["address"], row["team"]) == ("张桂芝", "村东 3 号", TEAMS["leader1"])
    assert seen("leader2") == {**row, "resident": "张**", "address": None, "resident_id": None}
    for who in ("station", "institute"):
        below = system.person(who).read(path.replace(VILLAGE, VILLAGE[:9]))["items"]
        assert order["id"] in [item["order"] for item in below], "a township's list holds its villages'"


def test_the_list_is_a_page_to_print_for_a_browser(recurring: Recurring, system: System, steps: Steps) -> None:
    hostile = "<script>alert('少盐')</script>"
    order = order_of(steps, recurring.placed(recurring.start(description=hostile, address="<b>村东</b>"))[0])
    steps.accept(order, "leader1")
    path = f"/v1/sites/{VILLAGE}/day?date={recurring.at(1).date()}"
    browser = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    answer = system.person("station").get(path, headers=browser)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = answer.text
    assert "庄头营村服务单" in page and "张桂芝" in page and "织心永驻巾帼服务队" in page
    assert "&lt;b&gt;村东&lt;/b&gt;" in page and "<script" not in page and "<b>" not in page
    masked = system.person("leader2").get(path, headers=browser).text
    assert "张**" in masked and "村东" not in masked
    refused = system.person("station").get("/v1/sites/nowhere/day", headers=browser)
    assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")
    assert system.person("station").get(path.replace("date=", "date=x")).status_code == 422


# -- one occurrence -----------------------------------------------------------------------------------


def test_a_skipped_occurrence_is_no_order_or_takes_its_order_along(recurring: Recurring, steps: Steps) -> None:
    series = recurring.start()
    first, *_ = recurring.placed(series)
    planned = next(one for one in recurring.read(series)["next"] if one["state"] == "planned")
    for one in (planned, first):
        taken = recurring.take("resident", series, "skip", occurrence=one["occurrence"], **NOT_NEEDED)
        assert one["occurrence"] not in {other["occurrence"] for other in taken["next"]}
    assert order_of(steps, first)["state"] == "cancelled"
    assert [s["occurrence"] for s in taken["skipped"]] == [planned["occurrence"], first["occurrence"]]
    again = steps.system.person("resident").post(
        f"/v1/series/{series['id']}/skip", {"occurrence": first["occurrence"], **NOT_NEEDED}
    )
    assert again.status_code == 409 and "已经取消" in again.json()["detail"]


def test_a_moved_occurrence_that_has_an_order_gets_another(recurring: Recurring, steps: Steps) -> None:
    series = recurring.start()
    first, *_ = recurring.placed(series)
    to = recurring.at(1, 15)
    recurring.take("station", series, "move", occurrence=first["occurrence"], to=to.isoformat())
    assert order_of(steps, first)["state"] == "cancelled"

    def moved() -> dict[str, Any] | None:
        found = next(one for one in recurring.read(series)["next"] if one["occurrence"] == first["occurrence"])
        return found if found["state"] == "placed" else None

    another = eventually(moved, what="the other order")
    assert another["order"] != first["order"]
    order = order_of(steps, another)
    assert (order["state"], datetime.fromisoformat(order["preferred"]["from"])) == ("offered", to)
    recurring.take("resident", series, "skip", occurrence=first["occurrence"], **NOT_NEEDED)
    assert order_of(steps, another)["state"] == "cancelled"


def test_what_a_team_serves_already_is_not_skipped_or_moved(recurring: Recurring, steps: Steps) -> None:
    series = recurring.start()
    first, *_ = recurring.placed(series)
    order = {"id": first["order"]}
    steps.accept(order)
    steps.start(order)
    when = {"occurrence": first["occurrence"]}
    for command, body in (("skip", {**when, **NOT_NEEDED}), ("move", {**when, "to": recurring.at(3).isoformat()})):
        refused = steps.system.person("resident").post(f"/v1/series/{series['id']}/{command}", body)
        assert refused.status_code == 409 and "不能再改" in refused.json()["detail"]
        assert refused.json()["order"] == first["order"]
    ended = recurring.take("resident", series, "end", **{"from": recurring.at(0).date().isoformat()}, **NOT_NEEDED)
    assert (ended["state"], ended["next"]) == ("ended", [])
    assert order_of(steps, first)["state"] == "in_service"


def test_from_a_day_on_there_are_no_orders(recurring: Recurring, steps: Steps) -> None:
    series = recurring.start(lead_days=5)
    found = recurring.placed(series, 5)
    ended = recurring.take("resident", series, "end", **{"from": found[2]["occurrence"]}, **NOT_NEEDED)
    assert (ended["state"], [one["order"] for one in ended["next"]]) == ("ended", [one["order"] for one in found[:2]])
    assert [order_of(steps, one)["state"] for one in found[:5]] == ["offered"] * 2 + ["cancelled"] * 3


# -- once, whatever happens ---------------------------------------------------------------------------


def test_after_a_downtime_what_has_passed_is_told_and_what_lies_ahead_is_placed(
    recurring: Recurring, system: System
) -> None:
    """As if the whole system had been away since the series should have begun, ten days ago."""
    series = recurring.start(start=recurring.at(9).isoformat(), rule="FREQ=DAILY;COUNT=20")
    ago = recurring.at(-10)
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        changed = {"start": ago, "next_at": recurring.at(-12, 0)}
        client[f"{system.prefix}dispatch"]["series"].update_one({"_id": series["id"]}, {"$set": changed})
    found = recurring.placed(series, 2)
    missed = recurring.read(series)["missed"]
    days = [(ago + timedelta(days=n)).date() for n in range(20)]
    passed = [day for day in days if recurring.at(0, 9) + (day - recurring.at(0).date()) <= system.now()]
    assert [one["occurrence"] for one in missed] == [day.isoformat() for day in passed]
    assert all("时间已过" in one["why"] for one in missed)
    assert [one["occurrence"] for one in found] == [d.isoformat() for d in days[len(passed) :]][: len(found)]
    assert len(orders_of(system, series)) == len(found)


@pytest.mark.long
def test_two_replicas_of_which_one_dies_place_every_occurrence_once(hasty: System) -> None:
    recurring = Recurring(hasty)
    series = [recurring.start(who, lead_days=31) for who in ("resident", "resident2", "station") for _ in range(3)]
    eventually(lambda: orders_of(hasty, series[0]), what="the first orders")
    hasty.kill("dispatch")
    for one in series:
        eventually(lambda one=one: len(orders_of(hasty, one)) >= 31, 60, "all orders")
    hasty.restart("dispatch")
    eventually(lambda: all(_due_later(recurring.read(one), hasty) for one in series), what="nothing is due")
    for one in series:
        starts = [order["preferred_from"] for order in orders_of(hasty, one)]
        assert len(starts) == len(set(starts)) == 31
    recurring.end_all()


def _due_later(series: Series, system: System) -> bool:
    return bool(series["next_order_at"]) and datetime.fromisoformat(series["next_order_at"]) > system.now()


def test_a_repeated_request_begins_one_series(recurring: Recurring, system: System) -> None:
    resident, key = system.person("resident"), f"series-{system.now().timestamp()}"
    wish = {**HAIRCUT, "start": recurring.at(200).isoformat()}
    answers = [resident.post("/v1/series", wish, key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    (location,) = {answer.headers["location"] for answer in answers}
    assert resident.read(location)["next"][0]["state"] == "planned"
    listed = [one["id"] for one in resident.read("/v1/series?limit=200")["items"]]
    assert listed.count(location.rpartition("/")[2]) == 1
    resident.do(f"{location}/end", {"from": recurring.at(0).date().isoformat(), **NOT_NEEDED})


# -- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"rule": "FREQ=HOURLY"}, "rule"),
        ({"rule": "每月五号"}, "rule"),
        ({"rule": "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"}, "rule"),
        ({"start": "2020-01-01T09:00:00+08:00"}, "start"),
        ({"start": "2026-01-01T09:00:00"}, "start"),
        ({"service_item": "nothing"}, "service_item"),
        ({"service_item": "meal-delivery", "address": None}, "address"),
        ({"service_item": "homework-help"}, "target_group"),
        ({"holidays": "never"}, "holidays"),
        ({"lead_days": 32}, "lead_days"),
        ({"minutes": 0}, "minutes"),
    ],
)
def test_a_series_that_cannot_be_is_refused_in_plain_words(
    recurring: Recurring, system: System, changed: dict[str, Any], path: str
) -> None:
    wish = {**HAIRCUT, "start": recurring.at(1).isoformat(), **changed}
    refused = system.person("resident").post("/v1/series", wish)
    assert refused.status_code == 422
    assert [field["path"] for field in refused.json()["fields"]] == [path]
    assert refused.json()["fields"][0]["message"]


def test_staff_begins_one_for_a_resident_who_sees_it_and_may_change_it(recurring: Recurring, system: System) -> None:
    series = recurring.start("station", on_behalf_of="resident2", start=recurring.at(100).isoformat())
    assert series["resident"] == {"id": "resident2", "name": None, "phone": None} and series["placed_by"] == "station"
    for who in ("resident2", "station", "institute", "center", "admin"):
        assert recurring.read(series, who)["address"] == "村东 3 号"
        assert series["id"] in [one["id"] for one in system.person(who).read("/v1/series?limit=200")["items"]]
    for who in ("resident", "leader1", "station-village", "municipal"):
        assert system.person(who).get(f"/v1/series/{series['id']}").status_code == 404
        assert series["id"] not in [one["id"] for one in system.person(who).read("/v1/series?limit=200")["items"]]
    recurring.take("resident2", series, "skip", occurrence=series["next"][0]["occurrence"], **NOT_NEEDED)


def test_a_resident_has_no_more_series_than_anybody_needs(recurring: Recurring, system: System) -> None:
    wish = {**HAIRCUT, "start": recurring.at(100).isoformat()}
    for _ in range(30):
        answer = system.person("resident-village").post("/v1/series", wish)
        if answer.status_code != 201:
            break
        recurring._started.append(("resident-village", answer.json()["id"]))
    refused = system.person("resident-village").post("/v1/series", wish)
    assert refused.status_code == 409 and "最多" in refused.json()["detail"]
