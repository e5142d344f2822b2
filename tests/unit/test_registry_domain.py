"""Rules of places and people, with the vectors of the domain."""

from datetime import date

import pytest

from services.contracts.actor import SYSTEM, Actor, Role
from services.contracts.errors import Conflict, Forbidden, Invalid
from services.contracts.registry import (
    AddAccount,
    AddVolunteer,
    AgeBand,
    Category,
    FormTeam,
    OpenSite,
    PublishItem,
    Purpose,
    RegisterVolunteer,
    ResidentRegistered,
    SiteOpened,
    TargetGroup,
    TeamFormed,
    Tier,
    VolunteerRegistered,
)
from services.registry import identity
from services.registry.domain import (
    STAFFING,
    Account,
    Resident,
    ServiceItem,
    Site,
    VolunteerTotals,
    bring_to,
    in_hundredths,
    must_administer,
)
from services.registry.teams import Team
from services.registry.volunteers import Numbers, RealName, Sight, Volunteer, sight_of

TODAY = date(2026, 3, 4)
GOOD = ["11010519491231002X", "440524188001010014", "130802198501051239", "130803196606152041", "130824194005010024"]
MINOR = "130802201302020020"


# -- numbers of persons ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [*GOOD, MINOR])
def test_a_right_id_number_is_taken_as_it_is(number: str) -> None:
    assert identity.citizen_id(number, TODAY) == number


@pytest.mark.parametrize(
    "written",
    [
        "11010519491231002x",
        "１１０１０５１９４９１２３１００２Ｘ",
        "１１０１０５１９４９１２３１００２ｘ",
        " 110105 19491231 002X ",
    ],
)
def test_an_id_number_has_one_form_however_it_is_written(written: str) -> None:
    assert identity.citizen_id(written, TODAY) == "11010519491231002X"


