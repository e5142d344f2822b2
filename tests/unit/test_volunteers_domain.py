"""Rules of volunteers: what decides whom to send, as it is told, and who may change it."""

from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from services.contracts.errors import Conflict, Forbidden, Invalid, NotFound
from services.contracts.registry import (
    Absence,
    AddAccount,
    AddVolunteer,
    AgeBand,
    Category,
    CheckRealName,
    GiveConsent,
    GrantQualification,
    OpenSite,
    ProposeTeam,
    Purpose,
    Qualification,
    RegisterVolunteer,
    ReportAbsence,
    Slot,
    Tier,
    UpdateProfile,
    VolunteerRegistered,
    VolunteerUpdated,
)
from services.registry import identity
from services.registry.domain import Account, Site, bring_to
from services.registry.teams import Team
from services.registry.volunteers import (
    ALLOWED,
    BANDS,
    MOST_ABSENCES,
    MOST_QUALIFICATIONS,
    Entry,
    Numbers,
    RealName,
    Sight,
    Volunteer,
    age_band,
    band_ends_on,
    permit,
)

TODAY, DAY = date(2026, 3, 4), timedelta(days=1)
CITY = Site.open(OpenSite(code="1308", name="承德市", tier=Tier.CITY, parent=None), None)[0]
ID_NUMBER = "130802198501051239"
NUMBERS = Numbers(ID_NUMBER, "index", "13912345678", "index of the phone")


def born_on(day: date) -> str:
    first17 = f"130802{day:%Y%m%d}001"
    return first17 + identity.check_character(first17)


def registered(id_number: str = ID_NUMBER, **changed: Any) -> tuple[Volunteer, VolunteerRegistered]:
    wish = {"name": "张桂芝", "id_number": id_number, "phone": "13912345678", "guardian_consent": True}
    account = AddAccount(id="a", username="a", password="demo", name="张桂芝", roles=[], site=CITY.id)
    wanted = RegisterVolunteer.model_validate({**wish, **changed})
    numbers = replace(NUMBERS, id_number=id_number)
    return Volunteer.register("v", wanted, CITY, Account.of(account, "hash", None), numbers, TODAY)


@pytest.fixture
def volunteer() -> Volunteer:
    return registered()[0]


def updated(**facts: Any) -> list[VolunteerUpdated]:
    known: dict[str, Any] = {"site": CITY.id, "volunteer_id": "v", "path": CITY.path, "consents": ["registration"]}
    return [VolunteerUpdated(**{**known, **facts})]


# -- age ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("years", "before", "from_then_on"),
    [
        (14, AgeBand.UNDER_14, AgeBand.UNDER_16),
        (16, AgeBand.UNDER_16, AgeBand.UNDER_18),
        (18, AgeBand.UNDER_18, AgeBand.ADULT),
        (70, AgeBand.ADULT, AgeBand.OVER_70),
    ],
)
def test_an_age_band_ends_on_a_birthday(years: int, before: AgeBand, from_then_on: AgeBand) -> None:
    born = TODAY.replace(year=TODAY.year - years)
    assert (age_band(born, TODAY - DAY), age_band(born, TODAY)) == (before, from_then_on)


def test_who_was_born_on_a_leap_day_is_older_on_the_first_of_march() -> None:
    born = date(2008, 2, 29)
    assert age_band(born, date(2026, 2, 28)) is AgeBand.UNDER_18
    assert age_band(born, date(2026, 3, 1)) is AgeBand.ADULT


def test_registration_tells_the_age_band_and_never_the_birth_date() -> None:
    born = date(2011, 7, 13)
    volunteer, event = registered(born_on(born))
    assert event.age_band is AgeBand.UNDER_16
    assert volunteer.band_ends_on == date(2027, 7, 1), "the month only, since it is kept in clear"
    assert not {"20110713", "2011-07-13", "07-13"} & set(event.model_dump_json().split('"'))


