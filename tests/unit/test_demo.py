"""What ``make demo`` shows of all that passes."""

from datetime import UTC, datetime

import orjson

from deploy.demo import of_order
from services.chassis.messages import Envelope

TIME = datetime(2026, 6, 3, tzinfo=UTC)


def an_event(id: str, fact: str, owner: str, subject: str, source: str | None = None) -> Envelope:
    told = {} if source is None else {"source": {"type": "any", "id": source}}
    return Envelope(id, f"cn.sidan.{fact}.v1", f"/sidan/{owner}", subject, TIME, 1, "130802", orjson.dumps(told))


def test_the_events_of_one_order_of_its_hours_and_of_their_points_are_shown_once() -> None:
    passing = [
        an_event("1", "order.placed", "dispatch", "other"),
        an_event("2", "order.placed", "dispatch", "ours"),
        an_event("3", "hours.effective", "activities", "record", "ours"),
        an_event("4", "hours.effective", "activities", "other-record", "other"),
        an_event("5", "points.deposited", "points", "volunteer", "record"),
        an_event("6", "points.deposited", "points", "volunteer", "other-record"),
        an_event("2", "order.placed", "dispatch", "ours"),
        an_event("7", "team.formed", "registry", "team"),
    ]
    assert [event.id for event in of_order("ours", passing)] == ["2", "3", "5"]
