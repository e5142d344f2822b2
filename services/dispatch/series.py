"""Recurring orders (domain, section 4): a rule of RFC 5545, its occurrences, and when each becomes an order.

An occurrence is known by the day that the rule gives it, to whatever day holidays or people move it. All days are
those of China, where no clock is ever put forward or back.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import islice, takewhile
from typing import Any

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, YEARLY, rrule, weekday
from ulid import ULID

from services.chassis.messages import Event
from services.contracts.actor import Actor
from services.contracts.errors import Conflict, invalid
from services.contracts.privacy import Secret, mask
from services.contracts.registry import TargetGroup
from services.contracts.series import HolidayPolicy, StartSeries
from services.contracts.zone import CHINA, midnight
from services.dispatch.deadlines import add_working_days, is_working_day
from services.dispatch.domain import STATE_NAMES, Order, State, Wish
from services.dispatch.known import Item, Place

HORIZON = timedelta(days=731)
"""From the start; no series runs longer, so that whoever gets something is asked again one day."""
EARLIEST_START = timedelta(days=366)
AT_ONCE = 10
"""Occurrences of one series that become orders in one go."""
MOST_RUNNING = 30
"""Series of one resident."""
SHOWN = 10
REMEMBERED = 64
UNKNOWN = "没有找到这个系列"
"""The same of a series that is not there and of one that the caller may not know of."""
MOVED, ENDED = "改到别的时间", "不再需要这个系列的服务"
"""What teams read of an order that was called off; why a series ended is for the requester and staff only."""
PASSED = "当时没有点成单，时间已过"

EXAMPLE = "如每月 5 日：FREQ=MONTHLY;BYMONTHDAY=5"
NO_RULE = f"不是重复规则的写法，{EXAMPLE}"
TOO_DENSE = "最多每天一次，不能按小时、分钟或秒重复；几点由 start 决定"
NEVER = f"按这个规则，开始以后的 {HORIZON.days // 365} 年里一次也没有，请核对规则、开始时间和节假日的安排"
TOO_LONG = f"一个系列最长 {HORIZON.days // 365} 年，请填早一点的结束日期，到时再续"

FREQUENCIES: Mapping[str, int] = {"DAILY": DAILY, "WEEKLY": WEEKLY, "MONTHLY": MONTHLY, "YEARLY": YEARLY}
PARTS: Mapping[str, frozenset[str]] = {
    "DAILY": frozenset({"INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTH"}),
    "WEEKLY": frozenset({"INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTH", "WKST"}),
    "MONTHLY": frozenset({"INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYSETPOS"}),
    "YEARLY": frozenset({"COUNT", "UNTIL", "BYDAY", "BYMONTH", "BYMONTHDAY"}),
}
"""What a rule may say by its frequency. The library searches until the year 9999 for a rule that never fits, which
takes seconds, so there are only parts that fit some day, or of which can be told that they never do."""
RANGES: Mapping[str, tuple[int, int]] = {
    "INTERVAL": (1, 366), "COUNT": (1, HORIZON.days), "BYMONTH": (1, 12), "BYMONTHDAY": (-31, 31), "BYSETPOS": (-4, 4),
}  # fmt: skip
DENSE = frozenset({"SECONDLY", "MINUTELY", "HOURLY"})
DENSE_PARTS = frozenset({"BYHOUR", "BYMINUTE", "BYSECOND"})
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
NUMBER = re.compile(r"[+-]?[0-9]{1,3}")
DAY = re.compile(rf"([+-]?[1-5])?({'|'.join(WEEKDAYS)})")
UNTIL = re.compile(r"([0-9]{8})(T[0-9]{6})?(Z)?")
LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


# -- rules --------------------------------------------------------------------------------------------


def days_of(text: str, start: datetime) -> list[date]:
    """The days that a rule gives from ``start`` to the horizon; raise ``Invalid`` for what is no rule of ours."""
    return list(_days(text, start.astimezone(CHINA).replace(tzinfo=None, microsecond=0)))


@lru_cache(REMEMBERED)
def _days(text: str, first: datetime) -> tuple[date, ...]:
    """One use case asks several times for the same."""
    parts = _parts(text)
    last = (first + HORIZON).date()
    rule = rrule(FREQUENCIES[parts["FREQ"]], dtstart=first, **_arguments(parts, first, last))
    return tuple(moment.date() for moment in takewhile(lambda moment: moment.date() <= last, rule))


def _parts(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.upper().removeprefix("RRULE:").split(";")]
    parts = {name.strip(): value.strip() for name, _, value in pairs}
    if len(parts) < len(pairs) or not all(parts.values()):
        raise invalid("rule", NO_RULE)
    frequency = parts.get("FREQ", "")
    if frequency in DENSE or DENSE_PARTS & parts.keys():
        raise invalid("rule", TOO_DENSE)
    if frequency not in FREQUENCIES:
        raise invalid("rule", f"FREQ 要填 {'、'.join(FREQUENCIES)} 之一，{EXAMPLE}")
    if parts.keys() - PARTS[frequency] - {"FREQ"}:
        allowed = "、".join(sorted(PARTS[frequency]))
        raise invalid("rule", f"FREQ={frequency} 时只能再填 {allowed}，{EXAMPLE}")
    _check_together(parts)
    return parts


def _check_together(parts: Mapping[str, str]) -> None:
    """What can be given only with, or without, something else."""
    numbered = any(character.isdigit() for character in parts.get("BYDAY", ""))
    with_interval = parts.get("INTERVAL", "1") != "1"
    wrong = {
        "COUNT 和 UNTIL 只能填一个": {"COUNT", "UNTIL"} <= parts.keys(),
        "BYDAY 和 BYMONTHDAY 只能填一个": {"BYDAY", "BYMONTHDAY"} <= parts.keys(),
        "填了 BYMONTH 就不能填 INTERVAL": "BYMONTH" in parts and with_interval,
        "按天重复时，填了 BYDAY 就不能填 INTERVAL": parts["FREQ"] == "DAILY" and "BYDAY" in parts and with_interval,
        "BYDAY 里的第几个只用于 FREQ=MONTHLY，或有 BYMONTH 的 FREQ=YEARLY": numbered
        and parts["FREQ"] in ("DAILY", "WEEKLY"),
        "按年重复时，填了 BYDAY 就要填 BYMONTH": parts["FREQ"] == "YEARLY"
        and "BYDAY" in parts
        and "BYMONTH" not in parts,
        "BYSETPOS 要和不带序号的 BYDAY 一起填": "BYSETPOS" in parts and (numbered or "BYDAY" not in parts),
    }
    for words, is_wrong in wrong.items():
        if is_wrong:
            raise invalid("rule", words)


def _arguments(parts: Mapping[str, str], first: datetime, last: date) -> dict[str, Any]:
    """For the library, which takes more than the standard allows."""
    numbers = {name: _numbers(name, parts[name]) for name in RANGES if name in parts}
    given: dict[str, Any] = {
        "interval": numbers.get("INTERVAL", [1])[0],
        "bymonth": numbers.get("BYMONTH"),
        "bymonthday": numbers.get("BYMONTHDAY"),
        "bysetpos": numbers.get("BYSETPOS"),
        "byweekday": [_weekday(day) for day in parts["BYDAY"].split(",")] if "BYDAY" in parts else None,
        "wkst": _weekday(parts.get("WKST", "MO")),
    }
    if "COUNT" in numbers:
        given["count"] = numbers["COUNT"][0]
    if "UNTIL" in parts:
        given["until"] = _until(parts["UNTIL"], first, last)
    if parts["FREQ"] == "MONTHLY" and given["interval"] > len(LONGEST_MONTHS):
        raise invalid("rule", "按月重复时，INTERVAL 最大填 12")
    _check_days(parts, given, first)
    return given


def _numbers(name: str, text: str) -> list[int]:
    lowest, highest = RANGES[name]
    told = text.split(",")
    numbers = [int(number) for number in told if NUMBER.fullmatch(number)]
    single = name in ("INTERVAL", "COUNT")
    if len(numbers) < len(told) or (single and len(told) > 1):
        raise invalid("rule", f"{name} 要填数字" + ("" if single else "，几个数字用逗号分开"))
    if any(not lowest <= number <= highest or number == 0 for number in numbers):
        either = f"{lowest} 到 {highest}" if lowest > 0 else f"1 到 {highest}，或倒数的 -1 到 {lowest}"
        raise invalid("rule", f"{name} 要在 {either} 之间")
    return numbers


def _weekday(text: str) -> Any:
    found = DAY.fullmatch(text)
    if found is None:
        raise invalid("rule", f"星期要填 {'、'.join(WEEKDAYS)}，第几个写在前面，如 2TU、-1FR")
    return weekday(WEEKDAYS.index(found[2]), int(found[1]) if found[1] else None)


def _until(text: str, first: datetime, last: date) -> datetime:
    """A day is meant until its end; what ends in Z is not Chinese time."""
    found = UNTIL.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        moment = datetime.strptime(found[1] + (found[2] or "T235959"), "%Y%m%dT%H%M%S")
    except ValueError:
        raise invalid("rule", "UNTIL 要填日期，如 UNTIL=20261231") from None
    if found[3]:
        moment = moment.replace(tzinfo=UTC).astimezone(CHINA).replace(tzinfo=None)
    if moment < first:
        raise invalid("rule", "UNTIL 早于开始时间")
    if moment.date() > last:
        raise invalid("rule", TOO_LONG)
    return moment


def _check_days(parts: Mapping[str, str], given: Mapping[str, Any], first: datetime) -> None:
    """Raise ``Invalid`` when no month that is meant is long enough for any of the days."""
    if "BYDAY" in parts or parts["FREQ"] in ("DAILY", "WEEKLY"):
        return
    days = given["bymonthday"] or [first.day]
    if parts["FREQ"] == "YEARLY" and not (given["bymonth"] or given["bymonthday"]):
        return  # the very day of the start
    step = given["interval"] if parts["FREQ"] == "MONTHLY" else 1
    months = given["bymonth"] or [(first.month - 1 + step * n) % 12 + 1 for n in range(12)]
    if all(abs(day) > LONGEST_MONTHS[month - 1] for month in months for day in days):
        raise invalid("rule", NEVER)


def settle(days: Iterable[date], policy: HolidayPolicy) -> dict[date, date]:
    """On which day each day of a rule takes place. What would fall on a day that has an occurrence falls away."""
    planned = list(days)
    if policy is HolidayPolicy.AS_PLANNED:
        return {day: day for day in planned}
    settled = {day: day for day in planned if is_working_day(day)}
    if policy is HolidayPolicy.SKIP:
        return settled
    taken = set(settled)
    for day in planned:
        if day not in settled and (later := add_working_days(day, 1)) not in taken:
            settled[day] = later
            taken.add(later)
    return settled


# -- series -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Occurrence:
    """One time of a series; ``number`` counts its orders, as it may be moved when it has one."""

    day: date
    start: datetime
    number: int = 1

    @property
    def on(self) -> date:
        """Where it was moved to."""
        return self.start.astimezone(CHINA).date()


@dataclass
class Move:
    day: date
    start: datetime
    number: int


@dataclass
class Skipped:
    day: date
    by: str
    reason: str


@dataclass
class Missed:
    """An occurrence that did not become an order, and why."""

    day: date
    why: str


@dataclass
class Series:
    id: str
    site: str
    path: list[str]
    item_id: str
    item_name: str
    resident_id: str
    placed_by: str
    target_group: TargetGroup
    description: Secret
    rule: str
    start: datetime
    minutes: int
    holidays: HolidayPolicy
    lead_days: int
    started_at: datetime
    address: Secret | None = None
    resident_name: Secret | None = None
    phone: Secret | None = None
    ended_from: date | None = None
    end_reason: Secret | None = None
    moves: list[Move] = field(default_factory=list)
    placed: list[date] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    next_at: datetime | None = None
    """When the next occurrence becomes an order; None when there is no more."""
    version: int = 0

    # -- what it is ---------------------------------------------------------------------------------

    @property
    def last_day(self) -> date:
        """After it nothing takes place, whatever the rule says."""
        return (self.start + HORIZON).astimezone(CHINA).date()

    def occurrences(self) -> list[Occurrence]:
        """All that take place if nobody skips them, in the order of their time."""
        moves = {move.day: move for move in self.moves}
        hour = self.start.astimezone(CHINA).time()
        found = [
            Occurrence(day, move.start, move.number)
            if (move := moves.get(day))
            else Occurrence(day, datetime.combine(on, hour, CHINA).astimezone(UTC))
            for day, on in settle(days_of(self.rule, self.start), self.holidays).items()
        ]
        kept = (one for one in found if self.ended_from is None or one.on < self.ended_from)
        return sorted(kept, key=lambda one: (one.start, one.day))

    def pending(self) -> list[Occurrence]:
        """What waits to become an order."""
        done = {*self.placed, *self._gone}
        return [one for one in self.occurrences() if one.day not in done]

    def coming(self, now: datetime) -> list[Occurrence]:
        """The next that take place, with or without an order already."""
        gone = self._gone
        ahead = (one for one in self.occurrences() if one.start > now and one.day not in gone)
        return list(islice(ahead, SHOWN))

    def place_at(self, occurrence: Occurrence) -> datetime:
        """When the day begins that lies the lead time before the occurrence."""
        return midnight(occurrence.on - timedelta(days=self.lead_days)).astimezone(UTC)

    def end_of(self, occurrence: Occurrence) -> datetime:
        return occurrence.start + timedelta(minutes=self.minutes)

    def order_id(self, occurrence: Occurrence) -> str:
        """The same for everybody who places it, so that it is placed once; sorts by the day when that is due."""
        time = int(midnight(occurrence.day - timedelta(days=self.lead_days)).timestamp() * 1000)
        about = f"{self.id} {occurrence.day} {occurrence.number}".encode()
        return str(ULID.from_bytes(time.to_bytes(6, "big") + blake2b(about, digest_size=10).digest()))

    def wish(self, occurrence: Occurrence) -> Wish:
        return Wish(
            self.resident_id, self.placed_by, self.target_group, self.description, self.address, self.resident_name,
            occurrence.start, self.end_of(occurrence), series=self.id, phone=self.phone,
        )  # fmt: skip

    # -- what happens to it -------------------------------------------------------------------------

    @classmethod
    def begin(cls, id: str, item: Item, place: Place, wish: Wish, command: StartSeries, now: datetime) -> "Series":
        """The wish is that of each order; raise ``Invalid`` for a rule or a start that cannot be."""
        if command.start <= now:
            raise invalid("start", "开始时间要晚于现在")
        if command.start > now + EARLIEST_START:
            raise invalid("start", "开始时间不能晚于一年以后")
        series = cls(
            id=id, site=place.id, path=place.path, item_id=item.id, item_name=item.name, resident_id=wish.resident_id,
            placed_by=wish.placed_by, target_group=wish.target_group, description=wish.description,
            address=wish.address, resident_name=wish.resident_name, phone=wish.phone, rule=command.rule,
            start=command.start, minutes=command.minutes, holidays=command.holidays,
            lead_days=command.lead_days, started_at=now,
        )  # fmt: skip
        series._plan()
        if series.next_at is None:
            raise invalid("rule", NEVER)
        return series

    def take_due(self, now: datetime) -> list[Occurrence]:
        """What becomes an order now. Of what was left over from a downtime, that is what still lies ahead."""
        due = list(takewhile(lambda one: self.place_at(one) <= now, self.pending()))
        self.missed += [Missed(one.day, PASSED) for one in due if one.start <= now]
        ahead = [one for one in due if one.start > now][:AT_ONCE]
        self.placed += [one.day for one in ahead]
        self._plan()
        return ahead

    def miss(self, occurrence: Occurrence, why: str) -> None:
        """It was taken, but cannot be ordered any more."""
        self.placed.remove(occurrence.day)
        self.missed.append(Missed(occurrence.day, why))

    def move(self, day: date, to: datetime, now: datetime) -> str | None:
        """To another time. The order that it had, if it had one: it gets another, which is offered for the new time."""
        known = self._changeable(day, now)
        if to <= now:
            raise invalid("to", "要晚于现在")
        if to > self.start + HORIZON or (self.ended_from and to.astimezone(CHINA).date() >= self.ended_from):
            raise invalid("to", "超出了这个系列的时间")
        order = self._release(known)
        number = known.number if order is None else known.number + 1
        self.moves = [*(move for move in self.moves if move.day != day), Move(day, to, number)]
        self._plan()
        return order

    def skip(self, day: date, actor: Actor, reason: str, now: datetime) -> str | None:
        """The order that it had, if it had one."""
        order = self._release(self._changeable(day, now))
        self.skipped.append(Skipped(day, actor.id, mask(reason)))
        self._plan()
        return order

    def end(self, day: date, reason: str, now: datetime) -> list[str]:
        """From a day on; the orders that there are for then."""
        if day < now.astimezone(CHINA).date():
            raise invalid("from", "不能早于今天")
        if self.ended_from and day >= self.ended_from:
            raise Conflict(f"这个系列已经从 {self.ended_from} 起结束", ended_from=self.ended_from)
        orders = [self._release(one) for one in self.occurrences() if one.on >= day and one.start > now]
        self.ended_from, self.end_reason = day, reason
        self._plan()
        return [order for order in orders if order is not None]

    # -- parts --------------------------------------------------------------------------------------

    @property
    def _gone(self) -> set[date]:
        return {skipped.day for skipped in self.skipped} | {missed.day for missed in self.missed}

    def _release(self, occurrence: Occurrence) -> str | None:
        """Its order, if it has one, which is not the series' any more."""
        if occurrence.day not in self.placed:
            return None
        self.placed.remove(occurrence.day)
        return self.order_id(occurrence)

    def _changeable(self, day: date, now: datetime) -> Occurrence:
        known = next((one for one in self.occurrences() if one.day == day), None)
        if known is None:
            raise invalid("occurrence", "这个系列在这一天没有服务；请填规则给出的那一天，改期以后也不变")
        if any(skipped.day == day for skipped in self.skipped):
            raise Conflict("这一次已经取消了", occurrence=day)
        if known.start <= now or any(missed.day == day for missed in self.missed):
            raise Conflict("这一次的时间已经过了", occurrence=day)
        return known

    def _plan(self) -> None:
        """Whatever takes place first is ordered first."""
        self.next_at = next(map(self.place_at, self.pending()), None)


def call_off(order: Order, actor: Actor, reason: str, now: datetime) -> list[Event]:
    """The order of an occurrence that does not take place then; raise ``Conflict`` when it is too late for that."""
    if order.state in (State.CANCELLED, State.REJECTED):
        return []
    if "cancel" not in order.possible:
        words = f"这一次的单已经是“{STATE_NAMES[order.state]}”，不能再改，请与站里的工作人员联系"
        raise Conflict(words, order=order.id, state=order.state, possible=order.possible)
    return order.cancel(actor, reason, now)
