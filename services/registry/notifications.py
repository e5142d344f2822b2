"""Who is told of which fact about an order, a case or a request, in which words; and when a short message says it too.

No text names a person, a number or an address.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Any

from services.contracts.cases import LOW_RATING, CaseEvent, CaseOpened, CaseReferred, CaseSettled, CaseTaken
from services.contracts.dispatch import (
    ConcerningEvent,
    DispatchEvent,
    OrderAccepted,
    OrderAlerted,
    OrderAppointed,
    OrderCancelled,
    OrderCompleted,
    OrderEscalated,
    OrderMessaged,
    OrderMissed,
    OrderOffered,
    OrderPlaced,
    OrderRejected,
    OrderUnmet,
    OrderWithdrawn,
)
from services.contracts.notifications import SetPreferences, Topic
from services.contracts.registry import Tier
from services.contracts.support import SupportAnswered, SupportDeclined, SupportRequested, SupportTaken
from services.contracts.zone import CHINA

KEPT = timedelta(days=90)
SMS_GOOD_FOR = timedelta(hours=24)
"""Since the fact: later a short message would say what is not true any more."""
SMS_A_DAY = 10
"""To one number; what is more is in the app only."""
QUIET_FROM, QUIET_TO = "22:00", "07:00"
SMS_BY_DEFAULT = frozenset({Topic.ORDER, Topic.URGENT})
RETRIES = tuple(timedelta(seconds=s) for s in (5, 15, 60, 300, 900, 1800))
"""Between attempts; the last one again and again until the message is too old."""
JITTER = 0.25
LONGEST_WAIT = timedelta(hours=1)
"""What a gateway may ask for."""
SMS_ID_LENGTH = 32  # characters
TIERS = {Tier.STATION: "站", Tier.INSTITUTE: "所", Tier.CENTER: "中心", Tier.CITY: "市"}


class To(StrEnum):
    """Whom, by how they stand to the order."""

    ASKERS = "askers"
    """The resident, and who has placed it for the resident."""
    OFFERED = "offered"
    """Who leads a team that may take it: one that was asked, or one that may claim it from the open pool."""
    TEAM = "team"
    """Who leads the team that has it, or has just lost it."""
    HOLDER = "holder"
    """As ``TEAM``; while no team has it, the staff of the site whose turn it is."""
    STAFF = "staff"
    ASKED = "asked"
    """Who leads a team that was asked and has not answered."""
    NAMED = "named"
    """Members who were named to go."""
    NEIGHBOURS = "neighbours"
    """Who needs the same."""
    ALERTED = "alerted"
    """Staff of the sites above."""


def _always(_event: Any) -> bool:
    return True


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    event: type[ConcerningEvent]
    to: To
    topic: Topic
    text: str
    """With ``item``, ``place`` and, where there is one, ``time`` and ``tier``."""
    when: Callable[[Any], bool] = _always


def _urgent(event: ConcerningEvent) -> bool:
    return event.concerns is not None and event.concerns.urgent


def _not_urgent(event: ConcerningEvent) -> bool:
    return not _urgent(event)


def _reported(event: CaseEvent) -> bool:
    """By somebody who knows that it is a case; of a low rating the resident has said what there is to say."""
    return event.kind != LOW_RATING


def _by_resident(event: OrderMessaged | OrderAppointed) -> bool:
    return event.by == "resident"


TABLE = (
    Line(OrderOffered, To.OFFERED, Topic.OFFER, "有一张新点单：{item}（{place}），可以接单", _not_urgent),
    Line(OrderOffered, To.OFFERED, Topic.URGENT, "有一张急单：{item}（{place}），请尽快看是否接单", _urgent),
    Line(OrderAlerted, To.ALERTED, Topic.URGENT, "下级有一张急单：{item}（{place}），请关注"),
    Line(OrderPlaced, To.STAFF, Topic.DESK, "有一张新点单等您派单：{item}（{place}）", lambda e: e.by_hand),
    Line(OrderAccepted, To.ASKERS, Topic.ORDER, "您点的“{item}”已有队伍接单"),
    Line(OrderAccepted, To.NEIGHBOURS, Topic.PROGRESS, "您也需要的“{item}”已有队伍接单"),
    Line(OrderAccepted, To.NAMED, Topic.ORDER, "队长安排您去“{item}”（{place}），时间请看点单"),
    Line(OrderWithdrawn, To.ASKERS, Topic.ORDER, "接您“{item}”的队伍来不了，正在重新安排"),
    Line(OrderWithdrawn, To.STAFF, Topic.DESK, "有一张单被队伍退回：{item}（{place}），请重新安排"),
    Line(OrderMissed, To.TEAM, Topic.ORDER, "您队伍接的“{item}”（{place}）被登记为没有到场"),
    Line(
        OrderAppointed, To.ASKERS, Topic.ORDER, "您点的“{item}”上门时间定为 {time}", lambda e: not _by_resident(e)
    ),
    Line(OrderAppointed, To.TEAM, Topic.MESSAGE, "“{item}”（{place}）的上门时间定为 {time}", lambda e: e.by == "site"),
    Line(OrderAppointed, To.HOLDER, Topic.MESSAGE, "“{item}”（{place}）的上门时间改为 {time}", _by_resident),
    Line(
        OrderMessaged, To.ASKERS, Topic.ORDER, "您点的“{item}”有一条留言等您回复",
        lambda e: not _by_resident(e) and e.needs_reply,
    ),
    Line(
        OrderMessaged, To.ASKERS, Topic.MESSAGE, "您点的“{item}”有一条新留言",
        lambda e: not _by_resident(e) and not e.needs_reply,
    ),
    Line(OrderMessaged, To.HOLDER, Topic.MESSAGE, "“{item}”（{place}）的居民有新留言", _by_resident),
    Line(OrderCompleted, To.ASKERS, Topic.ORDER, "您点的“{item}”已经完成，请您评价"),
    Line(OrderCompleted, To.NEIGHBOURS, Topic.PROGRESS, "您也需要的“{item}”已经完成"),
    Line(OrderEscalated, To.STAFF, Topic.DESK, "有一张单上报到本级：{item}（{place}），请处理"),
    Line(OrderEscalated, To.ASKERS, Topic.PROGRESS, "您点的“{item}”已上报到{tier}，继续为您安排"),
    Line(OrderUnmet, To.STAFF, Topic.DESK, "有一项需求暂时没有队伍能满足：{item}（{place}）"),
    Line(OrderUnmet, To.ASKERS, Topic.ORDER, "您点的“{item}”暂时没有合适的队伍，一有队伍就为您派单"),
    Line(OrderRejected, To.ASKERS, Topic.ORDER, "您点的“{item}”没有受理，原因请在点单里查看，或问站里"),
    Line(OrderRejected, To.ASKED, Topic.OFFER, "派给您队伍的“{item}”（{place}）没有受理，不用再看"),
    Line(OrderRejected, To.NEIGHBOURS, Topic.ORDER, "您也需要的“{item}”没有受理；需要请自己点单"),
    Line(OrderCancelled, To.ASKED, Topic.OFFER, "派给您队伍的“{item}”（{place}）已取消，不用再看"),
    Line(OrderCancelled, To.NEIGHBOURS, Topic.ORDER, "您也需要的“{item}”已取消；仍需要请自己点单"),
    Line(OrderCancelled, To.ASKERS, Topic.PROGRESS, "您点的“{item}”已取消"),
    Line(OrderCancelled, To.TEAM, Topic.ORDER, "您队伍接的“{item}”（{place}）已取消，不用再去"),
    Line(CaseOpened, To.STAFF, Topic.DESK, "有一件反映或投诉的事待办理（{place}）", _not_urgent),
    Line(CaseOpened, To.STAFF, Topic.URGENT, "有一件急事待办理（{place}），请马上查看", _urgent),
    Line(CaseOpened, To.ALERTED, Topic.URGENT, "下级有一件急事（{place}），请关注", _urgent),
    Line(CaseTaken, To.ASKERS, Topic.PROGRESS, "您反映的事已有工作人员在办", _reported),
    Line(CaseReferred, To.STAFF, Topic.DESK, "下级转来一件事（{place}），请办理", _not_urgent),
    Line(CaseReferred, To.STAFF, Topic.URGENT, "下级转来一件急事（{place}），请马上查看", _urgent),
    Line(CaseReferred, To.ASKERS, Topic.PROGRESS, "您反映的事已转到上一级办理", _reported),
    Line(CaseSettled, To.ASKERS, Topic.ORDER, "您反映的事已经办结，结果请在手机上查看，或问站里", _reported),
    Line(SupportRequested, To.STAFF, Topic.DESK, "有一项支持请求待办理（{place}）"),
    Line(SupportTaken, To.ASKERS, Topic.PROGRESS, "您申请的支持已有人在办"),
    Line(SupportAnswered, To.ASKERS, Topic.ORDER, "您申请的支持已经办理，请您评价"),
    Line(SupportDeclined, To.ASKERS, Topic.ORDER, "您申请的支持没有受理，原因请在申请里查看"),
)  # fmt: skip
"""Not here is what nobody would look up for: what they have done themselves, and what needs nothing of them."""


FACTS = tuple(dict.fromkeys(line.event for line in TABLE))


def lines_of(event: ConcerningEvent) -> list[Line]:
    return [line for line in TABLE if type(event) is line.event and line.when(event)]


def in_words(line: Line, event: ConcerningEvent, item: str, place: str) -> str:
    at = f"{event.start.astimezone(CHINA):%m月%d日 %H:%M}" if isinstance(event, OrderAppointed) else ""
    tier = TIERS[event.tier] if isinstance(event, DispatchEvent) else ""
    return line.text.format(item=item, place=place, time=at, tier=tier)


@dataclass
class Preferences:
    """Has the id of the account. ``sms`` holds what was chosen; the rest is by default."""

    id: str
    sms: dict[str, bool] = field(default_factory=dict)
    quiet_from: str = QUIET_FROM
    quiet_to: str = QUIET_TO
    version: int = 0

    def bring_to(self, wanted: SetPreferences) -> None:
        self.sms = {**self.sms, **wanted.sms.model_dump(exclude_none=True)}
        if wanted.quiet is not None:
            self.quiet_from, self.quiet_to = wanted.quiet.start, wanted.quiet.end

    def wants_sms(self, topic: Topic, proxy: bool = False) -> bool:
        """Who orders for others is asked first."""
        return self.sms.get(topic, topic in SMS_BY_DEFAULT and not proxy)

    def may_ring(self, topic: Topic, at: datetime) -> datetime:
        """When a short message that is due may be sent: after the quiet hours, but for urgent ones."""
        start, end = time.fromisoformat(self.quiet_from), time.fromisoformat(self.quiet_to)
        here = at.astimezone(CHINA)
        clock = here.time().replace(tzinfo=None)
        quiet = start <= clock < end if start <= end else clock >= start or clock < end
        if topic is Topic.URGENT or not quiet:
            return at
        wakes = here.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0)
        return wakes if wakes > here else wakes + timedelta(days=1)


class SmsState(StrEnum):
    WAITING = "waiting"
    SENT = "sent"
    REFUSED = "refused"
    """The gateway will not have it, now or later."""
    EXPIRED = "expired"
    UNWANTED = "unwanted"
    """Too many to the number this day, no number, or not wanted any more: it is in the app only."""


@dataclass
class Sms:
    """What is to be sent, or was; the number is looked up when it is sent."""

    due_at: datetime
    proxy: bool = False
    state: SmsState = SmsState.WAITING
    attempts: int = 0
    number: str = ""
    """The keyed hash of the one that it was sent to, on ``day``."""
    day: str = ""


@dataclass
class Notification:
    id: str
    account: str
    at: datetime
    kind: str
    """The fact."""
    topic: Topic
    text: str
    subject_type: str
    """The first word of the fact: ``order``, ``case``, ``support``."""
    subject_id: str
    read_at: datetime | None = None
    sms: Sms | None = None
    version: int = 0

    @property
    def sms_id(self) -> str:
        """The same for every attempt; tells nobody who the account is."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:SMS_ID_LENGTH]

    def ring(self, preferences: Preferences, proxy: bool, now: datetime) -> None:
        """With a short message, if it is wanted and is still news."""
        if preferences.wants_sms(self.topic, proxy) and now < self.at + SMS_GOOD_FOR:
            self.sms = Sms(preferences.may_ring(self.topic, now), proxy)

    def read(self, at: datetime) -> bool:
        """Whether that is new."""
        if self.read_at is not None:
            return False
        self.read_at = at
        return True

    def forget(self) -> None:
        """It is nobody's, and goes when its time is over."""
        self.account = self.text = self.subject_id = ""
        self.sms = None

    # -- its short message --------------------------------------------------------------------------

    def may_be_sent(self, sms: Sms, preferences: Preferences, number: str, sent: int, now: datetime) -> bool:
        """Now, to the number, which has had ``sent`` this day; else what becomes of it."""
        if now >= self.at + SMS_GOOD_FOR:
            sms.state = SmsState.EXPIRED
        elif not number or sent >= SMS_A_DAY or not preferences.wants_sms(self.topic, sms.proxy):
            sms.state = SmsState.UNWANTED
        elif (later := preferences.may_ring(self.topic, now)) > now:
            sms.due_at = later
        else:
            return True
        return False

    def was_sent(self, sms: Sms, number: str, now: datetime) -> None:
        """``number``: its keyed hash."""
        sms.state, sms.number, sms.day = SmsState.SENT, number, day_of(now)

    def try_again(self, sms: Sms, asked: timedelta, luck: float, now: datetime) -> None:
        """After what the gateway has asked for, at least; ``luck`` is in 0 to 1."""
        wait = RETRIES[min(sms.attempts, len(RETRIES) - 1)] * (1 + JITTER * luck)
        sms.attempts += 1
        sms.due_at = now + max(wait, min(asked, LONGEST_WAIT))


def day_of(at: datetime) -> str:
    return at.astimezone(CHINA).date().isoformat()
