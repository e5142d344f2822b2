"""What the registry's use cases load, decide and save; nothing is running."""

import base64
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.chassis.clock import now
from services.chassis.messages import Event
from services.chassis.repository import Page
from services.chassis.settings import settings
from services.contracts.activities import HoursEffective, HoursReversed, Source
from services.contracts.actor import SYSTEM, Actor, Role
from services.contracts.errors import Conflict, Forbidden, Invalid, NotFound, ServiceError, Unauthenticated
from services.contracts.imports import ImportKind
from services.contracts.points import PointsDeposited, PointsReversed
from services.contracts.registry import (
    AgeBand,
    Category,
    ItemPublished,
    OpenSite,
    PublishItem,
    ResidentRegistered,
    SiteOpened,
    TargetGroup,
    TeamFormed,
    VolunteerRegistered,
)
from services.registry.importing import CHANGED, HAS_ACCOUNTS, HAS_PEOPLE, HAS_SITES, KINDS, Rows
from services.registry.imports import Import, Made, State
from services.registry.repository import (
    Accounts,
    AllPreferences,
    Batches,
    Directory,
    Imports,
    Log,
    Notifications,
    RecordLog,
    Records,
    Releases,
    Residents,
    ServiceItems,
    Sites,
    Teams,
    Totals,
    Viewings,
    Volunteers,
)
from services.registry.service import RegistryService
from tests.support.rings import use_ring

STATION, INSTITUTE, CENTER, CITY = "130802103202", "130802103", "130802", "1308"
ID_NUMBERS = ("11010519491231002X", "440524188001010014", "130802198501051239", "130803196606152041")
NOBODY = Actor(id="")
TODAY = now().astimezone(ZoneInfo("Asia/Shanghai")).date().isoformat()
Answer = dict[str, Any]


class InMemory:
    """Stands where the repository's database access would; the named queries above it are the real ones."""

    def __init__(self, work: "FakeWork") -> None:
        self._work, self._known = work, dict[str, Any]()
        self._new = dict[str, Any]()

    def find(self, id: str) -> Any:
        return self._known.get(id)

    def get(self, id: str) -> Any:
        if id not in self._known:
            raise NotFound()
        return self._known[id]

    def find_many(self, ids: Any) -> dict[str, Any]:
        return {id: self._known[id] for id in ids if id in self._known}

    def read_many(self, ids: Any) -> dict[str, Any]:
        return self.find_many(ids)

    def select(self, query: Answer, sort: Any = None, limit: int = 0) -> list[Any]:
        found = [a for _, a in sorted(self._known.items()) if all(_fits(getattr(a, k), v) for k, v in query.items())]
        return found[:limit] if limit else found

    def page(self, query: Answer, limit: int, cursor: str | None, newest_first: bool = True) -> Page[Any]:
        found = [a for a in self.select(query) if cursor is None or a.id > cursor]
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    def add(self, aggregate: Any, *events: Event) -> None:
        self._new[aggregate.id] = aggregate
        self.save(aggregate, *events)

    def track_new(self, aggregate: Any) -> None:
        self._new[aggregate.id] = aggregate

    def save(self, aggregate: Any, *events: Event) -> None:
        self._known.setdefault(aggregate.id, self._new.pop(aggregate.id, None))
        self._work.saved.append(aggregate.id)
        self._work.events.extend(events)

    def count(self) -> int:
        return len(self._known)


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and "$lte" in wanted:
        return value is not None and value.isoformat() <= wanted["$lte"]
    if isinstance(wanted, dict):
        return value in wanted["$in"]
    return bool(value == wanted) or (isinstance(value, list) and wanted in value)


class FakeWork:
    until = float("inf")

    def __init__(self) -> None:
        self.saved: list[str] = []
        self.events: list[Event] = []
        named = {
            "sites": Sites,
            "teams": Teams,
            "items": ServiceItems,
            "volunteers": Volunteers,
            "residents": Residents,
            "accounts": Accounts,
            "totals": Totals,
            "releases": Releases,
            "log": Log,
            "directory": Directory,
            "viewings": Viewings,
            "imports": Imports,
            "batches": Batches,
            "records": Records,
            "record_log": RecordLog,
            "notifications": Notifications,
            "preferences": AllPreferences,
        }
        for name, repository in named.items():
            setattr(self, name, type(repository.__name__, (InMemory, repository), {})(self))

    def run(self, work: Callable[[], Any], deadline: float, idempotency: Any = None) -> Any:
        return work()

    def leads(self) -> bool:
        return True

    def commit_each(self) -> int:
        return 0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SIDAN_PROFILE", "local")
    monkeypatch.setenv("AMQP_URI", "amqp://nowhere/")
    monkeypatch.setenv("MONGO_URI", "mongodb://nowhere/")
    monkeypatch.setenv("SIDAN_DATA_KEY", base64.urlsafe_b64encode(bytes(range(32))).decode())
    use_ring(monkeypatch)
    settings.cache_clear()
    yield
    settings.cache_clear()


class City:
    """The service with a village, its town, county and city in it."""

    def __init__(self) -> None:
        self.service: Any = RegistryService()
        self.work: Any = FakeWork()
        self.service.uow = self.work
        self.open_sites()

    def open_sites(self, **changed: Any) -> None:
        tiers = ((CITY, "city", None), (CENTER, "center", CITY), (INSTITUTE, "institute", CENTER))
        sites = [
            {"code": code, "name": code, "tier": tier, "parent": parent}
            for code, tier, parent in (*tiers, (STATION, "station", INSTITUTE))
        ]
        sites[-1].update(changed)
        self.service.open_sites(SYSTEM, {"sites": sites})

    def add_volunteer(self, id: str, number: int = 0) -> None:
        command = {"id": id, "name": "苏玉兰", "site": STATION, "id_number": ID_NUMBERS[number], "phone": "13912345678"}
        self.service.add_volunteer(SYSTEM, command)

    def add_account(self, id: str, *roles: Role, **changed: Any) -> Actor:
        command = {"id": id, "username": id, "password": "demo", "name": "张桂芝", "roles": list(roles)}
        answer = self.service.add_account(SYSTEM, {**command, "site": STATION, **changed})
        return Actor.model_validate(answer)

    def form_team(self, *members: str, site: str = STATION, kind: str = "") -> None:
        command = {"id": "team", "name": "队", "site": site, "categories": [Category.COMMUNITY], "kind": kind}
        self.service.form_team(SYSTEM, {**command, "leader_id": members[0], "member_ids": members})

    def register(self, actor: Actor, id_number: str = ID_NUMBERS[0], **changed: Any) -> Answer:
        command = {"name": "张桂芝", "id_number": id_number, "phone": "13912345678"}
        answer: Answer = self.service.register_volunteer(actor, {**command, **changed})
        return answer

    def facts(self) -> dict[str, int]:
        counted: dict[str, int] = defaultdict(int)
        for event in self.work.events:
            counted[event.fact] += 1
        return dict(counted)