@pytest.mark.parametrize("born", [date(2012, 3, 20), date(2012, 3, 1), date(2012, 3, 31), date(2012, 2, 29)])
def test_within_the_month_one_looks_every_day_and_tells_once_on_the_birthday(born: date) -> None:
    volunteer, event = registered(born_on(born))
    today, told = TODAY, []
    while today < date(2026, 5, 1):
        looked_on = volunteer.band_ends_on
        assert looked_on is not None
        if looked_on <= today:
            told += [(today, fact) for fact in volunteer.grow_older(CITY, today)]
        today += DAY
    birthday = identity.age_on(TODAY, born) >= 14
    assert event.age_band is (AgeBand.UNDER_16 if birthday else AgeBand.UNDER_14)
    expected = [] if birthday else [(date(2026, 3, born.day), updated(age_band=AgeBand.UNDER_16)[0])]
    assert told == expected
    assert volunteer.band_ends_on == born.replace(year=2028, day=1)


def test_over_seventy_nobody_looks_again() -> None:
    assert band_ends_on(date(1956, 3, 4), TODAY) is None
    assert band_ends_on(date(1956, 3, 5), TODAY) == TODAY + DAY


def test_a_change_on_the_birthday_tells_of_the_new_band_and_the_clock_not_again() -> None:
    volunteer, _ = registered(born_on(date(2012, 3, 20)))
    (told,) = volunteer.suspend("x", CITY, date(2026, 3, 20))
    assert isinstance(told, VolunteerUpdated) and told.age_band is AgeBand.UNDER_16
    assert volunteer.grow_older(CITY, date(2026, 3, 21)) == []


def test_bands_follow_one_another() -> None:
    assert all(one[0] < other[0] for one, other in pairwise(BANDS))
    assert {band for _, band in BANDS} | {AgeBand.OVER_70} == set(AgeBand)


# -- skills, time, categories ---------------------------------------------------------------------------


def test_registration_tells_the_skills() -> None:
    volunteer, event = registered(skills=["理发", "摄影", "理发"], categories=["社区服务"])
    assert event.skills == volunteer.skills == ["理发", "摄影"]
    assert (event.categories, event.verified) == ([Category.COMMUNITY], False)


@pytest.mark.parametrize("skill", ["13912345678", "理发2级", "会理发，也会修水管", "a_b", "理发\n摄影", "长" * 21, "²"])
def test_a_skill_that_could_be_something_personal_is_refused(skill: str) -> None:
    with pytest.raises(Invalid) as refused:
        registered(skills=["理发", skill])
    (field,) = refused.value.extra["fields"]
    assert field["path"] == "skills.1"
    assert field["message"] in ("只能由文字组成，不能有数字和符号，如 理发、急救员", "最多填 20 个字")


def test_a_profile_replaces_what_is_given_and_nothing_else(volunteer: Volunteer) -> None:
    learned = UpdateProfile(skills=["理发"], availability=[Slot.SUN_EVENING, Slot.MON_MORNING, Slot.SUN_EVENING])
    slots = [Slot.MON_MORNING, Slot.SUN_EVENING]
    facts: dict[str, Any] = {"skills": ["理发"], "availability": slots}
    assert volunteer.update_profile(learned, CITY, TODAY) == updated(**facts)
    categories = UpdateProfile(categories=[Category.CULTURE])
    assert volunteer.update_profile(categories, CITY, TODAY) == updated(**facts, categories=[Category.CULTURE])
    assert volunteer.update_profile(UpdateProfile(availability=[]), CITY, TODAY)[0].availability == []  # type: ignore[attr-defined]
    assert volunteer.skills == ["理发"]


def test_a_profile_that_says_what_is_known_is_no_news(volunteer: Volunteer) -> None:
    wanted = UpdateProfile(skills=["理发"], availability=[Slot.MON_MORNING])
    assert volunteer.update_profile(wanted, CITY, TODAY)
    for again in (wanted, UpdateProfile(), UpdateProfile(skills=["理发", "理发"])):
        assert volunteer.update_profile(again, CITY, TODAY) == []


def test_there_are_24_slots() -> None:
    assert len(Slot) == 24 and {"mon_morning", "sun_evening", "holiday_afternoon"} < set(Slot)


# -- qualifications and insurance -----------------------------------------------------------------------


def test_a_qualification_is_renewed_by_its_kind(volunteer: Volunteer) -> None:
    first = GrantQualification(kind="急救员", until=date(2026, 12, 31))
    assert volunteer.qualify(first, CITY, TODAY) == updated(
        qualifications=[Qualification(kind="急救员", until=first.until)]
    )
    assert volunteer.qualify(first, CITY, TODAY) == []
    volunteer.qualify(GrantQualification(kind="电工", until=first.until), CITY, TODAY)
    assert volunteer.qualify(GrantQualification(kind="急救员", until=date(2027, 12, 31)), CITY, TODAY)
    held = {q.kind: q.until.year for q in volunteer.qualifications}
    assert held == {"电工": 2026, "急救员": 2027}


