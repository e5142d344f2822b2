"""Who may do and see what: every route, every account of the demo and nobody, on what is its own and others'.

Two tables say it: how an account stands to an order, a volunteer or a place, and what who stands so may do.
Whoever may not know of something gets `404`, whoever may only see it `403`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from gateway.app import build
from tests.e2e.records import Keeper, sample_of
from tests.e2e.steps import (
    COUNTY,
    EVERYBODY,
    MEMBERS,
    TEAMS,
    TOWNSHIP,
    VILLAGE,
    WISH,
    Steps,
    newcomer,
    send_photo,
)
from tests.support.pictures import a_photo
from tests.support.processes import eventually
from tests.support.rows import VOLUNTEER_ROW, begin_import
from tests.support.snapshots import unchanged
from tests.support.system import Events, Person, System, record

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
OCCURRENCE = {"occurrence": "2027-02-28"}
"""A day in any series: whoever may not change it is told so first."""

VISIT = {"from": "2027-05-20T09:00:00+08:00", "to": "2027-05-20T10:00:00+08:00"}
GOODS_WANTED = {"kind": "material", "text": "会场没有椅子", "goods": [{"name": "椅子", "count": 20}]}
COMPLAINT = {"about": "conduct", "text": "态度不好"}
QUARREL = {"kind": "mediation", "text": "两家为院墙吵起来了"}
AWAY = {"from": "2099-07-01", "to": "2099-07-31"}
SOMEBODY = {"volunteer": "vol-linli-1"}
NEWCOMER = newcomer()
PHOTO = a_photo()


@dataclass(frozen=True)
class Row:
    """``may`` do it, ``sees`` may know of it but not do this (`403`); for all others it does not exist (`404`)."""

    may: str
    sees: str = ""
    state: str = ""
    """Of the order on which a command is tried."""
    body: dict[str, Any] = field(default_factory=dict)
    unknown: int = 404
    """For all others: `422` where they name what they may not know of."""

    def status(self, standing: str, success: int) -> int:
        if standing in self.may.split():
            return success
        if standing == ANONYMOUS:
            return 401
        return 403 if standing in self.sees.split() else self.unknown


DAILY = {**WISH, "rule": "FREQ=DAILY", "start": "2027-01-01T09:00:00+08:00"}
ANONYMOUS = "nobody"
SIGNED_IN = "person client"
ORDER = "requester holder above leader member admin"
PERSONS = "self staff leads team"
SUPPORT = "asker place center admin"
MATRIX = {
    "POST /oauth/token": Row(f"{SIGNED_IN} {ANONYMOUS}"),
    "GET /v1/me": Row(SIGNED_IN),
    "GET /v1/inbox": Row(SIGNED_IN),  # what it holds: test_inbox
    "GET /v1/notifications": Row(SIGNED_IN),  # whose, and who marks them: test_notifications
    "POST /v1/notifications/read": Row(SIGNED_IN, body={"up_to": "0"}),
    "POST /v1/notifications/{notification_id}/read": Row("", unknown=404),
    "GET /v1/notification-preferences": Row(SIGNED_IN),
    "POST /v1/notification-preferences": Row(SIGNED_IN, body={"quiet": {"from": "22:00", "to": "07:00"}}),
    "GET /v1/sites": Row(SIGNED_IN),
    "GET /v1/sites/{code}": Row(SIGNED_IN),
    "GET /v1/sites/{code}/demand": Row("holder above admin", "resident leader member stranger"),
    "GET /v1/sites/{code}/quality": Row("holder above admin", "resident leader member stranger"),
    "GET /v1/sites/{code}/matching-rules": Row("center admin", "above holder resident leader member stranger"),
    "POST /v1/sites/{code}/matching-rules": Row(
        "center admin", "above holder resident leader member stranger", body={"wave": {"size": 2}}
    ),
    "GET /v1/sites/{code}/matching-rules/{version}": Row(
        "center admin", "above holder resident leader member stranger"
    ),
    "GET /v1/service-items": Row(SIGNED_IN),
    "GET /v1/orders": Row(SIGNED_IN),  # which orders it holds: test_the_list_holds_exactly_what_one_may_read
    "POST /v1/orders": Row("resident holder above", "leader member admin stranger", body=WISH),
    "GET /v1/orders/{order_id}": Row(ORDER, state="offered"),
    "GET /v1/orders/{order_id}/timeline": Row(ORDER, state="rated"),
    "GET /v1/orders/{order_id}/decision": Row(ORDER, state="offered"),
    "GET /v1/orders/{order_id}/views": Row("requester holder above admin", "leader member", "accepted"),
    "POST /v1/orders/{order_id}/offer": Row("holder", ORDER, "offered"),
    "POST /v1/orders/{order_id}/accept": Row("leader", ORDER, "offered", {"team": ...}),
    "POST /v1/orders/{order_id}/decline": Row("leader", ORDER, "offered", {"team": ..., **REASON}),
    "POST /v1/orders/{order_id}/withdraw": Row("leader", ORDER, "accepted", {"team": ..., **REASON}),
    "POST /v1/orders/{order_id}/escalate": Row("holder", ORDER, "offered", REASON),
    "POST /v1/orders/{order_id}/cancel": Row("requester holder", ORDER, "offered", REASON),
    "POST /v1/orders/{order_id}/reject": Row("holder", ORDER, "offered", REASON),
    "POST /v1/orders/{order_id}/reopen": Row("requester holder above", ORDER, "rated", REASON),
    "POST /v1/orders/{order_id}/start": Row("leader", ORDER, "accepted"),
    "POST /v1/orders/{order_id}/complete": Row(
        "leader", ORDER, "in_service", {"records": ..., "summary": "理发一次"}
    ),
    "POST /v1/orders/{order_id}/rate": Row("requester", ORDER, "completed", {"score": 3}),
    "POST /v1/orders/{order_id}/rate-visit": Row("leader", ORDER, "completed", {"score": 4}),
    "POST /v1/orders/{order_id}/close": Row("holder", ORDER, "rated"),
    "POST /v1/orders/{order_id}/message": Row("requester holder leader", ORDER, "accepted", {"text": "几点"}),
    "GET /v1/orders/{order_id}/messages": Row("requester holder above leader admin", "member", "accepted"),
    "POST /v1/orders/batch": Row(SIGNED_IN, body={"step": "close", "orders": ["01"]}),  # each: test_after_service
    "POST /v1/orders/{order_id}/appoint": Row("requester holder leader", ORDER, "accepted", VISIT),
    "POST /v1/orders/{order_id}/no-show": Row("requester holder", ORDER, "accepted", REASON),
    "POST /v1/support-requests": Row("station volunteer", "center person client admin", body=GOODS_WANTED),
    "GET /v1/support-requests": Row(SIGNED_IN),  # which ones: test_support
    "GET /v1/support-requests/{request_id}": Row(SUPPORT),
    "POST /v1/support-requests/{request_id}/take": Row("center", SUPPORT),
    "POST /v1/support-requests/{request_id}/answer": Row("center", SUPPORT, body={"text": "已送到"}),
    "POST /v1/support-requests/{request_id}/decline": Row("center", SUPPORT, body=REASON),
    "POST /v1/support-requests/{request_id}/withdraw": Row("asker", SUPPORT),
    "POST /v1/support-requests/{request_id}/rate": Row("asker", SUPPORT, body={"score": 5}),
    "GET /v1/orders/similar": Row("resident holder above admin", "leader member stranger"),
    "GET /v1/orders/joined": Row(SIGNED_IN),
    "POST /v1/orders/{order_id}/join": Row(
        "requester neighbour holder above", "leader member admin", "offered", {"on_behalf_of": ...}
    ),
    "POST /v1/orders/{order_id}/leave": Row(
        "requester neighbour holder above", "leader member admin", "offered", {"on_behalf_of": ...}
    ),
    "POST /v1/orders/{order_id}/note": Row("holder above", ORDER, "accepted", {"text": "老人耳背，请大声些"}),
    "GET /v1/orders/{order_id}/notes": Row("holder above admin", ORDER, "accepted"),
    "POST /v1/orders/{order_id}/photos": Row("requester holder leader", f"{ORDER} mate", "accepted"),
    "GET /v1/orders/{order_id}/photos": Row("requester holder above leader mate admin", "member", "accepted"),
    "GET /v1/orders/{order_id}/photos/{photo_id}": Row(
        "requester holder above leader mate admin", "member", "accepted"
    ),
    "POST /v1/orders/{order_id}/complain": Row("requester", ORDER, "closed", COMPLAINT),
    "POST /v1/cases": Row("station volunteer person center", "client admin", body=QUARREL),
    "POST /v1/cases/{case_id}/take": Row("holder", "requester above admin"),
    "GET /v1/beneficiaries": Row(SIGNED_IN),  # whom it holds: test_order_journey
    "GET /v1/cases": Row(SIGNED_IN),  # which cases it holds: test_after_service
    "GET /v1/cases/{case_id}": Row("requester holder above admin"),
    "POST /v1/cases/{case_id}/refer": Row("holder", "requester above admin", body=REASON),
    "POST /v1/cases/{case_id}/settle": Row("holder", "requester above admin", body={"outcome": "已上门致歉"}),
    "GET /v1/series": Row(SIGNED_IN),
    "POST /v1/series": Row("resident holder above", "leader member admin stranger", body=DAILY),
    "GET /v1/series/{series_id}": Row("requester holder above admin"),
    "POST /v1/series/{series_id}/move": Row(
        "requester holder above", "admin", body={**OCCURRENCE, "to": "2027-03-01T09:00:00+08:00"}
    ),
    "POST /v1/series/{series_id}/skip": Row("requester holder above", "admin", body={**OCCURRENCE, **REASON}),
    "POST /v1/series/{series_id}/end": Row("requester holder above", "admin", body={"from": "2027-02-28", **REASON}),
    "GET /v1/sites/{code}/day": Row(SIGNED_IN),  # which lines it holds: test_series
    "GET /v1/volunteers": Row("holder above admin", "resident leader member stranger"),
    "POST /v1/volunteers": Row("person", "client", body=NEWCOMER),
    "POST /v1/volunteers/lookup": Row("staff", "person", body={"phone": "19900000001"}),
    "GET /v1/volunteers/{volunteer_id}": Row(PERSONS),
    "GET /v1/volunteers/{volunteer_id}/hours": Row("self staff"),
    "GET /v1/volunteers/{volunteer_id}/log": Row("self staff", "leads team"),
    "GET /v1/volunteers/{volunteer_id}/views": Row("self staff", "leads team"),
    "POST /v1/volunteers/{volunteer_id}/profile": Row("self staff", "leads team", body={"skills": ["理发"]}),
    "POST /v1/volunteers/{volunteer_id}/qualifications": Row(
        "staff", "self leads team", body={"kind": "急救员", "until": "2099-12-31"}
    ),
    "POST /v1/volunteers/{volunteer_id}/insurance": Row("staff", "self leads team", body={"until": "2099-12-31"}),
    "POST /v1/volunteers/{volunteer_id}/absences": Row("self staff leads", "team", body=AWAY),
    "POST /v1/volunteers/{volunteer_id}/absences/{absence_id}/withdraw": Row("self staff leads", "team"),
    "POST /v1/volunteers/{volunteer_id}/suspend": Row("staff", "self leads team", body=REASON),
    "POST /v1/volunteers/{volunteer_id}/resume": Row("staff", "self leads team", body=REASON),
    "POST /v1/volunteers/{volunteer_id}/real-name": Row("staff", "self leads team", body={"result": "passed"}),
    "POST /v1/volunteers/{volunteer_id}/consents": Row(
        "self", "staff leads team", body={"purpose": "publication", "version": "1"}
    ),
    "POST /v1/volunteers/{volunteer_id}/consents/withdraw": Row(
        "self staff", "leads team", body={"purpose": "publication"}
    ),
    "POST /v1/volunteers/{volunteer_id}/erase": Row("self staff", "leads team"),
    "GET /v1/teams": Row(SIGNED_IN),
    "POST /v1/teams": Row("volunteer", "person", body={"name": "护河队", "categories": ["环境保护"]}),
    "GET /v1/teams/{team_id}": Row("staff leads team outsider stranger"),
    "POST /v1/teams/{team_id}/approve": Row("staff", "leads team outsider stranger"),
    "POST /v1/teams/{team_id}/refuse": Row("staff", "leads team outsider stranger", body=REASON),
    "POST /v1/teams/{team_id}/suspend": Row("staff", "leads team outsider stranger", body=REASON),
    "POST /v1/teams/{team_id}/resume": Row("staff", "leads team outsider stranger", body=REASON),
    "POST /v1/teams/{team_id}/dissolve": Row("staff leads", "team outsider stranger", body=REASON),
    "POST /v1/teams/{team_id}/join": Row("leads team outsider", "staff stranger"),
    "POST /v1/teams/{team_id}/leave": Row("leads team outsider", "staff stranger"),
    "POST /v1/teams/{team_id}/invite": Row("staff leads", "team outsider stranger", body=SOMEBODY),
    "POST /v1/teams/{team_id}/admit": Row("staff leads", "team outsider stranger", body=SOMEBODY),
    "POST /v1/teams/{team_id}/remove": Row("staff leads", "team outsider stranger", body=SOMEBODY),
    "POST /v1/teams/{team_id}/hand-over": Row("staff leads", "team outsider stranger", body=SOMEBODY),
    "POST /v1/imports": Row("holder above admin", "resident leader member stranger"),
    "GET /v1/imports/template": Row("holder above admin", "resident leader member stranger"),
    "GET /v1/imports/{import_id}": Row("holder above admin"),
    "GET /v1/imports/{import_id}/rows": Row("holder above admin"),
    "POST /v1/imports/{import_id}/execute": Row("holder above admin"),
    "POST /v1/imports/{import_id}/undo": Row("holder above admin"),
    "GET /v1/exports/{kind}": Row("holder above admin", "resident leader member stranger"),
    "POST /v1/hours/{hours_id}/reverse": Row("staff", "self", body=REASON),
    "GET /v1/accounts/{account_id}": Row("self staff"),
    "GET /v1/accounts/{account_id}/entries": Row("self staff"),
}  # fmt: skip
RECORDS = {
    "organisations": "staff", "twinnings": "center", "help-records": "staff", "venues": "staff", "bookings": "staff",
    "practice-places": "staff", "budget-lines": "center", "spendings": "staff", "checklists": "staff",
    "flagships": "staff", "meetings": "staff", "plans": "staff", "site-links": "staff", "village-rules": "staff",
    "councils": "staff", "proposals": "staff", "projects": "staff", "households": "staff",
}  # fmt: skip
"""Plain records: who writes them, staff of the place and above it or only from the center up."""
FOR_STAFF = {"budget-lines", "spendings", "households"}
"""Which only staff of the place and above it read; all others are for everybody."""
STAFF, ALL = "holder above center admin", "holder above center admin resident leader member stranger"


def record_rows(kind: str, writers: str) -> dict[str, Row]:
    may, readers = {"staff": STAFF, "center": "center admin"}[writers], STAFF if kind in FOR_STAFF else ALL
    hidden = 422 if kind == "spendings" else 404
    seen_at_place = "" if hidden == 422 else ALL
    return {
        f"GET /v1/{kind}": Row(readers, ALL),
        f"POST /v1/{kind}": Row(may, seen_at_place, unknown=hidden),
        f"GET /v1/{kind}/{{record_id}}": Row(readers),
        f"POST /v1/{kind}/{{record_id}}/change": Row(may, readers),
        f"POST /v1/{kind}/{{record_id}}/retire": Row(may, readers, body=REASON),
        f"GET /v1/{kind}/{{record_id}}/log": Row(STAFF, readers),
    }


for kind, writers in RECORDS.items():
    MATRIX |= record_rows(kind, writers)
"""Every route of the interface. How one stands to an order, a volunteer or a place is told above and below."""

QUERIES = {
    "GET /v1/volunteers": "?site={}",
    "POST /v1/imports": "?kind=volunteers&site={}",
    "GET /v1/imports/template": "?kind=volunteers&site={}",
    "GET /v1/exports/{kind}": "?site={}",
    "GET /v1/orders/similar": "?service_item=home-haircut&site={}",
}
"""What is asked for a place."""
FIGURES = ("GET /v1/sites/{code}/demand", "GET /v1/sites/{code}/quality")
COMMANDS = {route.rpartition("/")[2]: row for route, row in MATRIX.items() if row.state and route.startswith("POST")}
WITH_TEAMS = ("own village", "a neighbour's", "another county")
CODES = {
    "own village": VILLAGE, "another village": "130802103201", "another township": "130802102202",
    "another county": "130824100203",
}  # fmt: skip
CENTERS = {"center": "130802", "center-county": "130824"}
RESIDENTS = {
    "own village": ["resident", "resident2"], "another village": ["resident-village"],
    "another township": ["resident-township"], "another county": ["resident-county"],
}  # fmt: skip
HOME_ABOVE = {"station", "institute", "center", "admin"}
COUNTY_ABOVE = {"station-county", "institute-county", "center-county", "admin"}
VOLUNTEERS: dict[str, tuple[set[str], set[str]]] = {
    "vol-volunteer1": (HOME_ABOVE, {"leader1"}),
    "vol-leader2": (HOME_ABOVE, {"volunteer2"}),
    "vol-leader3": ({"institute", "center", "admin"}, set()),
    "vol-leader4": ({"center", "admin"}, set()),
    "vol-leader-county": (COUNTY_ABOVE, set()),
}
"""Staff over a volunteer, and who is of the same team."""
LEADERS = {"vol-volunteer1": "leader1"}
"""Who leads the team of a volunteer."""
TEAM_STAFF = {"leader1": HOME_ABOVE, "leader-county": COUNTY_ABOVE}
"""Staff over the team of a leader."""


@dataclass(frozen=True)
class Stock:
    """What the matrix is tried on."""

    orders: dict[tuple[str, str], dict[str, Any]]
    """Of every place in every state that a command is tried in."""
    hours: dict[str, str]
    """The id of an effective record, by volunteer."""
    series: dict[str, str]
    """The id of a series that begins in three hundred days, by place."""
    cases: dict[str, str]
    """The id of a complaint about what was served, by place."""
    photos: dict[str, str]
    """The id of a photo of the order that a team has accepted, where there is one, by place."""
    support: dict[str, str]
    """The id of a request for goods, by who has asked."""
    imports: dict[str, str]
    """The id of an import that was not carried out, by place."""
    records: Keeper
    """With one plain record of every kind, in the own village; everybody elsewhere is a stranger to them."""


@pytest.fixture(scope="module")
def stock(system: System) -> Stock:
    steps = Steps(system)
    for center, code in CENTERS.items():
        system.person(center).do(f"/v1/sites/{code}/matching-rules", EVERYBODY)
    orders = {}
    for place, standing in STANDING.items():
        (who,), (staff,) = standing["requester"], standing["holder"]
        leader = standing.get("leader", [""])[0]
        for state in {row.state for row in MATRIX.values() if row.state}:
            orders[place, state] = steps.reach(state, who, leader, staff) if leader else steps.place(who)
    home = steps.serve(steps.place())
    away = steps.reach("closed", "resident-county", "leader-county", "station-county")
    served = {"vol-volunteer1": home, "vol-leader-county": away}
    hours = {volunteer: steps.settled(order, volunteer)["id"] for volunteer, order in served.items()}
    later = {**DAILY, "start": (system.now() + timedelta(days=300)).isoformat()}
    who = {place: system.person(standing["requester"][0]) for place, standing in STANDING.items()}
    series = {place: person.do("/v1/series", later)["id"] for place, person in who.items()}
    about = {place: f"/v1/orders/{orders[place, 'closed']['id']}/complain" for place in WITH_TEAMS}
    cases = {
        place: who[place].do(path, {"about": "conduct", "text": "态度不好"})["id"] for place, path in about.items()
    }
    taken = {place: orders[place, "accepted"] for place in STANDING}
    photos = {p: steps.photograph(order, STANDING[p]["requester"][0])["id"] for p, order in taken.items()}
    staff = {place: system.person(standing["holder"][0]) for place, standing in STANDING.items()}
    imports = {place: begin_import(person, [VOLUNTEER_ROW])["id"] for place, person in staff.items() if place in CODES}
    support = {who: system.person(who).do("/v1/support-requests", GOODS_WANTED)["id"] for who in ASKERS}
    records = Keeper(system, "center", VILLAGE)
    for kind in RECORDS:
        records.one(kind)
    return Stock(orders, hours, series, cases, photos, support, imports, records)


def standing_of(username: str, place: str, order: dict[str, Any]) -> str:
    if username in ("admin", ANONYMOUS):
        return username
    found = next((s for s, names in STANDING[place].items() if username in names), "stranger")
    lost = found == "leader" and order["accepted_by"] not in (None, TEAMS[username])
    return "member" if lost else found


def _standing_to_need(username: str, place: str, order: dict[str, Any]) -> str:
    """Other residents of the place are ``neighbours``."""
    found, village = standing_of(username, place, order), "own village" if place == "a neighbour's" else place
    return "neighbour" if found == "stranger" and username in RESIDENTS[village] else found


def _standing_to_photos(username: str, place: str, order: dict[str, Any]) -> str:
    """Members of the team that has accepted are its ``mates``."""
    found = standing_of(username, place, order)
    mates = {mate for leader, team in MEMBERS.items() if TEAMS[leader] == order["accepted_by"] for mate in team}
    return "mate" if found == "member" and f"vol-{username}" in mates else found


def _standing_to_volunteer(username: str, volunteer: str) -> str:
    staff, team = VOLUNTEERS[volunteer]
    leads = username == LEADERS.get(volunteer)
    known = {
        f"vol-{username}" == volunteer: "self",
        username in team: "team",
        leads: "leads",
        username in staff: "staff",
    }
    return ANONYMOUS if username == ANONYMOUS else known.get(True, "stranger")


def _standing_to_team(username: str, leader: str) -> str:
    known = {
        _is_volunteer(username): "outsider",
        f"vol-{username}" in MEMBERS[leader]: "team",
        username == leader: "leads",
        username in TEAM_STAFF[leader]: "staff",
    }
    return ANONYMOUS if username == ANONYMOUS else known.get(True, "stranger")


def _is_volunteer(username: str) -> bool:
    return username.startswith(("leader", "volunteer"))


def _works(username: str) -> bool:
    return username.startswith(("station", "institute", "center", "admin"))


def _standing_at_place(username: str, place: str) -> str:
    if username in RESIDENTS[place]:
        return "resident"
    found = standing_of(username, place, {"accepted_by": None})
    return "stranger" if found == "requester" else found


def _standing_to_records(username: str) -> str:
    found = _standing_at_place(username, "own village")
    return "center" if found == "above" and username.startswith("center") else found


def _standing_to_series(username: str, place: str) -> str:
    """Or to a case; a team has to do with orders only."""
    found = standing_of(username, place, {"accepted_by": None})
    return "stranger" if found in ("leader", "member") else found


STANDINGS = {"photos": _standing_to_photos, "join": _standing_to_need, "leave": _standing_to_need}
"""To an order, by what follows it in the path."""


ASKERS = {"station": HOME_ABOVE, "leader1": HOME_ABOVE, "station-county": COUNTY_ABOVE}
"""Who asks for support, and the staff who see it."""


def _standing_to_support(username: str, asker: str) -> str:
    known = {
        username == ANONYMOUS: ANONYMOUS,
        username == "admin": "admin",
        username in ASKERS[asker] - {"admin"}: "center" if username in CENTERS else "place",
        username == asker: "asker",
    }
    found = [standing for holds, standing in known.items() if holds]
    return found[-1] if found else "stranger"


def body_of(row: Row, username: str, place: str, order: dict[str, Any], system: System) -> dict[str, Any]:
    body = dict(row.body)
    leader = (
        username if username in STANDING[place].get("leader", []) else STANDING[place].get("leader", ["leader1"])[0]
    )
    if "team" in body:
        body["team"] = order["accepted_by"] or TEAMS[leader]
    if "on_behalf_of" in body:  # which only staff say
        body = {"on_behalf_of": STANDING[place]["requester"][0]} if _works(username) else {}
    if "records" in body:
        midnight = system.midnight()
        body["records"] = [record(MEMBERS[leader][0], midnight, midnight + timedelta(minutes=1))]
    return body


@dataclass(frozen=True)
class Try:
    """A call of the matrix, and how it is to be answered."""

    route: str
    whose: str
    who: str
    path: str
    body: dict[str, Any]
    status: int

    def answer(self, system: System) -> int:
        headers = {} if self.who == ANONYMOUS else system.person(self.who).headers
        method = self.route.split()[0]
        if self.route == "POST /v1/orders/{order_id}/photos":
            jpeg = {"Content-Type": "image/jpeg"}
            return system.http.post(self.path, content=PHOTO, headers=headers | jpeg).status_code
        body = self.body if method == "POST" else None
        return system.http.request(method, self.path, json=body, headers=headers).status_code


def tries(system: System, stock: Stock) -> Iterator[Try]:
    """Each route, for each actor, on what is its own and what belongs to others."""
    for route in _documented(system):
        row, path = MATRIX[route], route.split()[1]
        for whose, id, body, standings in _targets(route, row, system, stock):
            for who, standing in standings.items():
                inner = path.replace("{version}", f"{id}-1").replace("{photo_id}", stock.photos.get(whose, ""))
                url = re.sub(r"{\w+}", id, inner.replace("{kind}", "volunteers"))
                url += QUERIES.get(route, f"?site={id}" if route[8:] in RECORDS else "").format(id)
                yield Try(route, whose, who, url, body(who), row.status(standing, 200))


def _targets(route: str, row: Row, system: System, stock: Stock) -> Iterator[tuple[str, str, Any, dict[str, str]]]:
    everybody = (*ACTORS, ANONYMOUS)
    if "{order_id}" in route:
        for place in STANDING:
            order = stock.orders[place, row.state]
            body = partial(body_of, row, place=place, order=order, system=system)
            standing = STANDINGS.get("".join(route.split("/")[4:5]), standing_of)
            yield place, order["id"], body, {who: standing(who, place, order) for who in everybody}
    elif (kind := route.split("/")[2]) in RECORDS:
        id, sent = VILLAGE, sample_of(kind, stock.records)
        if "{record_id}" in route:
            id, sent = stock.records.one(kind), row.body
        yield "own village", id, lambda _: sent, {who: _standing_to_records(who) for who in everybody}
    elif "{request_id}" in route:
        for asker, id in stock.support.items():
            yield asker, id, lambda _: row.body, {who: _standing_to_support(who, asker) for who in everybody}
    elif route in ("POST /v1/support-requests", "POST /v1/cases"):
        kinds = {who: "station" if _works(who) else "volunteer" if _is_volunteer(who) else "person" for who in ACTORS}
        kinds |= {"admin": "admin", "leader4": "center"} | dict.fromkeys(CENTERS, "center")
        yield "", "", lambda _: row.body, {**kinds, ANONYMOUS: ANONYMOUS}
    elif "{series_id}" in route or "{case_id}" in route:
        for place, id in (stock.series if "{series_id}" in route else stock.cases).items():
            stand = {who: _standing_to_series(who, place) for who in everybody}
            yield place, id, lambda _: row.body, stand
    elif "{volunteer_id}" in route or "{account_id}" in route or "{hours_id}" in route:
        for volunteer in stock.hours if "{hours_id}" in route else VOLUNTEERS:
            id = stock.hours[volunteer] if "{hours_id}" in route else volunteer
            yield volunteer, id, lambda _: row.body, {w: _standing_to_volunteer(w, volunteer) for w in everybody}
    elif "{team_id}" in route:
        for leader in TEAM_STAFF:
            yield leader, TEAMS[leader], lambda _: row.body, {who: _standing_to_team(who, leader) for who in everybody}
    elif route == "POST /v1/teams":
        kinds = {who: "volunteer" if _is_volunteer(who) else "person" for who in ACTORS}
        yield "", "", lambda _: row.body, {**kinds, ANONYMOUS: ANONYMOUS}
    elif route == "POST /v1/volunteers/lookup":  # whom they find: test_search
        kinds = {who: "staff" if _works(who) else "person" for who in ACTORS}
        yield "", "", lambda _: row.body, {**kinds, ANONYMOUS: ANONYMOUS}
    elif "{import_id}" in route:
        for place, id in stock.imports.items():
            yield place, id, lambda _: row.body, {who: _standing_at_place(who, place) for who in everybody}
    elif route in FIGURES or route in QUERIES:
        for place, code in CODES.items():
            yield place, code, lambda _: row.body, {who: _standing_at_place(who, place) for who in everybody}
    elif "matching-rules" in route:
        for center, code in CENTERS.items():
            known = {ANONYMOUS: ANONYMOUS, "admin": "admin", center: "center"}
            yield code, code, lambda _: row.body, {who: known.get(who, "stranger") for who in everybody}
    elif route in ("POST /v1/orders", "POST /v1/series"):
        for place, code in CODES.items():
            yield (
                place,
                "",
                lambda _, c=code: {**row.body, "site": c},
                {who: _standing_at_place(who, place) for who in everybody},
            )
    else:
        kinds = {who: "client" if who == "municipal" else "person" for who in ACTORS}
        yield "", VILLAGE, lambda _: row.body, {**kinds, ANONYMOUS: ANONYMOUS}


def _documented(system: System) -> list[str]:
    paths = system.http.get("/openapi.json").json()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


def _wrong(system: System, tried: Iterable[Try]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """By route, owner and actor: what was expected, and what came."""
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda one: (one, one.answer(system)), tried)
        return {(one.route, one.whose, one.who): (one.status, came) for one, came in answers if came != one.status}


# -- the matrix ---------------------------------------------------------------------------------------


def test_every_route_of_the_interface_has_a_row_and_every_row_a_route(system: System) -> None:
    assert set(_documented(system)) == set(MATRIX)


def test_what_is_served_is_what_is_documented(system: System) -> None:
    """No forgotten route, and no method beside those that are told."""
    documented: dict[str, set[str]] = defaultdict(set)
    for route in _documented(system):
        method, path = route.split()
        documented[path].add(method)
    served = set(_served(build().routes))
    assert served == {(m, p) for p, methods in documented.items() for m in methods} | UNDOCUMENTED
    headers = system.person("admin").headers
    told = {
        (method, path): system.http.request(method, re.sub(r"{\w+}", "x", path), headers=headers).status_code
        for path, methods in documented.items()
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - methods
        if not any(_could_be(path, other) for other, known in documented.items() if method in known)
    }
    assert {what: status for what, status in told.items() if status != 405} == {}


def _could_be(path: str, other: str) -> bool:
    """Whether the address may as well be that of one thing among others, as ``/v1/orders/batch``."""
    return path != other and re.fullmatch(re.sub(r"{\w+}", "[^/]+", other), path) is not None


UNDOCUMENTED = {
    ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/asyncapi.json"), ("GET", "/docs"),
    ("GET", "/openapi.json"), ("HEAD", "/openapi.json"), ("*", "/static/swagger"),
}  # fmt: skip
"""Of the operation, without anything of anybody."""


def _served(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if inner := getattr(route, "original_router", None) or getattr(route, "router", None):
            yield from _served(inner.routes)
        else:
            yield from ((method, route.path) for method in getattr(route, "methods", None) or {"*"})


def test_whoever_may_not_is_refused_and_nothing_changes(system: System, stock: Stock) -> None:
    denied = [one for one in tries(system, stock) if one.status in (401, 403, 404)]
    assert {one.route for one in denied} == set(MATRIX) - {"POST /oauth/token"}
    assert {one.who for one in denied} == {*ACTORS, ANONYMOUS}
    with unchanged(system):
        assert _wrong(system, denied) == {}


def test_whoever_may_read_does_and_that_changes_nothing_but_who_has_seen_whom(system: System, stock: Stock) -> None:
    with unchanged(system, "registry.volunteer_views", "dispatch.order_views"):
        reads = [one for one in tries(system, stock) if one.status == 200 and one.route.startswith("GET")]
        assert _wrong(system, reads) == {}


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "?_method="])
def test_a_method_is_what_it_is_whatever_a_header_says(system: System, steps: Steps, header: str) -> None:
    order = steps.place()
    path, station = f"/v1/orders/{order['id']}", system.person("station")

    def ask(method: str, path: str, other: str) -> int:
        query = f"{header}{other}" if header.startswith("?") else ""
        headers = {} if query else {header: other}
        return station.request(
            method, path + query, headers=headers, json=REASON if method == "POST" else None
        ).status_code

    with unchanged(system, "dispatch.order_views"):
        assert [ask("GET", path, other) for other in ("DELETE", "POST", "PUT")] == [200] * 3
        assert ask("GET", f"{path}/reject", "POST") == ask("PUT", f"{path}/reject", "POST") == 405
        assert ask("POST", f"{path}/timeline", "GET") == 405


# -- orders -------------------------------------------------------------------------------------------


def test_the_list_holds_exactly_what_one_may_read(system: System, stock: Stock) -> None:
    for name in ACTORS:
        seen = {order["id"] for order in _everything(system.person(name), "/v1/orders")}
        for (place, _), order in stock.orders.items():
            assert (order["id"] in seen) == (standing_of(name, place, order) != "stranger"), (name, place)


def _allowed() -> Iterator[tuple[str, str, str]]:
    for place in WITH_TEAMS:
        for command, row in COMMANDS.items():
            for standing in row.may.split():
                for name in STANDING[place].get(standing, []):
                    if row.state == "offered" or name != "leader2":  # from the acceptance on leader1 has it
                        yield place, command, name


@pytest.mark.parametrize(("place", "command", "name"), list(_allowed()))
def test_a_command_of_who_may_give_it_is_carried_out(
    system: System, steps: Steps, place: str, command: str, name: str
) -> None:
    (who,), (staff,), leader = STANDING[place]["requester"], STANDING[place]["holder"], STANDING[place]["leader"][0]
    row = COMMANDS[command]
    order = steps.reach(row.state, who, leader, staff)
    body = body_of(row, name, place, order, system)
    if "records" in body:
        body["records"] = [system.segment(MEMBERS[leader][0], 1)]
    if command == "photos":
        response = send_photo(system.person(name), order, PHOTO)
    else:
        response = system.person(name).post(f"/v1/orders/{order['id']}/{command}", body)
    if command in ("offer", "no-show"):  # allowed, but everybody was asked already, and no visit was agreed on
        assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (409, "conflict")
    else:
        assert response.status_code == (201 if command in ("reopen", "complain", "photos") else 200), response.text


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


@pytest.mark.parametrize("path", ["/v1/volunteers/{}", "/v1/volunteers/{}/hours", "/v1/accounts/{}"])
def test_an_unknown_volunteer_looks_like_one_of_others(system: System, path: str) -> None:
    unknown = system.person("leader1").get(path.format("vol-nobody"))
    foreign = system.person("leader1").get(path.format("vol-leader-county"))
    assert (unknown.status_code, unknown.json()) == (404, foreign.json())


def test_an_unknown_order_looks_like_one_of_others(system: System, stock: Stock) -> None:
    foreign = stock.orders["another county", "offered"]["id"]
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
    path = f"/v1/hours/{records[0]['id']}/reverse"
    unknown = system.person("leader-county").post("/v1/hours/h-nothing-0/reverse", REASON)
    assert unknown.json() == system.person("leader-county").post(path, REASON).json(), "a foreign one looks unknown"
    assert _effective(steps, order, len(entitled)) == records
    for name, one in zip(entitled, records, strict=True):
        assert system.person(name).do(f"/v1/hours/{one['id']}/reverse", REASON)["state"] == "reversed"


def _effective(steps: Steps, order: dict[str, Any], count: int) -> list[dict[str, Any]] | None:
    records = steps.hours(order, "vol-volunteer1")
    return records if [record["state"] for record in records] == ["effective"] * count else None


def test_a_person_registers_as_volunteer_once_and_a_system_never(system: System) -> None:
    body = NEWCOMER
    statuses = {n: system.person(n).post("/v1/volunteers", body).status_code for n in ("municipal", "leader1")}
    assert statuses == {"municipal": 403, "leader1": 409}
    response = system.person("resident-township").post("/v1/volunteers", body)
    assert response.status_code == 201
    volunteer = response.headers["location"]
    assert system.person("resident-township").read(volunteer)["state"] == "pending"
    _only(system, volunteer, {"resident-township", "station-township", "institute-township", "center", "admin"})
    assert system.person("resident-village").post("/v1/volunteers", body).status_code == 409, "the same id number"


# -- open to everybody who is signed in ---------------------------------------------------------------


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
