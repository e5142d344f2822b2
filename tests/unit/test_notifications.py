"""Who is told what, in which words, and when a short message may say it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.contracts.cases import LOW_RATING, CaseOpened, CaseReferred, CaseSettled, CaseTaken
from services.contracts.dispatch import (
    Concern,
    ConcerningEvent,
    DispatchEvent,
    OrderAccepted,
    OrderAppointed,
    OrderCancelled,
    OrderMessaged,
    OrderMissed,
    OrderOffered,
    OrderRated,
    OrderStarted,
)
from services.contracts.notifications import QuietHours, SetPreferences, SmsChoice, Topic
from services.contracts.privacy import mask
from services.contracts.registry import Tier
from services.contracts.support import SupportAnswered, SupportRated, SupportRequested
from services.contracts.zone import CHINA
from services.registry.notifications import (
    RETRIES,
    SMS_A_DAY,
    SMS_GOOD_FOR,
    TABLE,
    Notification,
    Preferences,
    Sms,
    SmsState,
    To,
    in_words,
    lines_of,
)

NOON = datetime(2026, 6, 3, 12, tzinfo=CHINA)
WHERE = {"order_id": "o1", "site": "130802103202", "tier": Tier.STATION}
NUMBER = "19900001234"


def about(**changes: Any) -> dict[str, Any]:
    known = {"resident": "r", "placed_by": "r", "item_id": "haircut", "held_at": "130802103202", **changes}
    return {**WHERE, "concerns": Concern(**known)}


URGENT = Concern(resident="r", placed_by="r", held_at="130802103", urgent=True)


def told(event: DispatchEvent) -> dict[To, Topic]:
    return {line.to: line.topic for line in lines_of(event)}


def at(hour: int, minute: int = 0, day: int = 3) -> datetime:
    return datetime(2026, 6, day, hour, minute, tzinfo=CHINA)


def a_notification(topic: Topic = Topic.ORDER, sms: Sms | None = None) -> Notification:
    return Notification("e1.r", "r", NOON, "order.accepted", topic, "您点的“理发”已有队伍接单", "order", "o1", sms=sms)


# -- who is told what -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            OrderAccepted(**about(), team_id="t"),
            {To.ASKERS: Topic.ORDER, To.NEIGHBOURS: Topic.PROGRESS, To.NAMED: Topic.ORDER},
        ),
        (OrderOffered(**about(), team_ids=["t"]), {To.OFFERED: Topic.OFFER}),
        (OrderOffered(**about(urgent=True), team_ids=["t"]), {To.OFFERED: Topic.URGENT}),
        (
            OrderCancelled(**about(team_id="t")),
            {
                To.ASKERS: Topic.PROGRESS,
                To.TEAM: Topic.ORDER,
                To.ASKED: Topic.OFFER,
                To.NEIGHBOURS: Topic.ORDER,
            },
        ),
        (OrderMissed(**about(), team_id="t"), {To.TEAM: Topic.ORDER}),
        (OrderStarted(**about(), team_id="t"), {}),
        (OrderRated(**about(), score=5, by="resident"), {}),
    ],
)
def test_the_table_says_who_is_told_of_a_fact(event: DispatchEvent, expected: dict[To, Topic]) -> None:
    assert told(event) == expected


CASE = {"case_id": "c", "order_id": "", "team_id": "", "site": "130802103202", "to_site": "130802103"}
REQUEST = {"support_id": "s", "kind": "material", "site": "130802103202", "center": "130802"}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (CaseOpened(**CASE, kind="breach"), {To.STAFF: Topic.DESK}),
        (
            CaseOpened(**CASE, kind="mediation", concerns=URGENT, sites=["130802"]),
            {To.STAFF: Topic.URGENT, To.ALERTED: Topic.URGENT},
        ),
        (CaseReferred(**CASE, kind="fee", from_site="x"), {To.STAFF: Topic.DESK, To.ASKERS: Topic.PROGRESS}),
        (CaseSettled(**CASE, kind="fee"), {To.ASKERS: Topic.ORDER}),
        (CaseSettled(**CASE, kind=LOW_RATING), {}),
        (CaseTaken(**CASE, kind=LOW_RATING), {}),
        (SupportRequested(**REQUEST), {To.STAFF: Topic.DESK}),
        (SupportAnswered(**REQUEST), {To.ASKERS: Topic.ORDER}),
        (SupportRated(**REQUEST, score=5), {}),
    ],
)
def test_the_table_says_who_is_told_of_a_case_or_a_request(
    event: ConcerningEvent, expected: dict[To, Topic]
) -> None:  # fmt: skip
    assert {line.to: line.topic for line in lines_of(event)} == expected


@pytest.mark.parametrize(
    ("by", "needs_reply", "expected"),
    [
        ("resident", False, {To.HOLDER: Topic.MESSAGE}),
        ("team", False, {To.ASKERS: Topic.MESSAGE}),
        ("site", True, {To.ASKERS: Topic.ORDER}),
    ],
)
def test_a_message_is_told_to_the_other_side(by: str, needs_reply: bool, expected: dict[To, Topic]) -> None:
    event = OrderMessaged(**about(), message_id="m", by=by, needs_reply=needs_reply, waiting=needs_reply, due_at=None)
    assert told(event) == expected


def test_whoever_sets_the_time_of_the_visit_it_is_told_to_the_others_in_the_time_of_china() -> None:
    start = datetime(2026, 6, 4, 1, 30, tzinfo=UTC)
    event = OrderAppointed(**about(), by="team", start=start, end=start + timedelta(hours=1))
    (line,) = lines_of(event)
    assert in_words(line, event, "理发", "庄头营村") == "您点的“理发”上门时间定为 06月04日 09:30"
    assert told(event.model_copy(update={"by": "resident"})) == {To.HOLDER: Topic.MESSAGE}


def test_every_text_is_short_and_has_room_for_what_is_no_person_only() -> None:
    for line in TABLE:
        text = line.text.format(item="上门理发", place="庄头营村", time="06月04日 09:30", tier="所")
        assert len(text) <= 50 and mask(text) == text


# -- preferences ----------------------------------------------------------------------------------------


def test_short_messages_are_by_default_what_has_to_be_known_in_time_and_for_who_is_served() -> None:
    wishes = Preferences("r")
    assert {topic for topic in Topic if wishes.wants_sms(topic)} == {Topic.ORDER, Topic.URGENT}
    assert not wishes.wants_sms(Topic.ORDER, proxy=True)


def test_a_choice_counts_for_a_proxy_too_and_leaves_the_other_topics_as_they_are() -> None:
    wishes = Preferences("r")
    wishes.bring_to(SetPreferences(sms=SmsChoice(order=True, offer=True)))
    wishes.bring_to(SetPreferences(sms=SmsChoice(offer=False)))
    assert wishes.wants_sms(Topic.ORDER, proxy=True) and not wishes.wants_sms(Topic.OFFER)
    assert wishes.wants_sms(Topic.URGENT)


@pytest.mark.parametrize(
    ("moment", "rings"),
    [
        (at(21, 59), at(21, 59)),
        (at(22), at(7, day=4)),
        (at(23, 30), at(7, day=4)),
        (at(0), at(7)),
        (at(6, 59), at(7)),
        (at(7), at(7)),
    ],
)
def test_in_quiet_hours_a_short_message_waits_for_their_end_also_over_midnight(
    moment: datetime, rings: datetime
) -> None:
    assert Preferences("r").may_ring(Topic.ORDER, moment.astimezone(UTC)) == rings
    assert Preferences("r").may_ring(Topic.URGENT, moment) == moment


def test_quiet_hours_within_a_day_and_none_at_all() -> None:
    wishes = Preferences("r")
    wishes.bring_to(SetPreferences(quiet=QuietHours(**{"from": "12:00", "to": "14:00"})))
    assert wishes.may_ring(Topic.ORDER, at(13)) == at(14) and wishes.may_ring(Topic.ORDER, at(23)) == at(23)
    wishes.bring_to(SetPreferences(quiet=QuietHours(**{"from": "00:00", "to": "00:00"})))
    assert wishes.may_ring(Topic.ORDER, at(0)) == at(0)


# -- short messages -------------------------------------------------------------------------------------


def test_an_old_fact_makes_no_short_message() -> None:
    fresh, old = a_notification(), a_notification()
    fresh.ring(Preferences("r"), False, NOON + SMS_GOOD_FOR - timedelta(seconds=1))
    old.ring(Preferences("r"), False, NOON + SMS_GOOD_FOR)
    assert fresh.sms is not None and old.sms is None


@pytest.mark.parametrize(
    ("number", "sent", "now", "state"),
    [
        (NUMBER, SMS_A_DAY, NOON, SmsState.UNWANTED),
        ("", 0, NOON, SmsState.UNWANTED),
        (NUMBER, 0, NOON + SMS_GOOD_FOR, SmsState.EXPIRED),
        (NUMBER, 0, at(23), SmsState.WAITING),
    ],
)
def test_what_is_not_sent(number: str, sent: int, now: datetime, state: SmsState) -> None:
    sms = Sms(NOON)
    assert not a_notification().may_be_sent(sms, Preferences("r"), number, sent, now)
    assert sms.state is state and (state is not SmsState.WAITING or sms.due_at == at(7, day=4))


def test_what_is_not_wanted_any_more_is_not_sent() -> None:
    assert a_notification().may_be_sent(Sms(NOON), Preferences("r"), NUMBER, SMS_A_DAY - 1, NOON)
    sms, wishes = Sms(NOON), Preferences("r", {"order": False})
    assert not a_notification().may_be_sent(sms, wishes, NUMBER, 0, NOON) and sms.state is SmsState.UNWANTED


def test_attempts_come_more_and_more_seldom_with_luck_and_never_before_the_gateway_wants_them() -> None:
    notification, sms = a_notification(), Sms(NOON)
    waits = []
    for _ in range(len(RETRIES) + 2):
        notification.try_again(sms, timedelta(), 0.0, NOON)
        waits.append(sms.due_at - NOON)
    assert waits == [*RETRIES, RETRIES[-1], RETRIES[-1]]
    notification.try_again(sms, timedelta(), 1.0, NOON)
    assert sms.due_at - NOON == RETRIES[-1] * 1.25
    first = Sms(NOON)
    notification.try_again(first, timedelta(seconds=120), 0.0, NOON)
    assert first.due_at - NOON == timedelta(seconds=120)


def test_the_id_of_a_short_message_is_always_the_same_and_names_no_account() -> None:
    assert a_notification().sms_id == a_notification().sms_id and "e1.r" not in a_notification().sms_id


def test_what_is_forgotten_says_nothing_of_anybody() -> None:
    notification = a_notification(sms=Sms(NOON, number="hash"))
    notification.forget()
    assert (notification.account, notification.text, notification.subject_id, notification.sms) == ("", "", "", None)