def test_qualifications_are_not_without_number(volunteer: Volunteer) -> None:
    volunteer.qualifications = [Qualification(kind="类" * n, until=TODAY) for n in range(1, MOST_QUALIFICATIONS + 1)]
    with pytest.raises(Conflict, match="50"):
        volunteer.qualify(GrantQualification(kind="急救员", until=TODAY), CITY, TODAY)
    assert volunteer.qualify(GrantQualification(kind="类", until=TODAY + DAY), CITY, TODAY)


def test_insurance_is_told_once(volunteer: Volunteer) -> None:
    assert volunteer.insure(date(2026, 12, 31), CITY, TODAY) == updated(insured_until=date(2026, 12, 31))
    assert volunteer.insure(date(2026, 12, 31), CITY, TODAY) == []


# -- absences -------------------------------------------------------------------------------------------


def away(start: date, end: date, **more: Any) -> ReportAbsence:
    return ReportAbsence.model_validate({"from": start, "to": end, **more})


def test_an_absence_is_told_until_it_is_over_or_withdrawn(volunteer: Volunteer) -> None:
    week = away(TODAY, TODAY + 6 * DAY, stand_in="mate")
    told = [Absence(start=TODAY, end=TODAY + 6 * DAY, stand_in="mate")]
    assert volunteer.report_absence("1", week, {"v", "mate"}, CITY, TODAY) == updated(absences=told)
    assert volunteer.leave("1").stand_in == "mate"
    assert volunteer.insure(TODAY, CITY, TODAY + 7 * DAY) == updated(insured_until=TODAY), "over"
    volunteer.report_absence("2", away(TODAY + 8 * DAY, TODAY + 8 * DAY), (), CITY, TODAY + 7 * DAY)
    assert [leave.id for leave in volunteer.absences] == ["2"]
    assert volunteer.withdraw_absence(volunteer.leave("2"), CITY, TODAY + 8 * DAY) == updated(insured_until=TODAY)
    with pytest.raises(NotFound, match="请假"):
        volunteer.leave("2")


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (away(TODAY, TODAY - DAY), "to"),
        (away(TODAY - 2 * DAY, TODAY - DAY), "to"),
        (away(TODAY + 9 * DAY, TODAY + 12 * DAY), "from"),
        (away(TODAY + 12 * DAY, TODAY + 12 * DAY), "from"),
        (away(TODAY, TODAY, stand_in="stranger"), "stand_in"),
        (away(TODAY, TODAY, stand_in="v"), "stand_in"),
    ],
)
def test_an_absence_that_cannot_be_is_refused(volunteer: Volunteer, wanted: ReportAbsence, path: str) -> None:
    volunteer.report_absence("1", away(TODAY + 10 * DAY, TODAY + 12 * DAY), (), CITY, TODAY)
    with pytest.raises(Invalid) as refused:
        volunteer.report_absence("2", wanted, {"v", "mate"}, CITY, TODAY)
    assert refused.value.extra["fields"][0]["path"] == path
    assert len(volunteer.absences) == 1


def test_absences_may_touch_and_are_kept_in_order(volunteer: Volunteer) -> None:
    for id, offset in (("2", 3), ("1", 0), ("3", 4)):
        volunteer.report_absence(id, away(TODAY + offset * DAY, TODAY + offset * DAY), (), CITY, TODAY)
    assert [leave.id for leave in volunteer.absences] == ["1", "2", "3"]


def test_what_is_over_is_not_withdrawn_and_does_not_count(volunteer: Volunteer) -> None:
    for number in range(MOST_ABSENCES):
        day = TODAY + number * DAY
        volunteer.report_absence(str(number), away(day, day), (), CITY, TODAY)
    later = TODAY + MOST_ABSENCES * DAY
    with pytest.raises(Conflict, match="50"):
        volunteer.report_absence("x", away(later, later), (), CITY, TODAY)
    with pytest.raises(Conflict, match="过去"):
        volunteer.withdraw_absence(volunteer.leave("0"), CITY, TODAY + DAY)
    assert volunteer.report_absence("x", away(later, later), (), CITY, TODAY + DAY)


