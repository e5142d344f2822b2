"""The reference city and the demo population keep what the domain says of them."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime

import pytest

from deploy.reference import demo, divisions
from deploy.reference.series import wishes
from services.contracts.actor import Role
from services.contracts.registry import Category, OpenSite, TargetGroup, Tier
from services.contracts.series import StartSeries
from services.dispatch.series import days_of
from services.registry.identity import citizen_id, mobile

SITES = {site.code: site for site in divisions.sites()}
DEMO_TEAMS = {"130802103202": 2, "130802103": 1, "130802": 1, "130824100203": 1}


def path(code: str) -> list[str]:
    parent = SITES[code].parent
    return [code, *(path(parent) if parent else ())]


def test_the_city_has_its_centers_institutes_and_stations() -> None:
    counted = Counter(site.tier for site in SITES.values() if site.has_post)
    assert counted == {Tier.CITY: 1, Tier.CENTER: 11, Tier.INSTITUTE: 217, Tier.STATION: 2643}


def test_parents_come_before_their_children() -> None:
    seen: set[str | None] = {None}
    for site in divisions.sites():
        assert site.parent in seen
        seen.add(site.code)


def test_a_county_can_be_opened_by_itself_with_all_that_belongs_to_it() -> None:
    opened = divisions.sites(["130802", "130824"])
    assert [site.code for site in opened[:3]] == ["1308", "130802", "130824"]
    assert {site.code for site in opened[3:]} == {code for code in SITES if {"130802", "130824"} & set(path(code)[1:])}
    assert "130871104" in {site.code for site in opened}


def test_a_county_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(divisions.UnknownCenter, match=r"no center 130871; there are 130802, .*130881"):
        divisions.sites(["130802", "130871"])


def test_the_high_tech_zone_has_no_center_and_its_towns_belong_to_shuangqiao() -> None:
    assert "130871" not in SITES
    assert path("130871104") == ["130871104", "130802", "1308"]
    elsewhere = [code for code in SITES if len(code) == 12 and not code.startswith(path(code)[-2])]
    assert len(elsewhere) == 52


@pytest.mark.parametrize("code", ["130828450401", "130828450402", "130828500598"])
def test_places_of_quasi_townships_belong_to_the_county(code: str) -> None:
    assert not SITES[code].has_post
    assert path(code) == [code, "130828", "1308"]
    assert code[:9] not in SITES


def test_the_village_of_the_article_is_found_by_code() -> None:
    assert SITES["130802103202"].name == "庄头营村"
    assert sum("庄头营" in site.name for site in SITES.values()) == 3
    assert path("130802103202") == ["130802103202", "130802103", "130802", "1308"]


@pytest.mark.parametrize(
    ("committee", "place"),
    [
        ("庄头营村村民委员会", "庄头营村"),
        ("皂沟村民委员会", "皂沟村"),
        ("南菜园子村委会", "南菜园子村"),
        ("新园社区居民委员会", "新园社区"),
        ("杨村居委会", "杨村社区"),
        ("大石庙镇", "大石庙镇"),
    ],
)
def test_places_are_called_as_people_call_them(committee: str, place: str) -> None:
    assert divisions.spoken(committee) == place


def test_persons_of_the_demo_have_right_numbers_of_their_own() -> None:
    people = demo.volunteers()
    for person in people:
        assert citizen_id(person.id_number, date(2026, 1, 1)) == person.id_number
        assert mobile(person.phone) == person.phone
    for numbers in ([p.id for p in people], [p.id_number for p in people], [p.phone for p in people]):
        assert len(set(numbers)) == len(people)


def test_nobody_is_in_two_teams_and_no_team_is_one_person() -> None:
    members = [member for team in demo.teams() for member in team.member_ids]
    assert len(set(members)) == len(members)
    assert all(len(team.member_ids) >= 2 for team in demo.teams())


def test_four_teams_of_the_county_and_one_elsewhere_serve_the_haircut() -> None:
    haircut = next(item for item in demo.items() if item.id == "home-haircut")
    fitting = Counter(team.site for team in demo.teams() if haircut.category in team.categories)
    assert fitting == DEMO_TEAMS
    assert haircut.category is Category.COMMUNITY
    assert set(haircut.target_groups) == set(TargetGroup)
    assert not haircut.needs_address


def test_demo_accounts_belong_to_the_persons_of_the_demo() -> None:
    accounts = {account.username: account for account in demo.accounts()}
    leaders = {team.leader_id for team in demo.teams() if Category.COMMUNITY in team.categories}
    assert leaders == {accounts[f"leader{n}"].volunteer for n in ("1", "2", "3", "4", "-county")}
    for team, member in (("leader1", "volunteer1"), ("leader2", "volunteer2")):
        (own,) = [t for t in demo.teams() if t.leader_id == accounts[team].volunteer]
        assert accounts[member].volunteer in own.member_ids
    homes = {name: accounts[name].site for name in ("resident", "resident2", "station", "institute", "center")}
    assert list(homes.values()) == ["130802103202"] * 3 + ["130802103", "130802"]
    assert (accounts["municipal"].kind, accounts["municipal"].roles) == ("client", [Role.SYSTEM])
    assert all(isinstance(SITES[account.site], OpenSite) for account in accounts.values())


def test_the_loader_runs_without_eventlet() -> None:
    program = "import sys, deploy.reference.__main__; sys.exit(any(m in sys.modules for m in ('eventlet', 'nameko')))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_recurring_orders_of_the_demo_can_be_begun_by_who_asks_for_them() -> None:
    accounts, items = {account.username: account for account in demo.accounts()}, {i.id: i for i in demo.items()}
    now = datetime(2026, 6, 3, 1, tzinfo=UTC)
    for account, told in wishes(now):
        wish, item = StartSeries(**told), items[told["service_item"]]
        assert Role.RESIDENT in accounts[account].roles
        assert wish.target_group in item.target_groups and (wish.address or not item.needs_address)
        assert days_of(wish.rule, wish.start)[0] >= date(2026, 6, 4)
    assert {told["start"][11:16] for _, told in wishes(now)} == {"10:40", "09:00"}
