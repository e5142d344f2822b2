"""Activities: hours are recorded when an order is completed and take effect when it closes."""

from typing import Any

from services.activities import domain
from services.activities.domain import Record, Timesheet, Volunteer, record_id
from services.activities.repository import Timesheets, Volunteers
from services.chassis.process import UnitOfWork
from services.chassis.repository import slice_page
from services.chassis.rpc import command, query
from services.chassis.subscriber import subscribe
from services.contracts.activities import ReverseHours, Source
from services.contracts.actor import Actor
from services.contracts.dispatch import OrderClosed, OrderCompleted
from services.contracts.errors import NotFound
from services.contracts.registry import VolunteerRegistered


def _timesheets_of(event: OrderCompleted | OrderClosed) -> dict[str, list[str]]:
    return {"timesheets": [Timesheet.key(segment.volunteer_id, segment.start) for segment in event.segments]}


class ActivitiesService:
    name = "activities"

    uow = UnitOfWork(timesheets=Timesheets, volunteers=Volunteers)

    # Records have ids that follow from the order, so these need no inbox.

    @subscribe(OrderCompleted, idempotent=True, loads=_timesheets_of)
    def record_hours(self, event: OrderCompleted) -> None:
        self._record(event)

    @subscribe(OrderClosed, idempotent=True, loads=_timesheets_of)
    def put_hours_into_effect(self, event: OrderClosed) -> None:
        """Whichever of completed and closed arrives first: the record is entered, then takes effect."""
        self._record(event)
        for position, segment in enumerate(event.segments):
            timesheet = self._timesheet(segment)
            if effective := timesheet.take_effect(record_id(event.order_id, position)):
                self.uow.timesheets.save(timesheet, *effective)

    @subscribe(VolunteerRegistered, idempotent=True, loads=lambda event: {"volunteers": [event.volunteer_id]})
    def learn_volunteer(self, event: VolunteerRegistered) -> None:
        if self.uow.volunteers.find(event.volunteer_id) is None:
            self.uow.volunteers.add(Volunteer(event.volunteer_id, event.path))

    @command(ReverseHours)
    def reverse_hours(self, actor: Actor, hours_id: str, command: ReverseHours) -> dict[str, Any]:
        """A correction: the record is reversed with a reason, and its points with it."""
        timesheet = self.uow.timesheets.with_record(hours_id)
        if timesheet is None:
            raise NotFound(domain.UNKNOWN_RECORD)
        domain.check_correcting(actor, self.uow.volunteers.find(timesheet.volunteer_id))
        reversed_ = timesheet.reverse(hours_id, command.reason)
        self.uow.timesheets.save(timesheet, *reversed_)
        record = timesheet.find(hours_id)
        assert record is not None
        return hours_view(record)

    @query
    def hours(self, actor: Actor, volunteer_id: str, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        domain.check_reading(actor, self.uow.volunteers.find(volunteer_id))
        records = [r for sheet in self.uow.timesheets.of(volunteer_id) for r in reversed(sheet.records)]
        page, following = slice_page(records, limit, cursor)
        return {"items": [hours_view(record) for record in page], "next": following, "total": domain.total(records)}

    def _record(self, event: OrderCompleted | OrderClosed) -> None:
        source = Source(type="order", id=event.order_id)
        for position, segment in enumerate(event.segments):
            timesheet = self._timesheet(segment)
            id = record_id(event.order_id, position)
            if recorded := timesheet.record(id, source, segment, event.category, event.site):
                self.uow.timesheets.save(timesheet, *recorded)

    def _timesheet(self, segment: Any) -> Timesheet:
        volunteer, start = segment.volunteer_id, segment.start
        timesheet: Timesheet = self.uow.timesheets.find_or_new(
            Timesheet.key(volunteer, start), lambda: Timesheet.begin(volunteer, start)
        )
        return timesheet


def hours_view(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "source": {"type": record.source_type, "id": record.source_id},
        "from": record.start,
        "to": record.end,
        "hours": record.hours,
        "raw_hours": record.raw_hours,
        "category": record.category,
        "state": record.state,
        "reason": record.reason,
    }