# -- suspension and real name ---------------------------------------------------------------------------


def test_a_suspension_is_told_and_lifted(volunteer: Volunteer) -> None:
    with pytest.raises(Conflict):
        volunteer.resume(CITY, TODAY)
    assert volunteer.suspend("三次没有到场", CITY, TODAY) == updated(suspended=True)
    assert volunteer.suspension_reason == "三次没有到场"
    with pytest.raises(Conflict):
        volunteer.suspend("again", CITY, TODAY)
    assert volunteer.resume(CITY, TODAY) == updated()
    assert volunteer.suspension_reason is None


def test_a_failed_check_has_a_reason(volunteer: Volunteer) -> None:
    with pytest.raises(Invalid) as refused:
        volunteer.check_real_name(CheckRealName(result="failed"), CITY, TODAY)
    assert refused.value.extra["fields"][0]["path"] == "reason"
    failed = CheckRealName(result="failed", reason="姓名不符")
    assert volunteer.check_real_name(failed, CITY, TODAY) == updated()
    assert (volunteer.real_name, volunteer.real_name_reason) == (RealName.FAILED, "姓名不符")
    assert volunteer.check_real_name(failed, CITY, TODAY) == []
    passed = CheckRealName(result="passed")
    assert volunteer.check_real_name(passed, CITY, TODAY) == updated(verified=True)
    assert (volunteer.real_name, volunteer.real_name_reason) == (RealName.PASSED, None)
    assert volunteer.check_real_name(passed, CITY, TODAY) == []


# -- consents -------------------------------------------------------------------------------------------

PUBLICATION = [Purpose.REGISTRATION, Purpose.PUBLICATION]


def test_each_purpose_is_agreed_to_by_itself_and_in_a_version(volunteer: Volunteer) -> None:
    first = GiveConsent(purpose="publication", version="1")
    assert volunteer.consent_to(first, CITY, TODAY) == updated(consents=PUBLICATION)
    assert volunteer.consent_to(first, CITY, TODAY + DAY) == []
    assert volunteer.consent_to(GiveConsent(purpose="publication", version="2"), CITY, TODAY + DAY)
    assert [(c.purpose, c.text, c.since) for c in volunteer.consents] == [
        (Purpose.REGISTRATION, "1", TODAY), (Purpose.PUBLICATION, "2", TODAY + DAY),
    ]  # fmt: skip


def test_a_withdrawal_is_told_once_and_leaves_the_others(volunteer: Volunteer) -> None:
    for purpose in ("publication", "province"):
        volunteer.consent_to(GiveConsent(purpose=purpose, version="1"), CITY, TODAY)
    left = [Purpose.REGISTRATION, Purpose.PROVINCE]
    assert volunteer.withdraw_consent(Purpose.PUBLICATION, CITY, TODAY) == updated(consents=left)
    assert volunteer.withdraw_consent(Purpose.PUBLICATION, CITY, TODAY) == []


def test_without_consent_to_be_kept_nobody_is_a_volunteer(volunteer: Volunteer) -> None:
    with pytest.raises(Conflict, match="登记"):
        volunteer.withdraw_consent(Purpose.REGISTRATION, CITY, TODAY)


def test_below_fourteen_a_guardian_consents_to_each_purpose() -> None:
    child, _ = registered(born_on(date(2015, 5, 1)))
    with pytest.raises(Invalid) as refused:
        child.consent_to(GiveConsent(purpose="publication", version="1"), CITY, TODAY)
    assert refused.value.extra["fields"][0]["path"] == "guardian_consent"
    asked = GiveConsent(purpose="publication", version="1", guardian_consent=True)
    assert child.consent_to(asked, CITY, TODAY)
    assert child.consents[-1].in_words == "公开姓名，第 1 版，监护人同意"


# -- erasure --------------------------------------------------------------------------------------------


