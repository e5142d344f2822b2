"""Plain records: the rules of each kind, and what all kinds share; nothing is running."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.contracts import records as contracts
from services.contracts.actor import Actor, Role
from services.contracts.errors import Conflict, Forbidden, Invalid, NotFound
from services.contracts.records import BODIES, RecordQuestion, RecordState, change_of, question_of, read_body
from services.contracts.registry import Tier
from services.registry.domain import Site
from services.registry.identity import credit_code
from services.registry.records import KINDS, kind_of
from services.registry.records.kind import Right
from services.registry.records.record import Record, RecordEntry, merged, naming, record_view, wanted_terms
from services.registry.records.standards import standards

PATH = ["130802103202", "130802103", "130802", "1308"]
NOW = datetime(2026, 10, 1, 2, tzinfo=UTC)
LINK = ["https://example.org/1.jpg"]


def actor(site: str, role: Role = Role.STAFF) -> Actor:
    return Actor(id=f"{role}-{site}", roles=frozenset({role}), site=site)


STATION, INSTITUTE, CENTER, CITY = map(actor, PATH)
RESIDENT = actor(PATH[0], Role.RESIDENT)


def site(n: int = 0) -> Site:
    return Site(PATH[n], "村", Tier.STATION, None, PATH[n:], "", auto_offer=True, has_post=True)


def added(kind: str, whole: Record | None = None, rivals: list[Record] | None = None, **fields: Any) -> Record:
    of_kind = kind_of(kind)
    record = Record.begin("01R", of_kind, site(), whole, STATION.id, NOW)
    record.settle(of_kind, read_body(of_kind.body, fields), whole, rivals or [])
    return record


def changed(record: Record, whole: Record | None = None, **fields: Any) -> dict[str, list[Any]]:
    of_kind = kind_of(record.kind)
    return record.settle(of_kind, merged(of_kind, record.fields, fields), whole, [])


def view(record: Record, who: Actor = STATION) -> dict[str, Any]:
    return record_view(kind_of(record.kind), record, who)


def refused(path: str, kind: str, whole: Record | None = None, **fields: Any) -> str:
    with pytest.raises(Invalid) as error:
        added(kind, whole, **fields)
    assert [field["path"] for field in error.value.extra["fields"]] == [path]
    return error.value.detail


# -- what all kinds share ---------------------------------------------------------------------------------


def test_every_kind_of_the_contract_has_its_rules_and_no_other_is_there() -> None:
    assert KINDS.keys() == BODIES.keys() and len(BODIES) == len(contracts.KINDS)
    assert all(kind.body is BODIES[name] for name, kind in KINDS.items())
    with pytest.raises(NotFound):
        kind_of("secrets")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_kind_names_fields_that_it_has_and_none_that_every_record_has(body: type[contracts.RecordBody]) -> None:
    names = {field.alias or name for name, field in body.model_fields.items()}
    assert not names & {"id", "state", "became", "created_at", "changed_at"}
    assert body.personal <= names and body.refers.keys() <= names
    assert set(body.refers.values()) <= BODIES.keys()
    assert not body.part_of or body.part_of in body.refers
    assert not set(body.filters) & (body.personal | RecordQuestion.model_fields.keys())
    assert set(question_of(body).model_fields) == {*RecordQuestion.model_fields, *body.filters}
    change = change_of(body)
    assert {f.alias or n for n, f in change.model_fields.items()} == names - {"site", body.part_of}
    assert change.model_validate({}).model_dump(exclude_unset=True) == {}


@pytest.mark.parametrize(
    ("right", "admitted"),
    [(Right.EVERYBODY, "sichr"), (Right.STAFF, "sich"), (Right.CENTER, "ch")],
)
def test_rights_go_up_the_tree(right: Right, admitted: str) -> None:
    who = {"s": STATION, "i": INSTITUTE, "c": CENTER, "h": CITY, "r": RESIDENT, "o": actor("130802102202")}
    assert {letter for letter, one in who.items() if right.admits(one, PATH)} - {"o"} == set(admitted)
    assert right.admits(who["o"], PATH) is (right is Right.EVERYBODY)
    assert Right.CENTER.admits(CENTER, PATH[2:]) and not Right.CENTER.admits(INSTITUTE, PATH[1:])


def test_who_may_only_read_is_told_so_and_who_may_not_know_is_told_nothing() -> None:
    with pytest.raises(Forbidden, match="县中心的工作人员可以登记和修改结对帮建"):
        kind_of("twinnings").must_write(STATION, PATH)
    with pytest.raises(NotFound, match="没有这个预算项目"):
        kind_of("budget-lines").must_read(RESIDENT, PATH)


def test_a_record_is_listed_in_all_places_above_it_with_what_it_is_filtered_by() -> None:
    venue = added("venues", name="活动室", type="activity_room", capacity=30)
    kind = kind_of("venues")

    def found(question: dict[str, Any], path: list[str]) -> bool:
        asked = question_of(kind.body).model_validate(question)
        return all(set(one) & set(venue.terms) for one in wanted_terms(kind, asked, path, RESIDENT))

    assert all(found({}, PATH[n:]) for n in range(4)) and not found({}, ["130802102", *PATH[2:]])
    assert found({"type": "activity_room"}, PATH[2:]) and not found({"type": "outdoors"}, PATH[2:])
    assert found({"scope": "above"}, PATH) and found({"scope": "above"}, ["130802103202", "130802"])
    assert found({"scope": "above"}, ["x", *PATH]) and not found({"scope": "above"}, PATH[1:])
    assert not found({"state": "retired"}, PATH)
    venue.retire(kind, None, STATION.id, NOW)
    assert found({"state": "retired"}, PATH) and not found({}, PATH)


def test_above_ones_place_only_what_one_may_read_is_listed() -> None:
    lines, asked = kind_of("budget-lines"), RecordQuestion.model_validate({"scope": "above"})
    assert wanted_terms(lines, asked, PATH, STATION) == [["active|at:130802103202|="]]
    assert len(wanted_terms(lines, asked, PATH, CENTER)[0]) == 3
    with pytest.raises(Forbidden):
        wanted_terms(lines, asked, PATH, RESIDENT)


def test_a_change_keeps_what_is_not_given_and_tells_the_difference() -> None:
    venue = added("venues", name="活动室", type="activity_room", capacity=30, note="二楼")
    assert changed(venue, capacity=30) == {}
    assert changed(venue, capacity=40, note=None) == {"capacity": [30, 40], "note": ["二楼", None]}
    assert (view(venue)["name"], view(venue)["capacity"], view(venue)["note"]) == ("活动室", 40, None)
    for name, value in (("site", PATH[1]), ("capacity", None), ("colour", "red")):
        with pytest.raises(Invalid) as error:
            changed(venue, **{name: value})
        assert error.value.extra["fields"][0]["path"] == name
    venue.retire(kind_of("venues"), None, STATION.id, NOW)
    with pytest.raises(Conflict, match="已经停用"):
        venue.must_be_active(kind_of("venues"))


def test_what_is_personal_is_read_by_staff_of_the_place_and_above() -> None:
    found = added("organisations", name="粮油店", type="merchant", contact="王某", phone="0314-2020202")
    assert [view(found, who)["phone"] for who in (STATION, CITY)] == ["0314-2020202"] * 2
    for who in (RESIDENT, actor("130802102202")):
        assert (view(found, who)["phone"], view(found, who)["contact"], view(found, who)["name"]) == (
            None,
            None,
            "粮油店",
        )


def test_facts_and_history_say_who_and_when_and_the_fact_nothing_of_what() -> None:
    venue = added("venues", name="活动室", type="activity_room", capacity=30)
    (event,) = venue.changed(kind_of("venues"), "somebody", NOW + timedelta(hours=1))
    assert event == contracts.RecordAdded(site=PATH[0], record_id="01R", kind="venues")
    entry = RecordEntry.of("01E", venue, event, {"capacity": [None, 30]})
    assert (entry.what, entry.by, entry.at) == ("added", "somebody", NOW + timedelta(hours=1))
    assert json.loads(entry.changes) == {"capacity": [None, 30]}
    venue.version = 1
    assert isinstance(venue.changed(kind_of("venues"), "somebody", NOW)[0], contracts.RecordChanged)
    assert isinstance(venue.retire(kind_of("venues"), None, "x", NOW)[0], contracts.RecordRetired)
    assert (venue.state, venue.changed_by) == (RecordState.RETIRED, "x")


# -- partners ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["91110000600037341L", "51130800MJ0A1B2C50", "52130802MJT1234592"])
def test_a_credit_code_is_kept_in_its_one_form(code: str) -> None:
    assert credit_code(f" {code.lower()}") == code
    organisation = added("organisations", name="甲", type="enterprise", credit_code=code.lower())
    assert view(organisation)["credit_code"] == code
    assert kind_of("organisations").unique(organisation.read(), PATH[0]) == code


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("51130800MJ0A1B2C3R", "校验位"),
        ("91110000600037341M", "校验位"),
        ("911100006000373411", "校验位"),
        ("91110000600037341I", "不含 I"),
        ("91110000600037341LL", "18位"),
    ],
)
def test_a_wrong_credit_code_is_refused(code: str, says: str) -> None:
    assert says in refused("credit_code", "organisations", name="甲", type="enterprise", credit_code=code)


TWINNING = {"organisation": "01O", "types": ["civility", "service"], "since": "2026-01-01", "until": "2026-12-31"}


def test_help_is_of_a_kind_and_in_the_time_that_was_agreed_and_sums_up() -> None:
    twinning = added("twinnings", **TWINNING)
    help = {"twinning": "01T", "type": "civility", "day": "2026-12-31", "what": "送春联"}
    refused("type", "help-records", twinning, **{**help, "type": "infrastructure"})
    for day in ("2025-12-31", "2027-01-01"):
        refused("day", "help-records", twinning, **{**help, "day": day})
    refused("until", "twinnings", **{**TWINNING, "until": "2025-12-31"})
    first = added("help-records", twinning, **help, people=30, value=0.1)
    added("help-records", twinning, **help, people=5, value=0.2)
    assert {n: view(twinning)[n] for n in ("records", "people", "value")} == {"records": 2, "people": 35, "value": 0.3}
    changed(first, twinning, people=31)
    assert view(twinning)["people"] == 36
    first.retire(kind_of("help-records"), twinning, "x", NOW)
    assert {n: view(twinning)[n] for n in ("records", "people", "value")} == {"records": 1, "people": 5, "value": 0.2}


# -- places -----------------------------------------------------------------------------------------------


def hall(**fields: Any) -> Record:
    return added("venues", name="议事厅", type="meeting_hall", capacity=30, opens="08:00", closes="20:00", **fields)


def booking(start: str, end: str, day: str = "2026-10-05") -> dict[str, Any]:
    times = {"from": f"{day}T{start}:00+08:00", "to": f"{day}T{end}:00+08:00"}
    return {"venue": "01V", **times, "purpose": "书画班"}


@pytest.mark.parametrize(
    ("start", "end", "free"),
    [
        ("08:00", "09:00", True),
        ("10:00", "11:00", True),
        ("08:00", "09:01", False),
        ("09:59", "11:00", False),
        ("09:10", "09:20", False),
        ("08:00", "20:00", False),
        ("09:00", "10:00", False),
    ],
)
def test_bookings_of_a_venue_do_not_overlap_and_may_touch(start: str, end: str, free: bool) -> None:
    venue = hall()
    known = replace(added("bookings", venue, **booking("09:00", "10:00")), id="01K")
    if free:
        added("bookings", venue, [known], **booking(start, end))
    else:
        with pytest.raises(Conflict, match="09:00—10:00 已有预约"):
            added("bookings", venue, [known], **booking(start, end))


def test_a_booking_is_not_in_its_own_way_when_it_is_changed() -> None:
    venue = hall()
    known = added("bookings", venue, **booking("09:00", "10:00"))
    kind, times = kind_of("bookings"), {"to": "2026-10-05T10:30:00+08:00"}
    assert list(known.settle(kind, merged(kind, known.fields, times), venue, [known])) == ["to"]
    assert "active|at:130802103202|day=2026-10-05" in known.terms
    assert "meets|01V 2026-10-05" in known.terms
    known.retire(kind, venue, "x", NOW)
    assert "meets|01V 2026-10-05" not in known.terms


def test_a_booking_lies_within_a_day_and_within_opening_hours() -> None:
    venue = hall()
    refused("to", "bookings", venue, **booking("10:00", "10:00"))
    refused("to", "bookings", venue, **{**booking("10:00", "11:00"), "to": "2026-10-06T09:00:00+08:00"})
    for start, end in (("07:59", "09:00"), ("19:00", "20:01")):
        assert "08:00—20:00" in refused("from", "bookings", venue, **booking(start, end))
    assert "30" in refused("people", "bookings", venue, **booking("10:00", "11:00"), people=31)
    added("bookings", venue, **booking("19:00", "20:00"), people=30)
    assert view(added("bookings", venue, **booking("08:00", "08:30")))["day"] == "2026-10-05"
    refused("closes", "venues", name="厅", type="other", capacity=1, opens="09:00", closes="09:00")


# -- money ------------------------------------------------------------------------------------------------


def test_spending_beyond_a_line_needs_a_reason() -> None:
    line = added("budget-lines", year=2026, name="活动经费", amount=100.1)
    spending = {"line": "01L", "day": "2026-05-01", "what": "横幅"}
    first = added("spendings", line, **spending, amount=100.0)
    assert (view(line)["spent"], view(line)["left"]) == (100.0, 0.1)
    assert "0.10 元" in refused("reason", "spendings", line, **spending, amount=0.11)
    second = added("spendings", line, **spending, amount=0.1)
    added("spendings", line, **spending, amount=5, reason="镇里追加")
    assert view(line)["left"] == -5
    assert list(changed(second, line, what="标语")) == ["what"], "the line is not charged twice"
    with pytest.raises(Invalid, match="还剩 -4"):
        changed(second, replace(line), amount=0.2)
    first.retire(kind_of("spendings"), line, "x", NOW)
    assert view(line)["spent"] == 5.1
    refused("day", "spendings", line, **{**spending, "day": "2027-01-01"}, amount=1)


# -- standards --------------------------------------------------------------------------------------------


def met(*codes: str) -> list[dict[str, Any]]:
    return [{"code": code, "met": True, "evidence": LINK} for code in codes]


@pytest.mark.parametrize(
    ("standard", "titles"),
    [
        ("liuyou-2018", "有机构 有场地 有资源 有队伍 有活动 有主题"),
        ("liuyou-2024", "有场所 有队伍 有项目 有设施 有制度 有标识"),
    ],
)
def test_a_checklist_is_graded_by_the_items_of_its_standard_and_shows_the_gaps(standard: str, titles: str) -> None:
    codes = [item["code"] for item in standards()[standard]["items"]]
    empty = view(added("checklists", standard=standard, year=2026))
    assert (empty["grade"], [gap["title"] for gap in empty["gaps"]]) == ("未达标", titles.split())
    grades = [view(added("checklists", standard=standard, year=2026, items=met(*codes[:n])))["grade"] for n in range(7)]
    assert grades == ["未达标"] * 4 + ["基本达标"] * 2 + ["达标"]
    partly = added(
        "checklists", standard=standard, year=2026, items=[*met(*codes[:4]), {"code": codes[4], "met": False}]
    )
    assert (view(partly)["met"], [gap["code"] for gap in view(partly)["gaps"]]) == (4, codes[4:])
    assert f"active|in:1308|grade={grades[4]}" in partly.terms


def test_an_item_of_a_checklist_is_known_named_once_and_proven() -> None:
    about = {"standard": "liuyou-2024", "year": 2026}
    assert "liuyou-2018、liuyou-2024" in refused("standard", "checklists", standard="liuyou-2030", year=2026)
    refused("items.0.code", "checklists", **about, items=met("themes"))
    refused("items.1.code", "checklists", **about, items=met("teams", "teams"))
    refused("items.0.evidence", "checklists", **about, items=[{"code": "teams", "met": True}])


def test_a_site_has_one_flagship_and_one_plan_a_year() -> None:
    brand = kind_of("flagships")
    first, second = (read_body(brand.body, {"name": name, "description": "剪纸"}) for name in ("甲", "乙"))
    assert brand.unique(first, PATH[0]) == brand.unique(second, PATH[0]) != brand.unique(first, PATH[1])
    plan = added("plans", year=2026, subject="计划", tasks=[{"text": "甲", "progress": 50}, {"text": "乙"}])
    assert view(plan)["progress"] == 25
    assert kind_of("plans").unique(plan.read(), PATH[0]) == f"{PATH[0]} 2026"


# -- work and village -------------------------------------------------------------------------------------


def test_a_meeting_tells_how_many_decisions_are_open() -> None:
    decisions = [{"text": "修路灯"}, {"text": "办晚会", "done": True}]
    meeting = added("meetings", type="deliberation", day="2026-05-01", subject="议事", decisions=decisions)
    assert (view(meeting)["open"], view(meeting, RESIDENT)["decisions"]) == (1, None)


PROPOSAL = {"subject": "建长者食堂", "text": "村里老人多", "category": "社区服务", "proposer": "李某"}


def test_an_accepted_proposal_becomes_a_project_once() -> None:
    proposal, kind = added("proposals", **PROPOSAL), kind_of("proposals")
    assert proposal.turns_into(kind) is None
    changed(proposal, decision="accepted")
    project = proposal.turns_into(kind)
    assert project == contracts.Project(
        site=PATH[0], name="建长者食堂", category="社区服务", description="村里老人多", proposal="01R"
    )
    proposal.became = "01P"
    assert proposal.turns_into(kind) is None
    changed(proposal, decision="pending")
    with pytest.raises(Conflict, match="已经立项"):
        proposal.turns_into(kind)


def test_a_refused_proposal_needs_a_reason() -> None:
    refused("reason", "proposals", **PROPOSAL, decision="refused")
    added("proposals", **PROPOSAL, decision="refused", reason="已有食堂")


def test_households_are_for_staff_of_the_place_and_forgotten_when_they_are_retired() -> None:
    kind = kind_of("households")
    who = (STATION, CENTER, RESIDENT, actor("130802102202"))
    assert [kind.read.admits(one, PATH) for one in who] == [True, True, False, False]
    household = added("households", number="12", members=[{"name": "赵某"}])
    assert household.retire(kind, None, "x", NOW)[1] == contracts.HouseholdUpdated(
        site=PATH[0], household_id="01R", members=[], proxies=[]
    )
    assert household.body == "{}" and view(household).keys() & {"number", "members"} == set()
    assert view(household)["state"] == "retired"


def test_who_orders_for_whom_is_told_by_accounts_and_the_record_is_found_by_them() -> None:
    people = [
        {"name": "赵某", "account": "r1"}, {"name": "钱某", "account": "r2", "proxy": True},
        {"name": "孙某", "proxy": True},
    ]  # fmt: skip
    kind, household = kind_of("households"), added("households", number="12", members=people)
    _, told = household.changed(kind, "x", NOW)
    assert told == contracts.HouseholdUpdated(
        site=PATH[0], household_id="01R", members=["r1", "r2"], proxies=["r2"]
    )  # fmt: skip
    assert kind.accounts(household.read()) == {"members.0.account": "r1", "members.1.account": "r2"}
    assert {naming("r1"), naming("r2")} <= set(household.terms)
    assert [household.read().has_proxy(id) for id in ("r1", "r2", "")] == [False, True, False]
    household.retire(kind, None, "x", NOW)
    assert naming("r1") not in household.terms