@pytest.fixture
def city() -> City:
    return City()


# -- reference data -------------------------------------------------------------------------------------


def load_everything(city: City) -> None:
    city.open_sites()
    item = {"id": "sewing", "name": "缝补", "category": "社区服务", "tier": "station", "target_groups": ["elderly"]}
    city.service.publish_item(SYSTEM, {**item, "site": CITY})
    city.add_volunteer("leader")
    city.form_team("leader")
    city.add_account("leader1", Role.VOLUNTEER, volunteer="leader")
    city.add_account("resident", Role.RESIDENT)
    city.add_account("station", Role.STAFF)
    city.service.mark_loaded(SYSTEM, version="1")


def test_what_is_sent_again_saves_and_publishes_nothing(city: City) -> None:
    load_everything(city)
    published = [SiteOpened, ItemPublished, VolunteerRegistered, TeamFormed, ResidentRegistered]
    assert city.facts() == {event.fact: 4 if event is SiteOpened else 1 for event in published}
    city.work.saved.clear()
    load_everything(city)
    assert city.work.saved == []


def test_what_changed_in_the_reference_data_is_brought_in_and_told(city: City) -> None:
    city.open_sites(auto_offer=False)
    assert city.facts() == {"site.opened": 5}
    assert city.work.events[-1].auto_offer is False
    assert city.service.site(NOBODY, code=STATION)["auto_offer"] is False


def test_readiness_counts_what_is_in(city: City) -> None:
    assert city.service.readiness(NOBODY)["loaded"] is False
    load_everything(city)
    counts = {"sites": 4, "teams": 1, "items": 1, "accounts": 3, "residents": 1}
    assert city.service.readiness(NOBODY) == {**counts, "loaded": True, "version": "1"}


@pytest.mark.parametrize("actor", [NOBODY, Actor(id="municipal", roles=frozenset({Role.SYSTEM}))])
def test_only_admin_and_the_system_load(city: City, actor: Actor) -> None:
    with pytest.raises(Forbidden):
        city.service.mark_loaded(actor, version="1")
    with pytest.raises(Forbidden):
        city.service.open_sites(actor, {"sites": []})


def test_a_username_belongs_to_one_account_of_a_kind(city: City) -> None:
    city.add_account("a", username="name")
    city.add_account("b", username="name", kind="client")
    with pytest.raises(Conflict):
        city.add_account("c", username="name")


def test_a_changed_password_replaces_the_old_one(city: City) -> None:
    city.add_account("a")
    city.add_account("a", password="other")
    with pytest.raises(Unauthenticated):
        sign_in(city, "a", "demo")
    assert sign_in(city, "a", "other")["id"] == "a"


# -- who is asking --------------------------------------------------------------------------------------


def sign_in(city: City, username: str, password: str = "demo", kind: str = "person") -> Answer:
    answer: Answer = city.service.authenticate(NOBODY, {"username": username, "password": password, "kind": kind})
    return answer


def test_who_knows_the_password_is_told_who_they_are(city: City) -> None:
    city.add_account("resident", Role.RESIDENT)
    told = sign_in(city, "resident")
    stamp = told.pop("stamp")
    assert told == {"id": "resident", "name": "张桂芝", "roles": ["resident"], "site": STATION, "volunteer": None}
    assert city.service.standing(Actor(id="resident"), stamp=stamp) == told


def test_a_stamp_is_good_for_one_password_of_an_active_account(city: City) -> None:
    who = city.add_account("resident", Role.RESIDENT)
    stamp = sign_in(city, "resident")["stamp"]
    city.add_account("resident", Role.STAFF)
    assert city.service.standing(who, stamp=stamp)["roles"] == ["staff"], "as it is now"
    for changed in ({"active": False}, {"password": "another"}):
        city.add_account("resident", **changed)
        with pytest.raises(Unauthenticated):
            city.service.standing(who, stamp=stamp)
        city.add_account("resident")
    with pytest.raises(Unauthenticated):
        city.service.standing(who, stamp="another")
    with pytest.raises(Unauthenticated):
        city.service.standing(Actor(id="nobody"), stamp=stamp)


def test_a_suspended_account_looks_unknown(city: City) -> None:
    city.add_account("resident", Role.RESIDENT, active=False)
    with pytest.raises(Unauthenticated):
        sign_in(city, "resident")


def test_a_wrong_password_and_an_unknown_name_look_the_same(city: City) -> None:
    city.add_account("resident", Role.RESIDENT)
    city.add_account("municipal", Role.SYSTEM, kind="client")
    told = set()
    for username, password, kind in (
        ("resident", "wrong", "person"),
        ("nobody", "demo", "person"),
        ("resident", "demo", "client"),
        ("municipal", "demo", "person"),
        ("nobody", "nobody has this password", "person"),
    ):
        with pytest.raises(Unauthenticated) as refused:
            sign_in(city, username, password, kind)
        told.add(refused.value.detail)
    assert len(told) == 1


def test_the_password_is_kept_as_a_hash_only(city: City) -> None:
    city.add_account("resident", Role.RESIDENT)
    assert city.work.accounts.get("resident").password_hash.startswith("$argon2id$")


def test_me_names_the_teams_and_the_part_in_them(city: City) -> None:
    for number, id in enumerate(("leader", "mate")):
        city.add_volunteer(id, number)
    city.form_team("leader", "mate")
    team = {"id": "team", "name": "队", "site": STATION, "state": "active", "members": ["leader", "mate"]}
    for id, role in (("leader", "leader"), ("mate", "member")):
        actor = city.add_account("acc-" + id, Role.VOLUNTEER, volunteer=id)
        assert city.service.me(actor)["teams"] == [{**team, "role": role}]


def test_me_of_an_identity_from_elsewhere_is_the_token(city: City) -> None:
    outside = Actor(id="oidc-1", name="外", roles=frozenset({Role.RESIDENT}), site=STATION)
    expected = {"id": "oidc-1", "name": "外", "roles": ["resident"], "site": STATION, "volunteer": None, "teams": []}
    assert city.service.me(outside) == expected


