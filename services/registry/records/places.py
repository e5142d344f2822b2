"""Rooms of a site that can be booked, and places outside the tree of divisions."""

from services.contracts.errors import Conflict, invalid
from services.contracts.records import Booking, PracticePlace, Venue
from services.contracts.zone import CHINA
from services.registry.records.kind import Beside, Kind


def _open(venue: Venue, _beside: Beside) -> Venue:
    if venue.closes and venue.closes <= venue.opens:
        raise invalid("closes", "关门时间要晚于开门时间")
    return venue


def _day(booking: Booking) -> str:
    return booking.start.astimezone(CHINA).date().isoformat()


def _free(booking: Booking, beside: Beside) -> Booking:
    start, end = booking.start.astimezone(CHINA), booking.end.astimezone(CHINA)
    if end <= start:
        raise invalid("to", "结束时间要晚于开始时间")
    if end.date() != start.date():
        raise invalid("to", "一次预约不能跨日，请分日预约")
    venue: Venue = beside.whole
    if f"{start:%H:%M}" < venue.opens or (venue.closes and f"{end:%H:%M:%S}" > f"{venue.closes}:00"):
        raise invalid("from", f"这个场地的开放时间是 {venue.opens}—{venue.closes or '24:00'}")
    if booking.people and booking.people > venue.capacity:
        raise invalid("people", f"这个场地最多容纳 {venue.capacity} 人")
    for other in beside.rivals:
        if booking.start < other.end and other.start < booking.end:
            taken = f"{other.start.astimezone(CHINA):%H:%M}—{other.end.astimezone(CHINA):%H:%M}"
            raise Conflict(f"这个场地 {taken} 已有预约，请换个时间")
    return booking


KINDS = (
    Kind(Venue, settle=_open, unique=lambda venue, site: f"{site} {venue.name}"),
    Kind(Booking, settle=_free, computed=lambda b, _: {"day": _day(b)}, meets=lambda b: f"{b.venue} {_day(b)}"),
    Kind(PracticePlace, unique=lambda place, site: f"{site} {place.name}"),
)