def with_check(first17: str) -> str:
    return first17 + identity.check_character(first17)


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("130824201002290019", "出生日期不存在"),
        ("110105194912310020", "校验位"),
        ("11010519491231002", "18位"),
        ("110105491231002", "18位"),
        ("1101051949123100２X0", "18位"),
        ("X10105194912310021", "18位"),
        ("١١٠١٠٥١٩٤٩١٢٣١٠٠٢X", "18位"),
        ("", "18位"),
        (with_check("11010500000101002"), "出生日期不存在"),
        (with_check("11010520261331002"), "出生日期不存在"),
        (with_check("11010520260305002"), "今天之后"),
    ],
)
def test_a_wrong_id_number_is_refused_with_the_reason(number: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as refused:
        identity.citizen_id(number, TODAY)
    assert refused.value.extra["fields"][0]["path"] == "id_number"


def test_the_area_of_an_id_number_is_not_judged() -> None:
    for area in ("130823", "130881", "130871"):
        assert identity.citizen_id(with_check(area + "19900101001"), TODAY)


def test_somebody_born_today_may_have_an_id_number() -> None:
    assert identity.citizen_id(with_check("13080220260304001"), TODAY)


def test_birth_date_and_sex_come_from_the_id_number() -> None:
    assert identity.birth_date("130802198501051239") == date(1985, 1, 5)
    assert identity.sex("130802198501051239") == "male"
    assert identity.sex("130803196606152041") == "female"


@pytest.mark.parametrize(
    ("born", "day", "years"),
    [
        (date(2012, 3, 4), TODAY, 14),
        (date(2012, 3, 5), TODAY, 13),
        (date(2012, 2, 29), date(2026, 2, 28), 13),
        (date(2012, 2, 29), date(2026, 3, 1), 14),
    ],
)
def test_age_is_in_full_years(born: date, day: date, years: int) -> None:
    assert identity.age_on(day, born) == years


@pytest.mark.parametrize("written", ["13912345678", "139 1234 5678", "139-1234-5678", "１３９１２３４５６７８"])
def test_a_mobile_number_has_one_form(written: str) -> None:
    assert identity.mobile(written) == "13912345678"


@pytest.mark.parametrize("written", ["12912345678", "1391234567", "139123456789", "0314-2050000", ""])
def test_a_wrong_mobile_number_is_refused(written: str) -> None:
    with pytest.raises(Invalid):
        identity.mobile(written)


# -- places ---------------------------------------------------------------------------------------------


def a_site(code: str, tier: Tier, parent: Site | None) -> Site:
    return Site.open(OpenSite(code=code, name=code, tier=tier, parent=parent and parent.id), parent)[0]


CITY = a_site("1308", Tier.CITY, None)
CENTER = a_site("130802", Tier.CENTER, CITY)
INSTITUTE = a_site("130802103", Tier.INSTITUTE, CENTER)
STATION = a_site("130802103202", Tier.STATION, INSTITUTE)


def test_a_site_opens_with_the_path_to_the_city() -> None:
    wanted = OpenSite(code="130871104", name="冯营子镇", tier=Tier.INSTITUTE, parent="130802")
    site, opened = Site.open(wanted, CENTER)
    assert site.path == ["130871104", "130802", "1308"]
    assert opened == SiteOpened(site="130871104", tier=Tier.INSTITUTE, parent="130802", path=site.path)


def test_a_place_without_a_post_hangs_below_whom_the_configuration_names() -> None:
    wanted = OpenSite(code="130828450401", name="千层板社区", tier=Tier.STATION, parent="130802", has_post=False)
    site, opened = Site.open(wanted, CENTER)
    assert site.path == ["130828450401", "130802", "1308"]
    assert not opened.has_post


@pytest.mark.parametrize(
    ("tier", "parent"), [(Tier.STATION, None), (Tier.CENTER, STATION), (Tier.STATION, STATION), (Tier.CITY, CITY)]
)
def test_a_site_hangs_below_a_higher_tier(tier: Tier, parent: Site | None) -> None:
    wanted = OpenSite(code="130803", name="x", tier=tier, parent=parent.id if parent else "999999")
    with pytest.raises(Invalid) as refused:
        Site.open(wanted, parent)
    assert refused.value.extra["fields"][0]["path"] == "parent"


def test_a_person_is_appointed_to_the_post_of_the_tier_once() -> None:
    station = a_site("130802103203", Tier.STATION, INSTITUTE)
    assert station.appoint("a")
    assert not station.appoint("a")
    assert [(post.title, post.person) for post in station.posts] == [("联络员", "a")]


@pytest.mark.parametrize(
    ("tier", "met"), [(Tier.CENTER, [2, 3, 4, 5]), (Tier.INSTITUTE, [1, 2]), (Tier.STATION, [1, 2])]
)
def test_the_staffing_rule_of_each_tier(tier: Tier, met: list[int]) -> None:
    assert [filled for filled in range(8) if STAFFING[tier].met_by(filled)] == met


# -- teams and items ------------------------------------------------------------------------------------


def a_team_wish(**changed: object) -> FormTeam:
    wish = {
        "id": "t",
        "name": "织心永驻巾帼服务队",
        "site": STATION.id,
        "categories": [Category.COMMUNITY],
        "leader_id": "v1",
        "member_ids": ["v1", "v2", "v2"],
    }
    return FormTeam.model_validate({**wish, **changed})


def test_a_team_has_the_tier_of_its_site() -> None:
    team, formed = Team.form(a_team_wish(), STATION, {"v1", "v2"})
    assert formed == TeamFormed(
        site=STATION.id,
        team_id="t",
        tier=Tier.STATION,
        categories=[Category.COMMUNITY],
        leader_id="v1",
        member_ids=["v1", "v2"],
    )
    assert team.active


def test_a_leader_is_a_member() -> None:
    with pytest.raises(Invalid, match="队长"):
        Team.form(a_team_wish(leader_id="v3"), STATION, {"v1", "v2", "v3"})


def test_members_are_registered_volunteers() -> None:
    with pytest.raises(Invalid, match="v2"):
        Team.form(a_team_wish(), STATION, {"v1"})


def test_an_item_is_published_by_a_site() -> None:
    wanted = PublishItem(
        id="home-haircut",
        name="上门理发",
        category=Category.COMMUNITY,
        tier=Tier.STATION,
        target_groups=list(TargetGroup),
        site=CITY.id,
    )
    item, published = ServiceItem.publish(wanted, CITY)
    assert (item.site, published.site, published.item_id) == ("1308", "1308", "home-haircut")
    assert not published.needs_address


# -- people ---------------------------------------------------------------------------------------------


def an_account(**changed: object) -> Account:
    wish = {
        "id": "a",
        "username": "a",
        "password": "demo",
        "name": "张桂芝",
        "roles": [Role.RESIDENT],
        "site": STATION.id,
    }
    return Account.of(AddAccount.model_validate({**wish, **changed}), "hash", None)


def numbers(id_number: str) -> Numbers:
    return Numbers(id_number, "index", "13912345678", "index of the phone")


def register(id_number: str, account: Account, consent: bool = False) -> tuple[Volunteer, VolunteerRegistered]:
    wanted = RegisterVolunteer(name="张桂芝", id_number=id_number, phone="13912345678", guardian_consent=consent)
    return Volunteer.register("v", wanted, STATION, account, numbers(id_number), TODAY)


def test_a_resident_becomes_a_volunteer_of_the_village() -> None:
    account = an_account()
    volunteer, registered = register(GOOD[0], account)
    expected = VolunteerRegistered(
        site=STATION.id,
        volunteer_id="v",
        path=STATION.path,
        age_band=AgeBand.OVER_70,
        consents=[Purpose.REGISTRATION],
    )
    assert registered == expected
    assert (account.volunteer, account.roles) == ("v", [Role.RESIDENT, Role.VOLUNTEER])
    assert (volunteer.real_name, volunteer.account_id) == (RealName.PENDING, "a")
    assert (volunteer.birth_date, volunteer.sex) == (date(1949, 12, 31), "female")


def test_who_is_a_volunteer_does_not_become_one_again() -> None:
    with pytest.raises(Conflict):
        register(GOOD[0], an_account(volunteer="other"))


def test_below_fourteen_a_guardian_consents() -> None:
    with pytest.raises(Invalid, match="监护人") as refused:
        register(MINOR, an_account())
    assert refused.value.extra["fields"][0]["path"] == "guardian_consent"
    assert register(MINOR, an_account(), consent=True)[0].consents[0].guardian


def test_from_fourteen_on_no_guardian_is_asked() -> None:
    assert register(with_check("13080220120304002"), an_account())


def test_a_volunteer_of_the_reference_data_is_checked_already() -> None:
    wanted = AddVolunteer(id="v", name="苏玉兰", site=STATION.id, id_number=GOOD[0], phone="13912345678")
    volunteer, registered = Volunteer.add(wanted, STATION, numbers(GOOD[0]), TODAY)
    assert volunteer.real_name is RealName.PASSED and registered.verified
    with pytest.raises(Invalid, match="birth_date"):
        Volunteer.add(wanted.model_copy(update={"birth_date": TODAY}), STATION, numbers(GOOD[0]), TODAY)


def test_a_resident_has_the_id_of_the_account() -> None:
    resident, registered = Resident.register(an_account())
    assert registered == ResidentRegistered(site=STATION.id, resident_id="a")
    assert resident == Resident("a", STATION.id)


def test_who_became_a_volunteer_remains_one_when_the_account_is_sent_again() -> None:
    known = an_account()
    register(GOOD[0], known)
    wish = AddAccount(id="a", username="a", password="demo", name="张桂芝", roles=[Role.RESIDENT], site=STATION.id)
    assert Account.of(wish, "hash", known) == known


def test_what_is_sent_again_changes_only_what_the_reference_data_decide() -> None:
    known, same = a_site("130803", Tier.CENTER, CITY), a_site("130803", Tier.CENTER, CITY)
    known.appoint("a")
    known.version = 7
    assert not bring_to(known, same)
    same.name = "双滦区"
    assert bring_to(known, same)
    assert (known.name, known.version, len(known.posts)) == ("双滦区", 7, 1)


# -- totals ---------------------------------------------------------------------------------------------


def with_hours(hours: float) -> VolunteerTotals:
    totals = VolunteerTotals("v")
    totals.add_hours(hours)
    return totals


@pytest.mark.parametrize(
    ("hours", "star"),
    [(0, 0), (99.99, 0), (100, 1), (299.99, 1), (300, 2), (599.99, 2), (600, 3), (999.99, 3), (1000, 4), (1499.99, 4)],
)
def test_a_star_begins_at_its_threshold(hours: float, star: int) -> None:
    assert with_hours(hours).star == star


@pytest.mark.parametrize("hours", [1500, 20000])
def test_there_are_five_stars(hours: float) -> None:
    assert with_hours(hours).star == 5


def test_hours_do_not_drift() -> None:
    totals = VolunteerTotals("v")
    for _ in range(1000):
        totals.add_hours(0.1)
    assert totals.hours == 100.0
    totals.add_hours(-0.1)
    assert (totals.hours, totals.star) == (99.9, 0)


@pytest.mark.parametrize(("hours", "hundredths"), [(0.29, 29), (1.15, 115), (2.675, 268), (-0.07, -7), (8, 800)])
def test_hours_are_kept_in_hundredths(hours: float, hundredths: int) -> None:
    assert in_hundredths(hours) == hundredths


def test_a_sum_over_nothing_is_zero() -> None:
    totals = VolunteerTotals("v")
    assert (totals.hours, totals.points, totals.star) == (0, 0, 0)


# -- who may --------------------------------------------------------------------------------------------


def an_actor(*roles: Role, id: str = "x", site: str = STATION.id, volunteer: str | None = None) -> Actor:
    return Actor(id=id, roles=frozenset(roles), site=site, volunteer=volunteer)


def test_admin_and_the_system_itself_administer() -> None:
    must_administer(SYSTEM)
    must_administer(an_actor(Role.ADMIN))


@pytest.mark.parametrize(
    "actor",
    [an_actor(Role.STAFF), an_actor(Role.SYSTEM, id="municipal"), an_actor(id="system"), an_actor()],
)
def test_nobody_else_administers(actor: Actor) -> None:
    with pytest.raises(Forbidden):
        must_administer(actor)


@pytest.mark.parametrize(
    ("actor", "sight"),
    [
        (an_actor(Role.VOLUNTEER, volunteer="v"), Sight.SELF),
        (an_actor(Role.RESIDENT, id="a"), Sight.SELF),
        (an_actor(Role.ADMIN, site="1308"), Sight.STAFF),
        (an_actor(Role.STAFF), Sight.STAFF),
        (an_actor(Role.STAFF, site="130802103"), Sight.STAFF),
        (an_actor(Role.STAFF, site="130802"), Sight.STAFF),
        (an_actor(Role.VOLUNTEER, volunteer="leader"), Sight.LEADER),
        (an_actor(Role.VOLUNTEER, volunteer="mate"), Sight.MEMBER),
        (an_actor(Role.VOLUNTEER, volunteer="stranger"), None),
        (an_actor(Role.RESIDENT), None),
        (an_actor(Role.STAFF, site="130802103201"), None),
        (an_actor(Role.STAFF, site="130802102"), None),
        (an_actor(Role.STAFF, site="130824"), None),
        (an_actor(Role.SYSTEM, site="1308"), None),
        (an_actor(), None),
    ],
)
def test_who_sees_a_volunteer_and_as_what(actor: Actor, sight: Sight | None) -> None:
    volunteer, _ = register(GOOD[0], an_account())
    members = ["leader", "mate", "v"]
    team, _ = Team.form(a_team_wish(leader_id="leader", member_ids=members), STATION, members)
    assert sight_of(actor, volunteer, STATION.path, [team]) is sight


def test_team_mates_read_neither_name_nor_number_and_leaders_read_the_name() -> None:
    assert [(s.reads_name, s.reads_id_number) for s in (Sight.SELF, Sight.STAFF, Sight.LEADER, Sight.MEMBER)] == [
        (True, True),
        (True, True),
        (True, False),
        (False, False),
    ]