# -- places ---------------------------------------------------------------------------------------------


def test_a_site_shows_staffing_and_teams(city: City) -> None:
    city.add_volunteer("leader")
    city.form_team("leader")
    staff = city.add_account("station", Role.STAFF)
    seen = city.service.site(staff, code=STATION)
    assert seen["path"] == [STATION, INSTITUTE, CENTER, CITY]
    assert seen["staffing"] == {
        "posts": [{"title": "联络员", "person": "station"}],
        "rule": {"title": "联络员", "min": 1, "max": 2},
        "filled": 1,
        "met": True,
    }
    assert [(team["id"], team["members"]) for team in seen["teams"]] == [("team", 1)]
    assert "person" not in city.service.site(NOBODY, code=STATION)["staffing"]["posts"][0]


def test_a_site_shows_which_standing_teams_it_lacks(city: City) -> None:
    city.add_volunteer("leader")
    city.form_team("leader", site=CENTER, kind="文化文艺服务")
    staff = city.add_account("center", Role.STAFF, site=CENTER)
    wanted = city.service.site(NOBODY, code=CENTER)["teams_wanted"]
    assert (wanted["rule"]["title"], wanted["met"]) == ("10+N", False)
    assert wanted["there"] == [{"kind": "文化文艺服务", "teams": ["team"]}]
    assert (wanted["missing"], wanted["to_choose"]) == (["理论政策宣讲", "助学支教"], 7)
    city.service.suspend_team(staff, team_id="team", command={"reason": "x"})
    assert city.service.site(NOBODY, code=CENTER)["teams_wanted"]["there"] == []
    assert city.service.site(NOBODY, code=INSTITUTE)["teams_wanted"]["to_choose"] == 3
    assert city.service.site(NOBODY, code=STATION)["teams_wanted"] is None


def test_an_unknown_site_is_not_found(city: City) -> None:
    with pytest.raises(NotFound):
        city.service.site(NOBODY, code="999999")


def test_sites_are_listed_by_parent_and_tier_without_places_that_have_no_post(city: City) -> None:
    place = {"code": "130802103999", "name": "x", "tier": "station", "parent": INSTITUTE, "has_post": False}
    city.service.open_sites(SYSTEM, {"sites": [place]})
    listed = city.service.sites(NOBODY, parent=INSTITUTE, tier="station")
    assert [site["code"] for site in listed["items"]] == [STATION]
    first = city.service.sites(NOBODY, limit=2)
    rest = city.service.sites(NOBODY, limit=2, cursor=first["next"])
    assert [s["code"] for s in first["items"] + rest["items"]] == sorted([CITY, CENTER, INSTITUTE, STATION])
    assert rest["next"] is None


def test_an_item_may_be_ordered_where_it_is_published_and_below(city: City) -> None:
    for id, site in (("of-city", CITY), ("of-town", INSTITUTE)):
        item = {"id": id, "name": id, "category": "社区服务", "tier": "station", "target_groups": list(TargetGroup)}
        city.service.publish_item(SYSTEM, {**item, "site": site})
    resident = city.add_account("resident", Role.RESIDENT)
    assert [i["id"] for i in city.service.service_items(resident)["items"]] == ["of-city", "of-town"]
    assert [i["id"] for i in city.service.service_items(resident, site=CENTER)["items"]] == ["of-city"]


# -- volunteers -----------------------------------------------------------------------------------------


def test_a_resident_registers_as_a_volunteer(city: City) -> None:
    resident = city.add_account("resident", Role.RESIDENT)
    seen = city.register(resident, "１１０１０５１９４９１２３１００２x", categories=["社区服务"])
    me = city.service.me(resident)
    assert (me["volunteer"], me["roles"]) == (seen["id"], ["resident", "volunteer"])
    assert seen == {
        "id": seen["id"],
        "name": "张桂芝",
        "site": STATION,
        "state": "pending",
        "star": 0,
        "hours": 0.0,
        "points": 0,
        "categories": ["社区服务"],
        "suspended": False,
        "erased": False,
        "age_band": "over_70",
        "skills": [],
        "qualifications": [],
        "insured_until": None,
        "availability": [],
        "absences": [],
        "suspension_reason": None,
        "real_name_reason": None,
        "consents": [{"purpose": "registration", "version": "1", "since": TODAY, "guardian_consent": False}],
        "id_number": "110105*********02X",
    }
    assert city.facts()["volunteer.registered"] == 1


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"id_number": "110105194912310020"}, Invalid),
        ({"phone": "12345"}, Invalid),
        ({"site": "999999"}, Invalid),
        ({"id_number": "130802201302020020", "guardian_consent": False}, Invalid),
        ({"birth": "1949"}, Invalid),
        ({"consent_version": "13912345678"}, Invalid),
    ],
)
def test_a_wrong_registration_saves_nothing(city: City, changed: Answer, error: type[ServiceError]) -> None:
    resident = city.add_account("resident", Role.RESIDENT)
    city.work.saved.clear()
    with pytest.raises(error):
        city.register(resident, **changed)
    assert city.work.saved == []


def test_the_same_person_registers_once(city: City) -> None:
    city.register(city.add_account("resident", Role.RESIDENT))
    with pytest.raises(Conflict, match="身份证号已经登记"):
        city.register(city.add_account("resident2", Role.RESIDENT))
    with pytest.raises(Conflict):
        city.add_volunteer("again")


def test_only_a_person_with_an_account_registers(city: City) -> None:
    client = city.add_account("municipal", Role.SYSTEM, kind="client")
    for actor in (NOBODY, client):
        with pytest.raises(Forbidden):
            city.register(actor)


def test_each_viewer_reads_what_is_due_to_them(city: City) -> None:
    for number, id in enumerate(("leader", "mate", "stranger")):
        city.add_volunteer(id, number)
    city.form_team("leader", "mate")
    actors = {id: city.add_account("acc-" + id, Role.VOLUNTEER, volunteer=id) for id in ("leader", "mate", "stranger")}
    actors["staff"] = city.add_account("center", Role.STAFF, site=CENTER)

    def read(viewer: str) -> tuple[str, str | None]:
        seen = city.service.volunteer(actors[viewer], volunteer_id="mate")
        return seen["name"], seen["id_number"]

    assert read("mate") == read("staff") == ("苏玉兰", "440524*********014")
    assert read("leader") == ("苏玉兰", None)
    assert city.service.volunteer(actors["mate"], volunteer_id="leader")["name"] == "苏**"
    with pytest.raises(NotFound):
        read("stranger")
    with pytest.raises(NotFound):
        city.service.volunteer(actors["staff"], volunteer_id="nobody")


