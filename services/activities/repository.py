"""Timesheets, with the indexes of their queries."""

from pymongo import ASCENDING, DESCENDING, IndexModel

from services.activities.domain import Timesheet, Volunteer
from services.chassis.repository import Repository


class Timesheets(Repository[Timesheet]):
    collection = "timesheets"
    aggregate = Timesheet
    publishes = True
    indexes = (
        IndexModel([("volunteer_id", ASCENDING), ("day", DESCENDING)]),
        IndexModel([("records.id", ASCENDING)]),
    )

    def of(self, volunteer_id: str) -> list[Timesheet]:
        """Newest day first."""
        return self.select({"volunteer_id": volunteer_id}, [("day", DESCENDING)])

    def with_record(self, record_id: str) -> Timesheet | None:
        return next(iter(self.select({"records.id": record_id}, limit=1)), None)


class Volunteers(Repository[Volunteer]):
    collection = "volunteers"
    aggregate = Volunteer
