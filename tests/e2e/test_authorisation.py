"""Who may do and see what: every route, every account of the demo, orders of its own and of other places.

Two tables say it: how an account stands to an order, and what who stands so may do. Whoever may not know
of an order gets `404`, whoever may only see it `403`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.steps import COUNTY, MEMBERS, TEAMS, TOWNSHIP, VILLAGE, WISH, Steps
from tests.support.processes import eventually
from tests.support.system import Events, Person, System

ACTORS = (
    "resident", "resident2", "station", "institute", "center", "leader1", "leader2", "leader3", "leader4",
    "volunteer1", "volunteer2", "admin", "municipal", "resident-village", "station-village", "resident-township",
    "station-township", "institute-township", "resident-county", "station-county", "institute-county",
    "center-county", "leader-county",
)  # fmt: skip

HOME_STAFF = {"holder": ["station"], "above": ["institute", "center"]}
HOME_TEAMS = {"leader": ["leader1", "leader2"], "member": ["volunteer1", "volunteer2"]}
STANDING: dict[str, dict[str, list[str]]] = {
    "own village": {"requester": ["resident"], **HOME_STAFF, **HOME_TEAMS},
    "a neighbour's": {"requester": ["resident2"], **HOME_STAFF, **HOME_TEAMS},
    "another village": {
        "requester": ["resident-village"], "holder": ["station-village"], "above": ["institute", "center"],
    },
    "another township": {
        "requester": ["resident-township"], "holder": ["station-township"], "above": ["institute-township", "center"],
    },
    "another county": {
        "requester": ["resident-county"], "holder": ["station-county"],
        "above": ["institute-county", "center-county"], "leader": ["leader-county"],
    },
}  # fmt: skip
"""How accounts stand to an order of a place; ``admin`` reads all, and all others are strangers."""

REASON = {"reason": "试一试"}
READS = {"/v1/orders/{order_id}", "/v1/orders/{order_id}/timeline"}
MAY: dict[str, tuple[set[str], str, dict[str, Any]]] = {
    "offer": ({"holder"}, "offered", {}),
    "accept": ({"leader"}, "offered", {"team": ...}),
    "decline": ({"leader"}, "offered", {"team": ..., **REASON}),
    "withdraw": ({"leader"}, "accepted", {"team": ..., **REASON}),
    "escalate": ({"holder"}, "offered", REASON),
    "cancel": ({"requester", "holder"}, "offered", REASON),
    "reject": ({"holder"}, "offered", REASON),
    "reopen": ({"requester", "holder", "above"}, "rated", REASON),
    "start": ({"leader"}, "accepted", {}),
    "complete": ({"leader"}, "in_service", {"records": ..., "summary": "理发一次"}),
    "rate": ({"requester"}, "completed", {"score": 3}),
    "close": ({"holder"}, "rated", {}),
}
"""Who may give a command, in which state it is tried, and what is sent."""

OTHER_ROUTES = {
    "POST /oauth/token", "GET /v1/me", "GET /v1/sites", "GET /v1/sites/{code}", "GET /v1/service-items",
    "GET /v1/orders", "POST /v1/orders", "POST /v1/volunteers", "GET /v1/volunteers/{volunteer_id}",
    "GET /v1/volunteers/{volunteer_id}/hours", "POST /v1/hours/{hours_id}/reverse",
    "GET /v1/accounts/{account_id}", "GET /v1/accounts/{account_id}/entries",
}  # fmt: skip
"""Each has a test of its own below."""

WITH_TEAMS = ("own village", "a neighbour's", "another county")


@pytest.fixture(scope="module")
def stock(system: System) -> dict[tuple[str, str], dict[str, Any]]:
    """An order of every place in every state that a command is tried in."""
    steps = Steps(system)
    found = {}
    for place, standing in STANDING.items():
        (who,), (staff,) = standing["requester"], standing["holder"]
        leader = standing.get("leader", [""])[0]
        for state in {state for _, state, _ in MAY.values()}:
            found[place, state] = steps.reach(state, who, leader, staff) if leader else steps.place(who)
    return found


def standing_of(username: str, place: str, order: dict[str, Any]) -> str:
    if username == "admin":
        return "admin"
    found = next((s for s, names in STANDING[place].items() if username in names), "stranger")
    lost = found == "leader" and order["accepted_by"] not in (None, TEAMS[username])
    return "member" if lost else found


def body_of(command: str, username: str, place: str, order: dict[str, Any], system: System) -> dict[str, Any]:
    body = dict(MAY[command][2])
    leader = (
        username if username in STANDING[place].get("leader", []) else STANDING[place].get("leader", ["leader1"])[0]
    )
    if "team" in body:
        body["team"] = order["accepted_by"] or TEAMS[leader]
    if "records" in body:
        body["records"] = [system.segment(MEMBERS[leader][0], 1)]
    return body


def test_every_route_of_the_interface_has_a_row_here(system: System) -> None:
    paths = system.http.get("/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    commands = {f"POST /v1/orders/{{order_id}}/{command}" for command in MAY}
    assert routes == OTHER_ROUTES | commands | {f"GET {path}" for path in READS}


def test_every_route_asks_who_is_there(system: System) -> None:
    paths = system.http.get("/openapi.json").json()["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    statuses = {(m, p): system.http.request(m, p, json={} if m == "POST" else None).status_code for m, p in routes}
    open_to_all = {("POST", "/oauth/token")}
    assert {route for route, status in statuses.items() if status != 401} == open_to_all


# -- orders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", STANDING)
def test_an_order_is_read_by_those_whom_it_concerns_only(system: System, stock: Any, place: str) -> None:
    for state in ("offered", "rated"):
        order = stock[place, state]
        for path in READS:
            url = path.format(order_id=order["id"])
            expected = {name: 404 if standing_of(name, place, order) == "stranger" else 200 for name in ACTORS}
            assert {name: system.person(name).get(url).status_code for name in ACTORS} == expected


def test_the_list_holds_exactly_what_one_may_read(system: System, stock: Any) -> None:
    for name in ACTORS:
        seen = {order["id"] for order in _everything(system.person(name), "/v1/orders")}
        for (place, _), order in stock.items():
            assert (order["id"] in seen) == (standing_of(name, place, order) != "stranger"), (name, place)


@pytest.mark.parametrize("command", MAY)
@pytest.mark.parametrize("place", STANDING)
def test_a_command_of_others_is_refused_and_changes_nothing(
    system: System, steps: Steps, stock: Any, place: str, command: str
) -> None:
    may, state, _ = MAY[command]
    order = stock[place, state]
    before = steps.order(order), steps.timeline(order)
    refused = [name for name in ACTORS if standing_of(name, place, order) not in may]
    expected = {name: 404 if standing_of(name, place, order) == "stranger" else 403 for name in refused}
    url = f"/v1/orders/{order['id']}/{command}"
    answers = {
        name: system.person(name).post(url, body_of(command, name, place, order, system)).status_code
        for name in refused
    }
    assert answers == expected
    assert (steps.order(order), steps.timeline(order)) == before


def _allowed() -> Iterator[tuple[str, str, str]]:
    for place in WITH_TEAMS:
        for command, (may, state, _) in MAY.items():
            for standing in sorted(may):
                for name in STANDING[place].get(standing, []):
                    if state == "offered" or name != "leader2":  # from the acceptance on leader1 has it
                        yield place, command, name


@pytest.mark.parametrize(("place", "command", "name"), list(_allowed()))
def test_a_command_of_who_may_give_it_is_carried_out(
    system: System, steps: Steps, place: str, command: str, name: str
) -> None:
    (who,), (staff,), leader = STANDING[place]["requester"], STANDING[place]["holder"], STANDING[place]["leader"][0]
    order = steps.reach(MAY[command][1], who, leader, staff)
    body = body_of(command, name, place, order, system)
    response = system.person(name).post(f"/v1/orders/{order['id']}/{command}", body)
    if command == "offer":  # allowed, but everybody was asked already
        assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (409, "conflict")
    else:
        assert response.status_code == (201 if command == "reopen" else 200), response.text


@pytest.mark.parametrize("command", ["escalate", "cancel", "reject"])
def test_a_station_without_teams_rules_its_own_orders(system: System, steps: Steps, command: str) -> None:
    order = steps.place("resident-village")
    assert order["state"] == "placed"
    steps.take("station-village", order, command, reason="试一试")


def test_a_leader_does_not_speak_for_another_team(system: System, steps: Steps) -> None:
    order = steps.place()
    before = steps.order(order)
    for command, body in (("accept", {}), ("decline", REASON)):
        for leader, team in (("leader2", "leader1"), ("leader1", "leader3"), ("volunteer1", "leader1")):
            path = f"/v1/orders/{order['id']}/{command}"
            assert system.person(leader).post(path, {"team": TEAMS[team], **body}).status_code == 403
    assert steps.order(order) == before


def test_after_an_escalation_the_station_still_sees_but_no_longer_rules(system: System, steps: Steps) -> None:
    order = steps.place()
    steps.escalate(order)
    assert steps.order(order, "station")["tier"] == "institute"
    for command in ("offer", "escalate", "reject", "cancel"):
        body = {} if command == "offer" else REASON
        assert system.person("station").post(f"/v1/orders/{order['id']}/{command}", body).status_code == 403
    assert steps.take("institute", order, "reject", reason="试一试")["state"] == "rejected"


def test_a_team_of_a_higher_tier_learns_of_an_order_when_it_is_offered(system: System, steps: Steps) -> None:
    order = steps.place()
    path = f"/v1/orders/{order['id']}"
    assert system.person("leader3").get(path).status_code == 404
    steps.escalate(order)
    assert system.person("leader3").get(path).status_code == 200
    assert system.person("leader4").get(path).status_code == 404


@pytest.mark.parametrize(
    ("name", "changes", "status"),
    [
        ("resident", {}, 201),
        ("resident", {"site": VILLAGE}, 201),
        ("resident", {"on_behalf_of": "resident"}, 201),
        ("resident", {"on_behalf_of": "resident2"}, 403),
        ("resident", {"site": "130802103201"}, 403),
        ("resident", {"site": TOWNSHIP}, 403),
        ("station", {"on_behalf_of": "resident"}, 201),
        ("station", {"on_behalf_of": "resident-village"}, 404),
        ("station", {"on_behalf_of": "resident-county"}, 404),
        ("station", {"on_behalf_of": "nobody"}, 404),
        ("station", {"site": "130802103201"}, 403),
        ("institute", {"site": VILLAGE, "on_behalf_of": "resident"}, 201),
        ("center", {"site": VILLAGE, "on_behalf_of": "resident"}, 201),
        ("institute-township", {"site": VILLAGE, "on_behalf_of": "resident"}, 403),
        ("center-county", {"site": VILLAGE, "on_behalf_of": "resident"}, 403),
        ("leader1", {}, 403),
        ("volunteer1", {"on_behalf_of": "resident"}, 403),
        ("admin", {"site": VILLAGE}, 403),
        ("municipal", {"site": VILLAGE}, 403),
    ],
)
def test_orders_are_placed_by_residents_at_home_and_staff_for_them(
    system: System, name: str, changes: dict[str, str], status: int
) -> None:
    assert system.person(name).post("/v1/orders", {**WISH, **changes}).status_code == status


# -- address and name ---------------------------------------------------------------------------------

ADDRESS, NAME, PHONE = "庄头营村东街七号", "张桂芝", "13812345678"
ENTITLED = ("resident", "station", "institute", "center", "admin")


def _told(system: System, name: str, order: dict[str, Any]) -> tuple[bool, bool, bool]:
    """Whether address, name and telephone number are in anything that is answered about the order."""
    person, path = system.person(name), f"/v1/orders/{order['id']}"
    texts = [person.get(path).text, person.get(f"{path}/timeline").text, person.get("/v1/orders?limit=5").text]
    return tuple(any(secret in text for text in texts) for secret in (ADDRESS, NAME, PHONE))  # type: ignore[return-value]


def test_address_and_name_are_told_to_the_team_that_accepted_and_to_no_other(system: System, steps: Steps) -> None:
    everything, nothing = (True, True, True), (False, False, False)
    order = steps.place(address=ADDRESS, description=f"理发，到了请打 {PHONE}")
    asked = ("leader1", "volunteer1", "leader2", "volunteer2")
    assert {_told(system, name, order) for name in ENTITLED} == {everything}
    assert {_told(system, name, order) for name in asked} == {nothing}

    answer = steps.accept(order)
    assert (answer["address"], answer["resident"]["name"]) == (ADDRESS, NAME)
    assert {_told(system, name, order) for name in ("leader1", "volunteer1")} == {everything}
    assert {_told(system, name, order) for name in ("leader2", "volunteer2")} == {nothing}

    steps.withdraw(order)
    assert {_told(system, name, order) for name in asked} == {nothing}
    steps.escalate(order)
    assert _told(system, "leader3", order) == nothing
    steps.accept(order, "leader3")
    assert _told(system, "leader3", order) == everything


def test_no_event_says_who_or_where(system: System, steps: Steps) -> None:
    with Events(system.amqp_uri) as events:
        order = steps.place(address=ADDRESS, description=f"理发，{NAME}，{PHONE}")
        steps.serve(order)
        eventually(lambda: "order.closed" in events.of(order["id"]), what="the last fact")
        steps.credited(order, "vol-leader1")
        told = events.text()
    assert order["id"] in told
    assert not [secret for secret in (ADDRESS, NAME, PHONE, "苏玉兰") if secret in told]


# -- volunteers, hours, accounts ----------------------------------------------------------------------

HOME_ABOVE = {"station", "institute", "center", "admin"}
COUNTY_ABOVE = {"station-county", "institute-county", "center-county", "admin"}
VOLUNTEERS: dict[str, tuple[set[str], set[str]]] = {
    "vol-volunteer1": ({"volunteer1"} | HOME_ABOVE, {"leader1"}),
    "vol-leader2": ({"leader2"} | HOME_ABOVE, {"volunteer2"}),
    "vol-leader3": ({"leader3", "institute", "center", "admin"}, set()),
    "vol-leader4": ({"leader4", "center", "admin"}, set()),
    "vol-leader-county": ({"leader-county"} | COUNTY_ABOVE, set()),
}
"""Who may see a volunteer with hours and points; and who, of the same team, the volunteer only."""


@pytest.mark.parametrize("volunteer", VOLUNTEERS)
def test_a_volunteer_is_seen_by_staff_of_the_place_and_by_the_own_team(system: System, volunteer: str) -> None:
    all_, team = VOLUNTEERS[volunteer]
    _only(system, f"/v1/volunteers/{volunteer}", all_ | team)


@pytest.mark.parametrize("volunteer", VOLUNTEERS)
@pytest.mark.parametrize("path", ["/v1/volunteers/{}/hours", "/v1/accounts/{}", "/v1/accounts/{}/entries"])
def test_hours_and_points_are_seen_by_the_volunteer_and_staff_of_the_place(
    system: System, path: str, volunteer: str
) -> None:
    _only(system, path.format(volunteer), VOLUNTEERS[volunteer][0])


@pytest.mark.parametrize("path", ["/v1/volunteers/{}", "/v1/volunteers/{}/hours", "/v1/accounts/{}"])
def test_an_unknown_volunteer_looks_like_one_of_others(system: System, path: str) -> None:
    unknown = system.person("leader1").get(path.format("vol-nobody"))
    foreign = system.person("leader1").get(path.format("vol-leader-county"))
    assert (unknown.status_code, unknown.json()) == (404, foreign.json())


def test_an_unknown_order_looks_like_one_of_others(system: System, stock: Any) -> None:
    foreign = stock["another county", "offered"]["id"]
    for suffix in ("", "/timeline"):
        answers = [system.person("resident").get(f"/v1/orders/{id}{suffix}") for id in ("01NOBODY", foreign)]
        assert answers[0].json() == answers[1].json()
    commands = [system.person("station").post(f"/v1/orders/{id}/close") for id in ("01NOBODY", foreign)]
    assert commands[0].json() == commands[1].json()


def test_nobody_sees_an_id_number_in_clear(system: System) -> None:
    for name, masked in (("volunteer1", "130802*********761"), ("station", "130802*********761"), ("leader1", None)):
        assert system.person(name).read("/v1/volunteers/vol-volunteer1")["id_number"] == masked


def test_hours_are_reversed_by_staff_of_the_place_and_nobody_else(system: System, steps: Steps) -> None:
    entitled = ("station", "institute", "center", "admin")
    order = steps.place()
    steps.serve(order, records=[system.segment("vol-volunteer1", 1) for _ in entitled])
    records = eventually(lambda: _effective(steps, order, len(entitled)), what="hours of volunteer1")
    others = {name: 403 if name == "volunteer1" else 404 for name in ACTORS if name not in entitled}
    path = f"/v1/hours/{records[0]['id']}/reverse"
    assert {name: system.person(name).post(path, REASON).status_code for name in others} == others
    unknown = system.person("leader-county").post("/v1/hours/h-nothing-0/reverse", REASON)
    assert unknown.json() == system.person("leader-county").post(path, REASON).json(), "a foreign one looks unknown"
    assert _effective(steps, order, len(entitled)) == records
    for name, record in zip(entitled, records, strict=True):
        assert system.person(name).do(f"/v1/hours/{record['id']}/reverse", REASON)["state"] == "reversed"


def _effective(steps: Steps, order: dict[str, Any], count: int) -> list[dict[str, Any]] | None:
    records = steps.hours(order, "vol-volunteer1")
    return records if [record["state"] for record in records] == ["effective"] * count else None


def test_a_person_registers_as_volunteer_once_and_a_system_never(system: System) -> None:
    body = {"name": "周满仓", "id_number": "130824194005010024", "phone": "13912345678"}
    statuses = {n: system.person(n).post("/v1/volunteers", body).status_code for n in ("municipal", "leader1")}
    assert statuses == {"municipal": 403, "leader1": 409}
    response = system.person("resident-township").post("/v1/volunteers", body)
    assert response.status_code == 201
    volunteer = response.headers["location"]
    assert system.person("resident-township").read(volunteer)["state"] == "pending"
    _only(system, volunteer, {"resident-township", "station-township", "institute-township", "center", "admin"})
    assert system.person("resident-village").post("/v1/volunteers", body).status_code == 409, "the same id number"


# -- open to everybody who is signed in ---------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/me", "/v1/sites", f"/v1/sites/{VILLAGE}", f"/v1/service-items?site={VILLAGE}"])
def test_what_everybody_may_read(system: System, path: str) -> None:
    _only(system, path, set(ACTORS))


def test_everybody_is_who_the_reference_says(system: System) -> None:
    leader = system.person("leader1").read("/v1/me")
    assert (leader["volunteer"], leader["site"], leader["roles"]) == ("vol-leader1", VILLAGE, ["volunteer"])
    (team,) = leader["teams"]
    assert (team["id"], team["role"]) == (TEAMS["leader1"], "leader")
    assert "vol-volunteer1" in team["members"]
    center = system.person("center").read("/v1/me")
    assert (center["site"], center["roles"], center["volunteer"], center["teams"]) == (COUNTY, ["staff"], None, [])


def test_only_staff_sees_who_holds_a_post(system: System) -> None:
    for name, told in (("resident", False), ("leader1", False), ("station", True), ("admin", True)):
        posts = system.person(name).read(f"/v1/sites/{VILLAGE}")["staffing"]["posts"]
        assert [("person" in post) for post in posts] == [told]


def _only(system: System, path: str, entitled: Iterable[str]) -> None:
    expected = {name: 200 if name in set(entitled) else 404 for name in ACTORS}
    assert {name: _status(system.person(name).get(path)) for name in ACTORS} == expected


def _status(response: httpx.Response) -> int:
    return response.status_code


def _everything(person: Person, path: str) -> Iterator[dict[str, Any]]:
    page = person.read(f"{path}?limit=200")
    yield from page["items"]
    while page["next"]:
        page = person.read(f"{path}?limit=200&cursor={page['next']}")
        yield from page["items"]