def test_staff_looks_up_by_a_whole_number_whoever_is_of_its_place(city: City) -> None:
    village = {"code": "130802103201", "name": "x", "tier": "station", "parent": INSTITUTE}
    city.service.open_sites(SYSTEM, {"sites": [village]})
    one, other = (city.add_account(id, Role.RESIDENT) for id in ("resident", "resident2"))
    ids = [city.register(one)["id"], city.register(other, ID_NUMBERS[1], phone="139-1234-5678")["id"]]
    staff, beside = city.add_account("station", Role.STAFF), city.add_account("x", Role.STAFF, site="130802103201")

    def found(who: Actor, **number: str) -> list[str]:
        return [seen["id"] for seen in city.service.look_up_volunteers(who, command=number)["items"]]

    assert found(staff, id_number="１１０１０５１９４９１２３１００２x") == ids[:1]
    assert sorted(found(staff, phone="139 1234 5678")) == sorted(ids)
    assert found(staff, phone="13912345679") == found(staff, id_number=ID_NUMBERS[2]) == []
    assert found(beside, phone="13912345678") == found(beside, id_number=ID_NUMBERS[0]) == []
    with pytest.raises(Forbidden):
        found(one, phone="13912345678")
    city.service.erase_volunteer(one, volunteer_id=ids[0], command={})
    assert (found(staff, id_number=ID_NUMBERS[0]), found(staff, phone="13912345678")) == ([], ids[1:])