def test_of_who_is_erased_nothing_is_left_but_the_id_and_the_place(volunteer: Volunteer) -> None:
    volunteer.update_profile(UpdateProfile(skills=["理发"]), CITY, TODAY)
    volunteer.insure(TODAY, CITY, TODAY)
    volunteer.suspend("张桂芝三次没有到场", CITY, TODAY)
    before, volunteer.version = asdict(volunteer), 7
    assert volunteer.erase([], CITY, TODAY) == updated(suspended=True, erased=True, consents=[])
    assert volunteer.phone_index == ""
    after = asdict(volunteer)
    kept = {name for name, value in after.items() if value and value == before[name]}
    assert kept == {"id", "site", "age_band", "suspended"}
    assert (volunteer.version, volunteer.age_band, volunteer.band_ends_on) == (7, AgeBand.ADULT, None)
    with pytest.raises(Conflict, match="注销"):
        volunteer.must_be_kept()


def test_a_leader_hands_over_before_being_erased(volunteer: Volunteer) -> None:
    wish = ProposeTeam(name="队", categories=[Category.CULTURE])
    team, _ = Team.propose("t", wish, CITY, CITY, "v")
    with pytest.raises(Conflict, match="队伍"):
        volunteer.erase([team], CITY, TODAY)
    assert not volunteer.erased


def test_the_log_forgets_what_was_written_and_whose_account_it_was() -> None:
    at = datetime(2026, 3, 4, tzinfo=UTC)
    own, of_staff = (Entry(id, "v", at, by, "x", "张桂芝") for id, by in (("1", "a"), ("2", "staff")))
    for entry in (own, of_staff):
        entry.forget("a")
    assert [(entry.by, entry.note) for entry in (own, of_staff)] == [("v", ""), ("staff", "")]


def test_reference_data_do_not_bring_back_who_is_erased(volunteer: Volunteer) -> None:
    volunteer.erase([], CITY, TODAY)
    wanted = AddVolunteer(id="v", name="苏玉兰", site=CITY.id, id_number=ID_NUMBER, phone="13912345678")
    assert not bring_to(volunteer, Volunteer.add(wanted, CITY, NUMBERS, TODAY, volunteer)[0])


# -- reference data -------------------------------------------------------------------------------------


def test_reference_data_take_nothing_back_and_tell_the_rest_as_it_is() -> None:
    wanted = AddVolunteer(id="v", name="苏玉兰", site=CITY.id, id_number=ID_NUMBER, phone="13912345678")
    known, _ = Volunteer.add(wanted, CITY, NUMBERS, TODAY)
    known.update_profile(UpdateProfile(skills=["理发"], categories=[Category.CULTURE]), CITY, TODAY)
    known.check_real_name(CheckRealName(result="failed", reason="x"), CITY, TODAY)
    known.version = 3
    assert not bring_to(known, Volunteer.add(wanted, CITY, NUMBERS, TODAY, known)[0])
    other = wanted.model_copy(update={"phone": "13987654321", "categories": [Category.LAW]})
    changed = replace(NUMBERS, phone=other.phone, phone_index="another")
    same, event = Volunteer.add(other, CITY, changed, TODAY, replace(known))
    assert bring_to(known, same)
    assert (known.phone, known.phone_index) == ("13987654321", "another")
    assert (known.skills, known.categories, known.version) == (["理发"], ["文化艺术"], 3)
    assert (event.skills, event.categories, event.verified) == (["理发"], [Category.CULTURE], False)


# -- who may --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ALLOWED)
def test_who_may_not_see_a_volunteer_finds_none(what: str) -> None:
    with pytest.raises(NotFound):
        permit(what, None)


def test_nobody_vouches_for_oneself_and_only_leaders_and_staff_see_to_others() -> None:
    vouched = ("qualify", "insure", "suspend", "resume", "check_real_name")
    may = {what: {Sight.STAFF} for what in vouched}
    may |= {what: {Sight.SELF, Sight.STAFF} for what in ("update_profile", "read_log", "erase")}
    may |= {what: {Sight.SELF, Sight.STAFF, Sight.LEADER} for what in ("report_absence", "withdraw_absence")}
    may |= {"read": set(Sight), "consent_to": {Sight.SELF}, "withdraw_consent": {Sight.SELF, Sight.STAFF}}
    assert may.keys() == ALLOWED.keys()
    for what, sights in may.items():
        assert {sight for sight in Sight if _may(what, sight)} == sights, what


def _may(what: str, sight: Sight) -> bool:
    try:
        return permit(what, sight) is sight
    except Forbidden:
        return False