@pytest.mark.parametrize(
    ("numbers", "path"),
    [
        ({}, "id_number"), ({"id_number": ID_NUMBERS[0], "phone": "13912345678"}, "id_number"),
        ({"id_number": "110105194912310020"}, "id_number"), ({"phone": "12912345678"}, "phone"),
        ({"name": "张"}, "name"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_not_looked_up(city: City, numbers: Answer, path: str) -> None:
    staff = city.add_account("station", Role.STAFF)
    with pytest.raises(Invalid) as refused:
        city.service.look_up_volunteers(staff, command=numbers)
    assert [field["path"] for field in refused.value.extra["fields"]] == [path]


# -- what decides whom to send --------------------------------------------------------------------------


def a_team(city: City) -> dict[str, Actor]:
    """``mate`` and who has to do with them."""
    for number, id in enumerate(("leader", "mate", "third", "stranger")):
        city.add_volunteer(id, number)
    city.form_team("leader", "mate", "third")
    ids = ("leader", "mate", "third", "stranger")
    actors = {id: city.add_account("acc-" + id, Role.VOLUNTEER, volunteer=id) for id in ids}
    actors["staff"] = city.add_account("center", Role.STAFF, site=CENTER)
    actors["elsewhere"] = city.add_account("elsewhere", Role.STAFF, site="130802")
    city.work.events.clear()
    city.work.saved.clear()
    return actors


CHANGES: dict[str, tuple[Answer, set[str], Answer]] = {
    "update_profile": ({"skills": ["理发"]}, {"mate", "staff"}, {"skills": ["理发"]}),
    "grant_qualification": (
        {"kind": "急救员", "until": "2099-12-31"}, {"staff"},
        {"qualifications": [{"kind": "急救员", "until": "2099-12-31"}]},
    ),
    "insure_volunteer": ({"until": "2099-12-31"}, {"staff"}, {"insured_until": "2099-12-31"}),
    "report_absence": ({"from": "2099-01-01", "to": "2099-01-31"}, {"mate", "staff", "leader"}, {}),
    "suspend_volunteer": ({"reason": "没有到场"}, {"staff"}, {"suspended": True, "suspension_reason": "没有到场"}),
    "give_consent": ({"purpose": "publication", "version": "1"}, {"mate"}, {}),
    "check_real_name": (
        {"result": "failed", "reason": "不符"}, {"staff"}, {"state": "failed", "real_name_reason": "不符"},
    ),
}  # fmt: skip
"""What is sent, who may, and what staff sees of it then."""


@pytest.mark.parametrize("method", CHANGES)
def test_a_change_is_told_once_and_kept_in_the_log(city: City, method: str) -> None:
    body, entitled, seen = CHANGES[method]
    actors = a_team(city)
    (who, *_) = sorted(entitled)
    answer = getattr(city.service, method)(actors[who], volunteer_id="mate", command=body)
    assert city.facts() == {"volunteer.updated": 1}
    shown = city.service.volunteer(actors["staff"], volunteer_id="mate")
    assert {key: shown[key] for key in seen} == seen
    assert answer["id"] == "mate"
    (line,) = city.service.volunteer_log(actors["mate"], volunteer_id="mate")["items"]
    assert line["by"] == actors[who].id and line["what"] and line["at"]


@pytest.mark.parametrize("method", CHANGES)
def test_who_may_not_change_a_volunteer_is_refused(city: City, method: str) -> None:
    body, entitled, _ = CHANGES[method]
    actors = a_team(city)
    actors["municipal"] = city.add_account("municipal", Role.SYSTEM, kind="client", site=CITY)
    actors["station"] = city.add_account("of-the-city", Role.RESIDENT, site=CITY)
    city.work.saved.clear()
    change = getattr(city.service, method)
    for who in {"leader", "mate", "third", "staff"} - entitled:
        with pytest.raises(Forbidden):
            change(actors[who], volunteer_id="mate", command=body)
    for who in ("stranger", "municipal", "station"):
        with pytest.raises(NotFound):
            change(actors[who], volunteer_id="mate", command=body)
    with pytest.raises(NotFound):
        change(actors["staff"], volunteer_id="nobody", command=body)
    assert city.work.saved == []


def test_what_changes_nothing_is_neither_saved_nor_told(city: City) -> None:
    actors = a_team(city)
    for method in ("update_profile", "grant_qualification", "insure_volunteer", "check_real_name"):
        for _ in range(2):
            getattr(city.service, method)(actors["staff"], volunteer_id="mate", command=CHANGES[method][0])
    assert city.facts() == {"volunteer.updated": 4}
    assert len(city.service.volunteer_log(actors["staff"], volunteer_id="mate")["items"]) == 4


def test_an_absence_is_reported_by_the_leader_and_withdrawn_by_oneself(city: City) -> None:
    actors = a_team(city)
    body = {"from": "2099-01-01", "to": "2099-01-31", "stand_in": "third"}
    (absence,) = city.service.report_absence(actors["leader"], volunteer_id="mate", command=body)["absences"]
    assert {**body, "id": absence["id"]} == absence
    assert [a.start.year for a in city.work.events[-1].absences] == [2099]
    target = {"volunteer_id": "mate", "absence_id": absence["id"]}
    for who, error in (("third", Forbidden), ("stranger", NotFound)):
        with pytest.raises(error):
            city.service.withdraw_absence(actors[who], **target, command={})
    assert city.service.withdraw_absence(actors["mate"], **target, command={})["absences"] == []
    assert city.work.events[-1].absences == []
    with pytest.raises(NotFound):
        city.service.withdraw_absence(actors["mate"], **target, command={})
    log = city.service.volunteer_log(actors["mate"], volunteer_id="mate")["items"]
    assert [(line["what"], line["note"]) for line in log] == [
        ("absence", "2099-01-01～2099-01-31"), ("absence_withdrawn", "2099-01-01～2099-01-31"),
    ]  # fmt: skip


def test_each_consent_has_its_line_in_the_log(city: City) -> None:
    resident = city.add_account("resident", Role.RESIDENT)
    id = city.register(resident, consent_version="3")["id"]
    for version in ("1", "1", "2"):
        city.service.give_consent(resident, volunteer_id=id, command={"purpose": "publication", "version": version})
    staff = city.add_account("center", Role.STAFF, site=CENTER)
    for _ in range(2):
        seen = city.service.withdraw_consent(staff, volunteer_id=id, command={"purpose": "publication"})
    assert [consent["purpose"] for consent in seen["consents"]] == ["registration"]
    told = [event.consents for event in city.work.events if event.fact.startswith("volunteer.")]
    assert told == [["registration"], *[["registration", "publication"]] * 2, ["registration"]]
    log = city.service.volunteer_log(resident, volunteer_id=id)["items"]
    assert [(line["what"], line["note"], line["by"]) for line in log] == [
        ("consent", "登记为志愿者，第 3 版", "resident"), ("consent", "公开姓名，第 1 版", "resident"),
        ("consent", "公开姓名，第 2 版", "resident"), ("consent_withdrawn", "公开姓名", "center"),
    ]  # fmt: skip


def test_a_suspension_is_lifted_with_a_reason(city: City) -> None:
    actors = a_team(city)
    city.service.suspend_volunteer(actors["staff"], volunteer_id="mate", command={"reason": "没有到场"})
    seen = city.service.resume_volunteer(actors["staff"], volunteer_id="mate", command={"reason": "谈过了"})
    assert (seen["suspended"], seen["suspension_reason"]) == (False, None)
    assert [event.suspended for event in city.work.events] == [True, False]


def test_a_leader_reads_abilities_without_reasons_and_a_mate_neither(city: City) -> None:
    actors = a_team(city)
    for method in ("update_profile", "suspend_volunteer"):
        getattr(city.service, method)(actors["staff"], volunteer_id="mate", command=CHANGES[method][0])

    def read(viewer: str) -> tuple[Any, ...]:
        seen = city.service.volunteer(actors[viewer], volunteer_id="mate")
        return seen["suspended"], seen["skills"], seen["age_band"], seen["suspension_reason"]

    assert read("staff") == read("mate") == (True, ["理发"], "over_70", "没有到场")
    assert read("leader") == (*read("staff")[:3], None)
    assert read("third") == (True, None, None, None)


def test_the_log_is_read_by_oneself_and_staff(city: City) -> None:
    actors = a_team(city)
    for who in ("leader", "third"):
        with pytest.raises(Forbidden):
            city.service.volunteer_log(actors[who], volunteer_id="mate")
    with pytest.raises(NotFound):
        city.service.volunteer_log(actors["stranger"], volunteer_id="mate")


def test_who_reads_of_another_in_clear_leaves_a_trace(city: City) -> None:
    actors = a_team(city)
    for viewer in ("mate", "third", "leader", "staff"):
        city.service.volunteer(actors[viewer], volunteer_id="mate")
    city.service.volunteer_log(actors["staff"], volunteer_id="mate")
    city.service.look_up_volunteers(actors["staff"], command={"phone": "13912345678"})
    city.service.update_profile(actors["staff"], volunteer_id="mate", command={})
    whole = ["name", "abilities", "file"]
    lines = city.service.volunteer_views(actors["mate"], volunteer_id="mate")["items"]
    assert [(line["by"], line["request"], line["fields"]) for line in lines] == [
        ("acc-leader", "read", ["name", "abilities"]), ("center", "read", whole), ("center", "log", ["notes"]),
        ("center", "look_up", whole), ("center", "change", whole),
    ]  # fmt: skip
    (look_up,) = (v for v in city.work.viewings.select({}) if v.request == "look_up")
    assert sorted(look_up.volunteers) == ["leader", "mate", "stranger", "third"], "one line for all"
    city.service.erase_volunteer(actors["staff"], volunteer_id="mate", command={})
    city.service.volunteer(actors["staff"], volunteer_id="mate")
    assert city.service.volunteer_views(actors["staff"], volunteer_id="mate")["items"] == lines


def test_what_others_have_seen_is_read_by_oneself_and_staff(city: City) -> None:
    actors = a_team(city)
    for who, error in (("leader", Forbidden), ("third", Forbidden), ("stranger", NotFound)):
        with pytest.raises(error):
            city.service.volunteer_views(actors[who], volunteer_id="mate")


def test_staff_that_finds_itself_has_seen_nobody_else(city: City) -> None:
    a_team(city)
    staff = city.add_account("of-the-center", Role.STAFF, Role.VOLUNTEER, volunteer="mate", site=CENTER)
    city.service.look_up_volunteers(staff, command={"id_number": ID_NUMBERS[1]})
    city.service.look_up_volunteers(staff, command={"id_number": ID_NUMBERS[3], "phone": None})
    assert [viewing.volunteers for viewing in city.work.viewings.select({})] == [["stranger"]]


def test_the_clock_tells_of_a_birthday_once(city: City) -> None:
    a_team(city)
    third, leader = city.work.volunteers.get("third"), city.work.volunteers.get("leader")
    third.age_band = AgeBand.UNDER_18  # as it was told before the birthday
    third.band_ends_on = leader.band_ends_on = date(2020, 1, 1)
    for _ in range(2):
        RegistryService.follow_ages(city.service)
    assert city.facts() == {"volunteer.updated": 1}
    assert sorted(city.work.saved) == ["leader", "third"]
    assert third.age_band is AgeBand.ADULT and third.band_ends_on > date(2020, 1, 1)


def test_only_the_replica_that_leads_follows_ages(city: City) -> None:
    a_team(city)
    city.work.volunteers.get("mate").band_ends_on = date(2020, 1, 1)
    city.work.leads = lambda: False
    assert RegistryService.follow_ages(city.service) == 0
    assert city.work.saved == []


def test_a_skill_at_registration_is_a_term(city: City) -> None:
    resident = city.add_account("resident", Role.RESIDENT)
    city.work.saved.clear()
    with pytest.raises(Invalid) as refused:
        city.register(resident, skills=["理发", "电话13912345678"])
    assert [field["path"] for field in refused.value.extra["fields"]] == ["skills.1"]
    assert city.work.saved == []
    city.register(resident, skills=["理发"])
    assert city.work.events[-1].skills == ["理发"]


# -- teams ----------------------------------------------------------------------------------------------


def propose(city: City, actor: Actor, **changed: Any) -> str:
    wish = {"name": "护河队", "categories": ["环境保护"]}
    answer = city.service.propose_team(actor, command={**wish, **changed})
    assert (answer["state"], answer["membership"], answer["leader"]) == ("proposed", "joined", actor.volunteer)
    return str(answer["id"])


def told_of_teams(city: City) -> list[tuple[str, bool, list[str]]]:
    return [(event.fact, event.active, event.member_ids) for event in city.work.events]


def test_a_proposed_team_serves_when_staff_has_approved_it_and_somebody_has_joined(city: City) -> None:
    actors = a_team(city)
    id = propose(city, actors["stranger"])
    for who in ("leader", "third"):
        with pytest.raises(NotFound):
            city.service.team(actors[who], team_id=id)
    with pytest.raises(Forbidden):
        city.service.approve_team(actors["stranger"], team_id=id, command={})
    assert city.service.approve_team(actors["staff"], team_id=id, command={})["active"]
    assert city.service.join_team(actors["mate"], team_id=id, command={})["membership"] == "applied"
    city.service.admit_member(actors["stranger"], team_id=id, command={"volunteer": "mate"})
    city.service.invite_member(actors["stranger"], team_id=id, command={"volunteer": "third"})
    assert city.service.join_team(actors["third"], team_id=id, command={})["membership"] == "joined"
    city.service.hand_over_team(actors["stranger"], team_id=id, command={"volunteer": "mate"})
    left = city.service.leave_team(actors["stranger"], team_id=id, command={})
    assert (left["membership"], left["member_ids"], left["members"]) == ("left", None, 2)
    assert told_of_teams(city) == [
        ("team.formed", False, ["stranger"]), ("team.updated", True, ["stranger"]),
        ("team.updated", True, ["stranger", "mate"]), ("team.updated", True, ["stranger", "mate", "third"]),
        ("team.updated", True, ["stranger", "mate", "third"]), ("team.updated", True, ["mate", "third"]),
    ]  # fmt: skip
    assert city.work.events[-1].leader_id == "mate"
    assert [team["id"] for team in city.service.me(actors["mate"])["teams"]] == sorted([id, "team"])


def test_one_team_at_a_time_waits_for_approval(city: City) -> None:
    actors = a_team(city)
    id = propose(city, actors["mate"])
    with pytest.raises(Conflict, match="审批"):
        propose(city, actors["mate"])
    city.service.approve_team(actors["staff"], team_id=id, command={})
    assert propose(city, actors["mate"]) != id


def test_a_refused_team_is_gone_and_its_leader_reads_why(city: City) -> None:
    actors = a_team(city)
    id = propose(city, actors["stranger"])
    city.service.refuse_team(actors["staff"], team_id=id, command={"reason": "已有同类队伍"})
    assert city.service.team(actors["stranger"], team_id=id)["reason"] == "已有同类队伍"
    assert city.service.me(actors["stranger"])["teams"] == []
    assert [team["id"] for team in city.service.site(NOBODY, code=STATION)["teams"]] == ["team"]


DECISIONS = {
    "suspend_team": {"reason": "队长外出"}, "resume_team": {"reason": "x"}, "dissolve_team": {"reason": "并入别队"},
    "invite_member": {"volunteer": "stranger"}, "admit_member": {"volunteer": "stranger"},
    "remove_member": {"volunteer": "mate"}, "hand_over_team": {"volunteer": "mate"},
    "approve_team": {}, "refuse_team": {"reason": "x"},
}  # fmt: skip


@pytest.mark.parametrize("method", DECISIONS)
def test_members_and_others_do_not_rule_a_team(city: City, method: str) -> None:
    actors = a_team(city)
    for who in ("mate", "stranger"):
        with pytest.raises(Forbidden):
            getattr(city.service, method)(actors[who], team_id="team", command=DECISIONS[method])
    if method in ("suspend_team", "resume_team", "approve_team", "refuse_team"):
        with pytest.raises(Forbidden):
            getattr(city.service, method)(actors["leader"], team_id="team", command=DECISIONS[method])
    with pytest.raises(NotFound):
        getattr(city.service, method)(actors["staff"], team_id="none", command=DECISIONS[method])
    assert city.work.saved == []


def test_a_team_is_suspended_resumed_and_dissolved(city: City) -> None:
    actors = a_team(city)
    for method in ("suspend_team", "resume_team", "dissolve_team"):
        getattr(city.service, method)(actors["staff"], team_id="team", command=DECISIONS[method])
    assert [active for _, active, _ in told_of_teams(city)] == [False, True, False]
    seen = city.service.team(actors["leader"], team_id="team")
    assert (seen["state"], seen["reason"], seen["decided_by"]) == ("dissolved", "并入别队", "center")
    assert city.service.team(actors["mate"], team_id="team")["reason"] is None
    with pytest.raises(NotFound):
        city.service.volunteer(actors["leader"], volunteer_id="mate")


def test_who_is_suspended_comes_into_no_team(city: City) -> None:
    actors = a_team(city)
    city.service.suspend_volunteer(actors["staff"], volunteer_id="stranger", command={"reason": "x"})
    with pytest.raises(Conflict):
        propose(city, actors["stranger"])
    with pytest.raises(Conflict):
        city.service.join_team(actors["stranger"], team_id="team", command={})
    with pytest.raises(Conflict):
        city.service.invite_member(actors["leader"], team_id="team", command={"volunteer": "stranger"})
    with pytest.raises(Invalid):
        city.service.invite_member(actors["leader"], team_id="team", command={"volunteer": "nobody"})


def test_only_volunteers_form_and_join_teams(city: City) -> None:
    actors = a_team(city)
    with pytest.raises(Forbidden):
        city.service.propose_team(actors["staff"], command={"name": "队", "categories": ["环境保护"]})
    for method in ("join_team", "leave_team"):
        with pytest.raises(Forbidden):
            getattr(city.service, method)(actors["staff"], team_id="team", command={})
    with pytest.raises(Invalid):
        propose(city, actors["stranger"], site="999999")


# -- erasure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["mate", "staff"])
def test_who_is_erased_is_in_no_team_and_may_begin_anew(city: City, who: str) -> None:
    actors = a_team(city)
    city.service.suspend_volunteer(actors["staff"], volunteer_id="mate", command={"reason": "苏玉兰没有到场"})
    city.service.update_profile(actors["mate"], volunteer_id="mate", command={"skills": ["理发"]})
    seen = city.service.erase_volunteer(actors[who], volunteer_id="mate", command={})
    assert (seen["erased"], seen["name"], seen["skills"], seen["suspended"]) == (True, "已注销", [], True)
    assert [event.fact for event in city.work.events[-2:]] == ["volunteer.updated", "team.updated"]
    assert city.work.events[-1].member_ids == ["leader", "third"]
    me = city.service.me(actors["mate"])
    assert (me["volunteer"], me["roles"], me["teams"]) == (None, [], [])
    log = city.service.volunteer_log(actors["staff"], volunteer_id="mate")["items"]
    assert [(line["what"], line["by"]) for line in log] == [
        ("suspended", "center"), ("profile", "mate"), ("erased", "mate" if who == "mate" else "center"),
    ]  # fmt: skip
    assert not any(line["note"] for line in log)
    with pytest.raises(Conflict):
        city.service.resume_volunteer(actors["staff"], volunteer_id="mate", command={"reason": "x"})
    with pytest.raises(Conflict):
        city.service.erase_volunteer(actors["staff"], volunteer_id="mate", command={})
    again = city.register(Actor(id="acc-mate"), ID_NUMBERS[1])
    assert again["id"] != "mate" and again["erased"] is False
    with pytest.raises(NotFound):
        city.service.volunteer(Actor(id="acc-mate", volunteer=again["id"]), volunteer_id="mate")


def test_only_oneself_and_staff_erase_and_a_leader_hands_over_first(city: City) -> None:
    actors = a_team(city)
    for who, error in (("leader", Forbidden), ("third", Forbidden), ("stranger", NotFound)):
        with pytest.raises(error):
            city.service.erase_volunteer(actors[who], volunteer_id="mate", command={})
    with pytest.raises(Conflict, match="队伍"):
        city.service.erase_volunteer(actors["leader"], volunteer_id="leader", command={})
    assert city.work.saved == []


# -- totals ---------------------------------------------------------------------------------------------

SOURCE = Source(type="order", id="o")


def handle(city: City, name: str, event: Event, sequence: int = 1) -> None:
    city.service.uow.sequence = sequence
    getattr(RegistryService, name).__wrapped__(city.service, event)


def hours_effective(volunteer: str, hours: float) -> HoursEffective:
    return HoursEffective(
        site=STATION, record_id="r", volunteer_id=volunteer, hours=hours, source=SOURCE, category=Category.COMMUNITY
    )


def hours_reversed(volunteer: str, hours: float, was_effective: bool) -> HoursReversed:
    return HoursReversed(
        site=STATION, record_id="r", volunteer_id=volunteer, hours=hours, source=SOURCE, was_effective=was_effective
    )


def test_totals_follow_hours_and_points(city: City) -> None:
    city.add_volunteer("v")
    staff = city.add_account("station", Role.STAFF)
    handle(city, "add_hours", hours_effective("v", 99.99))
    handle(city, "add_hours", hours_effective("v", 0.01))
    assert city.service.volunteer(staff, volunteer_id="v")["star"] == 1
    handle(city, "take_back_hours", hours_reversed("v", 0.01, was_effective=True))
    handle(city, "take_back_hours", hours_reversed("v", 5, was_effective=False))
    about = {"site": STATION, "account_id": "v", "entry_id": "e", "source": SOURCE}
    handle(city, "follow_reversal", PointsReversed(amount=-10, balance=990, **about), sequence=2)
    handle(city, "follow_deposit", PointsDeposited(amount=1000, balance=1000, **about), sequence=1)
    seen = city.service.volunteer(staff, volunteer_id="v")
    assert (seen["hours"], seen["points"], seen["star"]) == (99.99, 990, 0)


def test_facts_that_come_before_their_volunteer_count(city: City) -> None:
    handle(city, "add_hours", hours_effective("v", 2))
    city.add_volunteer("v")
    staff = city.add_account("station", Role.STAFF)
    assert city.service.volunteer(staff, volunteer_id="v")["hours"] == 2


# -- plain records: their rules are in test_records -------------------------------------------------------

VENUE = {"name": "议事厅", "type": "meeting_hall", "capacity": 40}
BOOKING = {"from": "2026-10-05T09:00:00+08:00", "to": "2026-10-05T10:00:00+08:00", "purpose": "书画班"}


def add(city: City, staff: Actor, kind: str, **fields: Any) -> str:
    answer = city.service.add_record(staff, {"fields": fields}, kind=kind)
    id: str = answer["id"]
    return id


def test_a_part_is_written_with_its_whole_and_each_with_its_history(city: City) -> None:
    staff = city.add_account("station", Role.STAFF)
    venue = add(city, staff, "venues", **VENUE)
    city.work.saved.clear()
    booking = add(city, staff, "bookings", venue=venue, **BOOKING)
    assert city.work.saved[0] == booking and city.work.saved[-1] == venue and len(city.work.saved) == 3
    with pytest.raises(Conflict, match="09:00—10:00"):
        add(city, staff, "bookings", venue=venue, **BOOKING)
    city.service.retire_record(staff, {"reason": "不用了"}, kind="bookings", record_id=booking)
    add(city, staff, "bookings", venue=venue, **BOOKING)
    assert city.facts() | {"site.opened": 0} == {"site.opened": 0, "record.added": 3, "record.retired": 1}
    log = city.service.record_log(staff, kind="bookings", record_id=booking)["items"]
    assert [(entry["what"], entry["by"]) for entry in log] == [("added", "station"), ("retired", "station")]


def test_a_change_that_changes_nothing_is_not_written(city: City) -> None:
    staff = city.add_account("station", Role.STAFF)
    venue = add(city, staff, "venues", **VENUE)
    city.work.saved.clear()
    for fields, saved in (({"capacity": 40}, 0), ({"capacity": 41}, 2)):
        city.service.change_record(staff, {"fields": fields}, kind="venues", record_id=venue)
        assert len(city.work.saved) == saved
    with pytest.raises(Conflict, match="已经登记过"):
        add(city, staff, "venues", **VENUE)


def test_who_may_not_keep_records_of_a_place_adds_none(city: City) -> None:
    resident = city.add_account("resident", Role.RESIDENT)
    city.work.saved.clear()
    for kind, fields in (("venues", VENUE), ("households", {"number": "1", "members": [{"name": "张某"}]})):
        with pytest.raises(Forbidden):
            add(city, resident, kind, **fields)
    with pytest.raises(NotFound):
        add(city, resident, "secrets")
    with pytest.raises(Invalid):
        city.service.add_record(resident, {"fields": {"$ne": None}}, kind="venues")
    assert city.work.saved == []


# -- what files bring in --------------------------------------------------------------------------------

SEWING = {"id": "sewing", "name": "缝补", "category": "社区服务", "tier": "station", "target_groups": ["elderly"]}
NEW_VILLAGE = {"code": "130802103299", "name": "新村", "tier": "station", "parent": INSTITUTE}


def rows(city: City, kind: ImportKind, command: Any, place: str = CITY) -> Rows:
    """That have looked up the command."""
    of = Import("i", kind, place, "", "admin", [], 1, now(), State.RUNNING)
    found = KINDS[kind](city.work, of, city.work.sites.get(place), now().date())
    found.look_up({found.key(command): command})
    return found


def bring_in(city: City, kind: ImportKind, command: Any, place: str = CITY) -> Made:
    brought = rows(city, kind, command, place)
    made = brought.save(*brought.make("i-2", command, brought.key(command)), now())
    return Made(2, made.id, made.version)


def take_back(city: City, kind: ImportKind, command: Any, made: Made) -> list[str]:
    """Why it was not."""
    return [wrong.message for wrong in rows(city, kind, command).take_back([made], now())]


def test_an_item_that_is_taken_back_can_be_ordered_no_more_until_it_comes_again(city: City) -> None:
    wanted, kind = PublishItem(**SEWING, site=CENTER), ImportKind.ITEMS
    admin = Actor(id="admin", roles=frozenset({Role.ADMIN}), site=STATION)
    for _ in range(2):
        made = bring_in(city, kind, wanted)
        assert [item["id"] for item in city.service.service_items(admin)["items"]] == ["sewing"]
        with pytest.raises(Invalid, match="id"):
            bring_in(city, kind, wanted)
        assert take_back(city, kind, wanted, made) == []
        assert city.service.service_items(admin)["items"] == []
    assert [event.active for event in city.work.events if isinstance(event, ItemPublished)] == [True, False] * 2


def test_an_item_that_was_changed_since_stays(city: City) -> None:
    wanted = PublishItem(**SEWING, site=CITY)
    made = bring_in(city, ImportKind.ITEMS, wanted)
    city.work.items.get("sewing").version += 1
    assert take_back(city, ImportKind.ITEMS, wanted, made) == [CHANGED]
    assert city.work.items.get("sewing").active


def test_an_item_is_published_within_the_place_of_the_import(city: City) -> None:
    with pytest.raises(Invalid, match="site"):
        bring_in(city, ImportKind.ITEMS, PublishItem(**SEWING, site=CITY), CENTER)
    with pytest.raises(Invalid, match="site"):
        bring_in(city, ImportKind.ITEMS, PublishItem(**SEWING, site="130899"))


def test_a_site_that_is_taken_back_is_a_place_without_a_post_until_it_comes_again(city: City) -> None:
    wanted, kind = OpenSite(**NEW_VILLAGE), ImportKind.SITES
    for _ in range(2):
        made = bring_in(city, kind, wanted)
        with pytest.raises(Invalid, match="code"):
            bring_in(city, kind, wanted)
        assert take_back(city, kind, wanted, made) == []
        assert [site["code"] for site in city.service.sites(SYSTEM, parent=INSTITUTE)["items"]] == [STATION]
    told = [event.has_post for event in city.work.events if isinstance(event, SiteOpened) and event.site == made.id]
    assert told == [True, False] * 2


def test_a_place_that_is_known_gets_a_post_where_it_is_and_stays_what_it_is(city: City) -> None:
    city.open_sites(has_post=False, kind="220")
    known = {"code": STATION, "name": "庄头营村", "tier": "station"}
    with pytest.raises(Invalid, match="code"):
        bring_in(city, ImportKind.SITES, OpenSite(**known, parent=CENTER))
    bring_in(city, ImportKind.SITES, OpenSite(**known, parent=INSTITUTE))
    site = city.work.sites.get(STATION)
    assert (site.has_post, site.name, site.kind) == (True, "庄头营村", "220")


@pytest.mark.parametrize("changed", [{"parent": "130899"}, {"parent": "130871"}, {"parent": STATION}, {"tier": "city"}])
def test_a_site_is_opened_below_one_that_is_there(city: City, changed: Answer) -> None:
    city.service.open_sites(SYSTEM, {"sites": [{"code": "130871", "name": "区", "tier": "center", "parent": CITY}]})
    with pytest.raises(Invalid, match="parent"):
        bring_in(city, ImportKind.SITES, OpenSite(**NEW_VILLAGE | changed), CENTER)


def test_a_site_that_somebody_belongs_to_stays_and_is_told_why(city: City) -> None:
    wanted = OpenSite(**NEW_VILLAGE | {"code": "130802199", "tier": "institute", "parent": CENTER})
    made = bring_in(city, ImportKind.SITES, wanted)
    why = partial(take_back, city, ImportKind.SITES, wanted, made)
    city.work.sites.get(made.id).version += 1
    assert why() == [CHANGED]
    city.work.sites.get(made.id).version -= 1
    below = {**NEW_VILLAGE, "parent": made.id}
    city.service.open_sites(SYSTEM, {"sites": [below]})
    assert why() == [HAS_SITES]
    city.service.open_sites(SYSTEM, {"sites": [{**below, "has_post": False}]})
    city.add_volunteer("vol")
    city.form_team("vol", site=made.id)
    assert why() == [HAS_PEOPLE]
    city.add_account("resident", Role.RESIDENT, site=made.id)
    assert why() == [HAS_ACCOUNTS]
    assert city.work.sites.get(made.id).has_post
